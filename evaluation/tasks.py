"""Tasks whose problems have numeric answers, for the accuracy during training."""

import itertools
from collections.abc import Callable

from evaluation.catalogue import find
from evaluation.local import splits
from evaluation.problems import ARITHMETIC_PROBLEMS, NumericProblem, held_out_arithmetic
from tinymathreason.answers import read_final
from tinymathreason.cli import InputError
from tinymathreason.config import nearest


def _arithmetic(data: str | None, limit: int | None) -> list[NumericProblem]:
    """Distinct held-out problems of the quickstart's generator, the same ones each time."""
    if data is not None:
        raise InputError("data: the task arithmetic generates its own problems")
    return held_out_arithmetic(limit or ARITHMETIC_PROBLEMS)


def _gsm8k(data: str | None, limit: int | None) -> list[NumericProblem]:
    """Problems of a file, or of a folder laid out as on the hub, in GSM8K's schema."""
    if data is None:
        raise InputError("data: the task gsm8k needs a file such as test.jsonl")
    gsm8k = find("gsm8k")
    rows = splits(data, gsm8k.subset, gsm8k.split, gsm8k.columns)[gsm8k.split]
    return [
        NumericProblem(row["question"], str(read_final(row["answer"])))
        for row in itertools.islice(rows, limit)
    ]


TASKS: dict[str, Callable[[str | None, int | None], list[NumericProblem]]] = {
    "arithmetic": _arithmetic,
    "gsm8k": _gsm8k,
}


def load(task: str, data: str | None = None, limit: int | None = None) -> list[NumericProblem]:
    """The first ``limit`` problems of a task; None takes all, or 200 of the endless arithmetic.

    Raises `InputError` for an unknown task and for a data file that is missing or malformed.
    """
    if task not in TASKS:
        raise InputError(f"task: unknown {task!r}; {nearest(task, TASKS)}")
    return TASKS[task](data, limit)
