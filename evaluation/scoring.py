"""The functions of our lm-eval tasks: problems, extraction of answers, and scoring.

lm-eval passes all responses of each problem to a filter, whose result is the problem's answer.
"""

import atexit
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from evaluation.answers import Checker, final, flexible, strict
from evaluation.problems import ARITHMETIC_PROBLEMS, held_out_arithmetic
from tinymathreason.answers import read_final
from tinymathreason.arithmetic import plain_problem

_CLAIM = re.compile(r"The answer is (-?[0-9.,]*[0-9])")
"""What lm-eval's ``gsm8k_cot`` reads, without the full stop."""


def arithmetic(problems: int = ARITHMETIC_PROBLEMS, **_: Any) -> dict[str, Any]:
    """Distinct held-out problems of the quickstart's generator, as a split."""
    from datasets import Dataset

    rows = [
        {
            "question": problem.question,
            "plain": plain_problem(problem.question, ""),
            "answer": problem.answer,
        }
        for problem in held_out_arithmetic(problems)
    ]
    return {"test": Dataset.from_list(rows)}


def strict_answers(responses: Sequence[Sequence[str]], documents: Any) -> list[str | None]:
    """The answer on each first response's final line."""
    return _first(strict, responses)


def flexible_answers(responses: Sequence[Sequence[str]], documents: Any) -> list[str | None]:
    """The last number of each first response."""
    return _first(flexible, responses)


def claimed_answers(responses: Sequence[Sequence[str]], documents: Any) -> list[str | None]:
    """The number after the first "The answer is" of each first response."""
    return _first(lambda text: match[1] if (match := _CLAIM.search(text)) else None, responses)


def final_answers(responses: Sequence[Sequence[str]], documents: Any) -> list[str | None]:
    """The answer of each first response: on a final line, in a box or in a sentence."""
    return _first(final, responses)


def _first(
    read: Callable[[str], str | None], responses: Sequence[Sequence[str]]
) -> list[str | None]:
    return [read(answers[0]) for answers in responses]


def verdict(document: dict[str, Any], results: Sequence[str | None]) -> dict[str, float]:
    """1.0 when the answer equals the document's, else 0.0."""
    return {"correct": float(checker().correct(results[0], gold(document)))}


def gold(document: dict[str, Any]) -> str:
    """The right answer of a problem, which GSM8K has on the last line of its solution."""
    answer: str = document["answer"]
    return read_final(answer) or answer


@functools.cache
def checker() -> Checker:
    """The checker of this process; its child process ends with it."""
    made = Checker()
    atexit.register(made.close)
    return made
