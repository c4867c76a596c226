"""Problems with numeric answers, and those of the quickstart's generator that are held out."""

import itertools
from dataclasses import dataclass

from tinymathreason import arithmetic

ARITHMETIC_PROBLEMS = 200


@dataclass(frozen=True)
class NumericProblem:
    """A question and the number that answers it, as text."""

    question: str
    answer: str


def held_out_arithmetic(count: int) -> list[NumericProblem]:
    """The first distinct held-out problems of the quickstart's generator, the same each time."""
    made = itertools.islice(arithmetic.problems(0, held_out=True), count)
    return [NumericProblem(problem.question, str(problem.answer)) for problem in made]
