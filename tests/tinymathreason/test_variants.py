"""Variants of problems keep or recompute the answer, and depend only on their arguments."""

import ast
import operator
import random
import re
from fractions import Fraction

import pytest

from tests.support.planted import IS_REAL, problems
from tinymathreason.answers import read_final
from tinymathreason.variants import FORMATS, KINDS, OTHER_ANSWER, PARTS, SKILL_KINDS, variants
from tinymathreason.variants.calculator import Expression, ExpressionError
from tinymathreason.variants.names import found
from tinymathreason.variants.numerals import DIGITS, SPELLED, spelled, value, written_like
from tinymathreason.variants.problem import SolvedProblem
from tinymathreason.variants.replay import Replay, UnclearError

MADE = [
    (
        "Anna's bakery sells muffins for $3 each. Peter's bakery sells scones for $4 each. "
        "How much do 12 muffins and twenty scones cost in total?",
        "The muffins cost 12 * 3 = $<<12*3=36>>36.\nThe scones cost 20 * 4 = $<<20*4=80>>80.\n"
        "Together they cost $36 + $80 = $<<36+80=116>>116.\n#### 116",
    ),
    (
        "Helen drives 320 miles at 40 miles per hour. She rests 25% of that time at a store. "
        "How many hours does the trip take if she doesn't stop again?",
        "She drives 320/40 = <<320/40=8>>8 hours.\nShe rests 8*25/100 = <<8*25/100=2>>2 hours.\n"
        "The trip takes 8+2 = <<8+2=10>>10 hours.\n#### 10",
    ),
    (
        "A farm with 1,500 hens sells each hen for $2.50. How much money does it get for them?",
        "It gets 1,500 * $2.50 = $<<1500*2.50=3750>>3,750.\n#### 3750",
    ),
    (
        "Tom buys 9 pens and loses a third of them. How many pens does Tom have left?",
        "He loses 9/3 = <<9/3=3>>3 pens.\nHe has 9-3 = <<9-3=6>>6 pens left.\n#### 6",
    ),
]  # fmt: skip
OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


def evaluated(text: str) -> Fraction:
    """The value of an expression by Python's own parser."""

    def walk(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](walk(node.left), walk(node.right))
        assert isinstance(node, ast.Constant)
        return Fraction(ast.get_source_segment(source, node))

    source = re.sub(r"(?<![\d.])0+(?=\d)", "", text.strip())
    return walk(ast.parse(source, mode="eval").body)


def sample() -> list[tuple[str, str]]:
    real = problems("test") if IS_REAL else []
    return MADE + random.Random(0).sample(real, min(150, len(real)))


@pytest.fixture(scope="module")
def made():
    """Each problem of the sample with its variants by kind."""
    return [
        (question, solution, {v.kind: v for v in variants(question, solution, 7)})
        for question, solution in sample()
    ]


def of_kind(made, *kinds):
    found = [(q, s, by[kind]) for q, s, by in made for kind in kinds if kind in by]
    assert found
    return found


def test_the_same_seed_gives_the_same_variants_alone_and_among_others(made) -> None:
    for question, solution, by_kind in made[:30]:
        again = [v for kind in KINDS for v in variants(question, solution, 7, [kind])]
        assert again == list(by_kind.values())
    others = [variants(*problem, 8, ["numbers"]) for problem in MADE]
    assert others != [variants(*problem, 7, ["numbers"]) for problem in MADE]


def test_kinds_are_named_once_and_an_unknown_one_is_refused() -> None:
    assert len(set(KINDS)) == len(KINDS)
    assert (*SKILL_KINDS, *FORMATS, *PARTS) == KINDS
    assert set(OTHER_ANSWER) < set(SKILL_KINDS)
    with pytest.raises(KeyError, match="riddles"):
        variants(*MADE[0], 0, ["riddles"])


def test_every_variant_differs_and_tells_the_answer_of_its_solution(made) -> None:
    for question, solution, by_kind in made:
        for kind, variant in by_kind.items():
            assert (variant.question != question) == (kind != "unanswered")
            if kind in (*SKILL_KINDS, *FORMATS):
                assert variant.answer == read_final(variant.solution)
            if kind not in OTHER_ANSWER and variant.answer is not None:
                assert variant.answer == read_final(solution)


