"""Benchmarks: a name in, problems with their answers out."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from tinymathreason import arithmetic
from tinymathreason.answers import read_final
from tinymathreason.cli import InputError
from tinymathreason.config import nearest
from tinymathreason.rows import read_columns

ARITHMETIC_PROBLEMS = 200


@dataclass(frozen=True)
class NumericProblem:
    """A question and the number that answers it, as text."""

    question: str
    answer: str


def _arithmetic(data: str | None, limit: int | None) -> list[NumericProblem]:
    """Held-out problems of the quickstart's generator, all different; always the same ones."""
    if data is not None:
        raise InputError("data: the task arithmetic makes its own problems")
    made = itertools.islice(arithmetic.problems(0, held_out=True), limit or ARITHMETIC_PROBLEMS)
    return [NumericProblem(problem.question, str(problem.answer)) for problem in made]


def _gsm8k(data: str | None, limit: int | None) -> list[NumericProblem]:
    """Problems of a file in the schema of gsm8k: jsonl, or parquet as on the hub."""
    if data is None:
        raise InputError("data: the task gsm8k needs a file such as test.jsonl")
    kind = "parquet" if data.endswith(".parquet") else "jsonl"
    rows = read_columns("data", kind, data, ["question", "answer"])
    found = []
    for number, (question, answer) in enumerate(itertools.islice(rows, limit)):
        right = read_final(answer)
        if right is None:
            raise InputError(f"{data}: row {number} has no final line '#### number'")
        found.append(NumericProblem(question, right))
    if not found:
        raise InputError(f"{data}: no problem in it")
    return found


TASKS: dict[str, Callable[[str | None, int | None], list[NumericProblem]]] = {
    "arithmetic": _arithmetic,
    "gsm8k": _gsm8k,
}


def load(task: str, data: str | None = None, limit: int | None = None) -> list[NumericProblem]:
    """The first ``limit`` problems of a task; None takes all (of the endless arithmetic, 200).

    Raises `InputError` for an unknown task and for a data file that is missing or malformed.
    """
    if task not in TASKS:
        raise InputError(f"task: unknown {task!r}; {nearest(task, TASKS)}")
    return TASKS[task](data, limit)
