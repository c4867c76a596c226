"""A question belongs to the first source that has it; within a source it may stand many times."""

from hypothesis import given
from hypothesis import strategies as st

from sft.duplicates import of_earlier_sources

STORY = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in "
    "May. How many clips did Natalia sell altogether in April and May?"
)


def test_within_a_source_nothing_is_rejected() -> None:
    assert of_earlier_sources([STORY, STORY, f"{STORY}!"], [0, 0, 0], near=True) == {}


def test_an_equal_question_of_an_earlier_source_stays() -> None:
    found = of_earlier_sources(["a", STORY, STORY, "b", STORY], [0, 0, 1, 1, 2], near=False)
    assert found == {2: ("duplicate_question", 1), 4: ("duplicate_question", 1)}


def test_a_question_with_another_name_is_nearly_the_same() -> None:
    renamed = STORY.replace("Natalia sold clips", "Maria sold clips", 1)
    questions = [STORY, renamed, renamed]
    near = ("near_duplicate_question", 0)
    assert of_earlier_sources(questions, [0, 1, 1], near=True) == {1: near, 2: near}
    assert of_earlier_sources(questions, [0, 1, 1], near=False) == {}


def test_other_numbers_make_another_question() -> None:
    text = "A box holds {} pens and {} cards, {} coins and {} keys. How many things are there?"
    pair = [text.format(4, 5, 6, 7), text.format(31, 22, 13, 94)]
    assert of_earlier_sources(pair, [0, 1], near=True) == {}


def test_what_is_like_a_rejected_question_only_stays() -> None:
    """The second goes, so nothing stands for the third: it is unlike the first."""
    words = [f"word{n}" for n in range(40)]
    first = " ".join(words)
    second = " ".join([*words[8:], *(f"more{n}" for n in range(8))])
    third = " ".join([*words[16:], *(f"more{n}" for n in range(16))])
    like = [
        of_earlier_sources(list(pair), [0, 1], True)
        for pair in ((first, second), (second, third), (first, third))
    ]
    assert [bool(found) for found in like] == [True, True, False]
    found = of_earlier_sources([first, second, third], [0, 1, 2], near=True)
    assert found == {1: ("near_duplicate_question", 0)}


@given(st.lists(st.lists(st.sampled_from("abcde"), max_size=6), max_size=4))
def test_each_question_stays_in_one_source_with_all_its_examples(by_source) -> None:
    rows = [(q, source) for source, questions in enumerate(by_source) for q in questions]
    rejected = of_earlier_sources([q for q, _ in rows], [s for _, s in rows], near=False)
    kept = [row for number, row in enumerate(rows) if number not in rejected]
    for question in {q for q, _ in rows}:
        first = min(source for q, source in rows if q == question)
        assert [row for row in kept if row[0] == question] == [
            row for row in rows if row == (question, first)
        ]
    for number, (_, of) in rejected.items():
        assert of not in rejected
        assert rows[of][0] == rows[number][0]