def test_other_names_change_nothing_else(made) -> None:
    for question, _, variant in of_kind(made, "names"):
        before, after = found(question), found(variant.question)
        assert len(before) == len(after)
        assert set(before).isdisjoint(after)
        undone = variant.question
        for old, new in zip(before, after, strict=True):
            undone = re.sub(rf"\b{new}\b", old, undone)
        # Of a name with s at its end, the apostrophe alone may have become 's.
        assert re.sub("s(['\u2019])s\\b", r"s\1", undone) == re.sub(
            "s(['\u2019])s\\b", r"s\1", question
        )


@pytest.mark.parametrize(("owner", "other"), [("James'", "'s"), ("Chris\u2019", "\u2019s")])
def test_a_name_without_s_owns_with_s(owner: str, other: str) -> None:
    question = f"It is {owner} day. He has 3 owls. How many wings do they have?"
    for seed in range(20):
        (variant,) = variants(question, "3*2 = <<3*2=6>>6\n#### 6", seed, ["names"])
        (name,) = found(variant.question)
        ending = owner[-1] if name.endswith("s") else other
        assert (
            variant.question
            == f"It is {name}{ending} day. He has 3 owls. How many wings do they have?"
        )


@pytest.mark.parametrize(
    "text",
    [
        "Harry Potter has 3 owls. How many wings do they have?",
        "The girls of San Diego have 3 owls. How many wings are there?",
        "How many letters are in the name of Tom?",
        "How many wings do 3 owls have?",
        "The Taylor family has 3 owls. How many wings do they have?",
    ],
)
def test_names_that_are_part_of_something_stay(text: str) -> None:
    assert variants(text, "3*2 = <<3*2=6>>6\n#### 6", 0, ["names"]) == []


def test_recomputed_answers_are_those_of_the_arithmetic(made) -> None:
    for question, solution, variant in of_kind(made, *OTHER_ANSWER):
        results = []
        for old, new in zip(
            re.findall("<<(.*?)=(.*?)>>", solution),
            re.findall("<<(.*?)=(.*?)>>", variant.solution),
            strict=True,
        ):
            results.append(evaluated(new[0]))
            assert results[-1] == Fraction(new[1])
            assert (Fraction(old[1]).denominator == 1) <= (results[-1].denominator == 1)
            assert (Fraction(old[1]) > 0) <= (results[-1] > 0)
        assert variant.answer is not None
        assert Fraction(variant.answer) == results[-1] != Fraction(read_final(solution) or "")
        counts = [len(DIGITS.findall(text)) for text in (question, variant.question)]
        assert counts[0] == counts[1]


def test_numbers_that_do_not_change_give_the_original(made) -> None:
    replayed = 0
    for question, solution, _ in made:
        try:
            replay = Replay(SolvedProblem(question, solution))
        except UnclearError:
            continue
        replayed += 1
        same = {k: number.value for k, number in enumerate(replay.numbers)}
        assert replay.with_numbers(same) == SolvedProblem(question, solution)
    assert replayed >= len(MADE)


def test_chosen_numbers_give_the_computed_problem() -> None:
    replay = Replay(SolvedProblem(*MADE[1]))
    assert [replay.numbers[k].text for k in replay.changeable] == ["320", "40", "25"]
    other = replay.with_numbers({0: Fraction(400), 1: Fraction(50), 2: Fraction(75)})
    assert other.question.startswith("Helen drives 400 miles at 50 miles per hour. She rests 75%")
    assert other.solution == (
        "She drives 400/50 = <<400/50=8>>8 hours.\nShe rests 8*75/100 = <<8*75/100=6>>6 hours.\n"
        "The trip takes 8+6 = <<8+6=14>>14 hours.\n#### 14"
    )
    with pytest.raises(UnclearError, match="would become"):
        replay.with_numbers({0: Fraction(330)})
    farm = Replay(SolvedProblem(*MADE[2])).with_numbers({0: Fraction(2200), 1: Fraction(15, 2)})
    assert "2,200 hens sells each hen for $7.50" in farm.question
    assert farm.answer == "16500"


