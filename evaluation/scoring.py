"""What our lm-eval tasks call: the problems of one, what an answer is, and whether it is right.

lm-eval hands filters all responses of each problem, and takes what they return for its answer.
"""

import atexit
import functools
from collections.abc import Callable, Sequence
from typing import Any

from evaluation.answers import Checker, final, flexible, strict
from evaluation.tasks import ARITHMETIC_PROBLEMS, load
from tinymathreason.answers import read_final
from tinymathreason.arithmetic import plain_problem


def arithmetic(problems: int = ARITHMETIC_PROBLEMS, **_: Any) -> dict[str, Any]:
    """The first held-out problems of the quickstart's generator, all different, as a split."""
    from datasets import Dataset

    rows = [
        {
            "question": problem.question,
            "plain": plain_problem(problem.question, ""),
            "answer": problem.answer,
        }
        for problem in load("arithmetic", limit=problems)
    ]
    return {"test": Dataset.from_list(rows)}


def strict_answers(responses: Sequence[Sequence[str]], documents: Any) -> list[str | None]:
    """The answer on each first response's final line."""
    return _first(strict, responses)


def flexible_answers(responses: Sequence[Sequence[str]], documents: Any) -> list[str | None]:
    """The last number of each first response."""
    return _first(flexible, responses)


def final_answers(responses: Sequence[Sequence[str]], documents: Any) -> list[str | None]:
    """What each first response says its answer is: a final line, a box or a sentence."""
    return _first(final, responses)


def _first(
    read: Callable[[str], str | None], responses: Sequence[Sequence[str]]
) -> list[str | None]:
    return [read(answers[0]) for answers in responses]


def verdict(document: dict[str, Any], results: Sequence[str | None]) -> dict[str, float]:
    """1.0 when the answer found equals the document's, else 0.0."""
    return {"correct": float(checker().correct(results[0], gold(document)))}


def gold(document: dict[str, Any]) -> str:
    """The right answer of a problem: GSM8K keeps it on the last line of a solution."""
    answer: str = document["answer"]
    return read_final(answer) or answer


@functools.cache
def checker() -> Checker:
    """The one checker of this process; its child ends with it."""
    made = Checker()
    atexit.register(made.close)
    return made
