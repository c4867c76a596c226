"""The generator's answers are exact, its splits disjoint, its output a function of the seed."""

import itertools
import operator
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymathreason.answers import read_final
from tinymathreason.arithmetic import GENERATORS, TEMPLATES, fact_documents, problems

EQUATION = re.compile(r"(\d+) ([-+x/]) (\d+) (?:=|is) (\d+)")


SIGNS = {"+": operator.add, "-": operator.sub, "x": operator.mul, "/": operator.truediv}


def value(left: int, sign: str, right: int) -> float:
    return SIGNS[sign](left, right)


@given(st.integers(0, 2**32), st.booleans())
def test_steps_are_right_and_lead_to_the_answer(seed: int, held_out: bool) -> None:
    for problem in itertools.islice(problems(seed, held_out), 20):
        equations = EQUATION.findall(problem.steps)
        assert len(equations) == 2
        for left, sign, right, result in equations:
            assert value(int(left), sign, int(right)) == int(result)
        assert int(equations[1][3]) == problem.answer
        assert read_final(problem.solution) == str(problem.answer)
        assert problem.answer >= 0


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_splits_are_disjoint_by_question_whatever_the_seeds(one: int, two: int) -> None:
    train = {p.question for p in itertools.islice(problems(one), 200)}
    held_out = [p.question for p in itertools.islice(problems(two, held_out=True), 100)]
    assert train.isdisjoint(held_out)
    assert len(set(held_out)) == len(held_out)


@pytest.mark.parametrize("name", GENERATORS)
def test_documents_depend_on_the_seed_alone(name: str) -> None:
    def first(seed: int) -> list[str]:
        return list(itertools.islice(GENERATORS[name](seed), 50))

    assert first(3) == first(3)
    assert first(3) != first(4)


def test_every_template_and_operation_occurs() -> None:
    made = list(itertools.islice(problems(0), 1000))
    assert {sign for p in made for _, sign, _, _ in EQUATION.findall(p.steps)} == set("+-x/")
    endings = {problem.question.rsplit(". ", 1)[1].split()[-1] for problem in made}
    assert endings == {"now?", "together?"}
    assert len(TEMPLATES) == 4
    # A task and not one sentence: with names, things and numbers blanked, many forms remain.
    forms = {re.sub(r"\d+|[A-Z][a-z]+", "_", problem.question) for problem in made}
    assert len(forms) > 200


def test_facts_are_true() -> None:
    signs = {"plus": "+", "minus": "-"}
    for document in itertools.islice(fact_documents(1), 200):
        sentences = document.removesuffix(".").split(". ")
        assert len(sentences) == 8
        for sentence in sentences:
            for word, sign in signs.items():
                sentence = sentence.replace(word, sign)
            if equation := EQUATION.fullmatch(sentence):
                assert value(int(equation[1]), equation[2], int(equation[3])) == int(equation[4])
            elif equation := re.fullmatch(r"The number after (\d+) is (\d+)", sentence):
                assert int(equation[1]) + 1 == int(equation[2])
            else:
                equation = re.fullmatch(r"(\d+) is (\d+) more than (\d+)", sentence)
                assert equation, sentence
                assert int(equation[1]) == int(equation[2]) + int(equation[3])