@pytest.mark.parametrize(
    ("question", "solution"),
    [
        # A step of the arithmetic is not annotated.
        ("Ann has 8 pens and buys 6. Then she loses 5.", "8+6=14, 14-5 = <<14-5=9>>9\n#### 9"),
        # A number of the question is not used.
        ("Of 8 guests, 3 eat 2 pies each.", "3*2 = <<3*2=6>>6\n#### 6"),
        # The final answer is not the last result.
        ("Ann has 8 pens and buys 6.", "8+6 = <<8+6=14>>14\n#### 15"),
        ("Ann has 8 pens and buys 6.", "8+6 = <<8+6=15>>15\n#### 15"),
        ("Ann has 8 pens and buys 6.", "8+6 = <<8+x=14>>14\n#### 14"),
        ("Ann has 8 pens and buys 6.", "It is 14.\n#### 14"),
    ],
)
def test_arithmetic_that_cannot_be_replayed_is_refused(question: str, solution: str) -> None:
    with pytest.raises(UnclearError):
        Replay(SolvedProblem(question, solution))
    assert variants(question, solution, 0, ["numbers"]) == []


def test_whole_intervals_stay_whole() -> None:
    question = "A ride costs $6 every 5 minutes. What do 150 minutes cost?"
    solution = (
        "Each minute is 6/5 = <<6/5=1.2>>1.2\nThe ride is 150*1.2 = <<150*1.2=180>>180\n#### 180"
    )
    for seed in range(40):
        for variant in variants(question, solution, seed, ["numbers"]):
            _, interval, minutes = map(int, re.findall(r"\d+", variant.question))
            assert minutes % interval == 0


def test_more_is_no_thing_that_is_counted() -> None:
    question = (
        "Tom bought 3 pens for $5 and gives 50% of them to Ann. There are 9 pens left. How many "
        "more pens does Tom need? How many pens does Ann need?"
    )
    made = [
        variant.question
        for seed in range(40)
        for variant in variants(question, "3*2 = <<3*2=6>>6\n#### 6", seed, ["paraphrase"])
    ]
    assert any("What number of pens" in text for text in made)
    assert all("How many more pens" in text for text in made)


def test_ambiguous_numbers_stay() -> None:
    # 7 may be the pens or the days of a week; 3 is there twice; 2000 is a year.
    question = "In 2000 Ann had 7 pens, 3 pads and 3 cups for a week, and 9 caps."
    solution = "7+3+3+9 = <<7+3+3+9=22>>22\n2000-22 = <<2000-22=1978>>1978\n#### 1978"
    replay = Replay(SolvedProblem(question, solution))
    assert [replay.numbers[k].text for k in replay.changeable] == ["9"]


def test_an_irrelevant_sentence_is_added_and_the_rest_stays(made) -> None:
    for question, _, variant in of_kind(made, "irrelevant"):
        added = [
            place
            for place in range(len(question) + 1)
            if variant.question[:place] == question[:place]
            and variant.question.endswith(question[place:])
        ]
        extra = len(variant.question) - len(question)
        assert added
        assert extra < 70
        assert not variant.question.endswith(variant.question[added[0] :][:extra])


def test_reordered_sentences_are_the_same_ones_and_the_last_one_stays() -> None:
    (variant,) = variants(*MADE[0], 0, ["reordered"])
    first, second, last = SolvedProblem(*MADE[0]).sentences
    assert variant.question == f"{second} {first} {last}"
    named = "Tom has 4 cats. He has 5 dogs. How many pets does he have?"
    (variant,) = variants(named, MADE[3][1], 0, ["reordered"])
    assert variant.question == "Tom has 5 dogs. Tom has 4 cats. How many pets does he have?"


@pytest.mark.parametrize(
    "question",
    [
        "Tom has 4 cats. Then he buys 5 dogs. How many pets does he have?",
        "Tom and Ann have 4 cats. He has 5 dogs. How many pets are there?",
        "Tom has 4 cats. The cats have 5 kittens. How many pets are there?",
        "Tom has 4 cats. Half of the pets are 5 dogs. How many pets are there?",
        "Tom has 4 cats. Ann has 5 dogs. They eat 3 fish. How many pets are there?",
        "Tom has 4 cats. Ann has 3. How many pets are there?",
        "Tom has 4 cats. How many dogs does he have?",
    ],
)
def test_sentences_that_refer_to_others_stay(question: str) -> None:
    assert variants(question, MADE[3][1], 0, ["reordered"]) == []


def test_paraphrases_keep_numbers_and_names(made) -> None:
    for question, _, variant in of_kind(made, "paraphrase"):
        for rule in (DIGITS, re.compile(r"\b[A-Z][a-z]+\b(?<!^How)(?<!^If)")):
            before, after = (
                sorted(w for w in rule.findall(text) if w not in ("How", "If", "What", "There"))
                for text in (question, variant.question)
            )
            assert before == after


def test_formats_keep_the_letters(made) -> None:
    def letters(text: str) -> str:
        return re.sub(r"[^a-z]", "", text.lower())

    for kind in ("separators", "case", "wrapped", "unicode"):
        for question, _, variant in of_kind(made, kind):
            assert letters(variant.question) == letters(question)


def test_formats_are_these() -> None:
    question = "Ann's 5 shops earn $1200 and 20% of $3,000, or 1/2 as much as twenty-five others."
    expected = {
        "latex": "Ann's $5$ shops earn $\\$1200$ and $20\\%$ of $\\$3,000$, or $\\frac{1}{2}$ as "
        "much as twenty-five others.",
        "html": "<p>Ann&#x27;s 5&nbsp;shops earn &#36;1200&nbsp;and 20% of &#36;3,000, or 1/2&nbsp;"
        "as much as twenty-five others.</p>\n",
        "number_words": question.replace("5 shops", "five shops"),
        "digits": question.replace("twenty-five", "25"),
        "separators": question.replace("1200", "1,200").replace("3,000", "3000"),
    }
    found = {v.kind: v.question for v in variants(question, "#### 1", 0, list(expected))}
    assert found == expected


def test_parts_are_parts(made) -> None:
    for question, solution, by_kind in made:
        assert by_kind["unanswered"].question == question
        assert by_kind["unanswered"].solution == by_kind["half"].solution == ""
        assert question.startswith(by_kind["half"].question)
        assert question.startswith(by_kind["three_quarters"].question)
        assert by_kind["solution_alone"].solution == solution
        for kind in ("half", "three_quarters", "statement"):
            assert kind not in by_kind or by_kind[kind].answer is None


def test_numbers_in_words() -> None:
    for number in range(100):
        assert value(spelled(number)) == number
        assert SPELLED.fullmatch(spelled(number))
    assert spelled(402) == "four hundred and two"
    assert spelled(12_345) == "twelve thousand three hundred and forty-five"
    assert written_like(Fraction(5, 2), "1.50") == "2.50"
    assert written_like(Fraction(2500), "1,000") == "2,500"
    assert written_like(Fraction(1, 2), ".4") == ".5"
    assert written_like(Fraction(1, 3), "4") is None
    assert written_like(Fraction(-1), "4") is None
    assert written_like(Fraction(21), "Nine") == "Twenty-one"


@pytest.mark.parametrize("text", ["", "3+", "+3", "(3", "3)", "3 4", "3*(2", "2/0", "2^3", "()"])
def test_what_is_not_plain_arithmetic_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        Expression.parse(text)


def test_expressions_are_evaluated_as_python_does() -> None:
    source = random.Random(0)
    for _ in range(300):
        text = str(source.randint(1, 99))
        for _ in range(source.randint(1, 5)):
            number = source.choice([source.randint(1, 99), f"{source.randint(0, 9)}.5"])
            text = source.choice([f"{text}{{}}{number}", f"({text}){{}}{number}"])
            text = text.format(source.choice("+-*/"))
        expression = Expression.parse(text)
        assert expression.evaluate(expression.operands)[-1] == evaluated(text)
