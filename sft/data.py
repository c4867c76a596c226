"""Question-and-answer files in; chat examples with one canonical final line out, with counts."""

import glob
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.arithmetic import problems
from data_prep.clean import is_held_out
from sft.config import SftData, SftSource
from tinymathreason.answers import canonical
from tinymathreason.chatml import SPECIAL_TOKENS
from tinymathreason.cli import InputError

Messages = list[dict[str, str]]


@dataclass
class Examples:
    """Chat examples of both splits, and what became of every row read."""

    train: list[dict[str, Messages]] = field(default_factory=list)
    eval: list[dict[str, Messages]] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    """By source: ``read``, ``kept``, and a reason for each row that was not kept."""


def load(data: SftData) -> Examples:
    """Read every source; keep the first of equal examples and those with a final answer.

    Raises `InputError` naming the file and the row that cannot be read, and when nothing is left.
    """
    examples = Examples()
    seen: set[bytes] = set()
    for name, source in data.sources.items():
        counts = examples.counts[name] = Counter()
        for question, answer in _rows(name, source, data.data_seed):
            counts["read"] += 1
            solution = canonical(answer)
            digest = hashlib.sha256(f"{question}\0{solution}".encode()).digest()
            if solution is None:
                counts["no_final_answer"] += 1
            elif any(token in question + answer for token in SPECIAL_TOKENS):
                counts["special_token"] += 1
            elif digest in seen:
                counts["exact_duplicate"] += 1
            else:
                seen.add(digest)
                counts["kept"] += 1
                held_out = is_held_out(question, data.eval_fraction, data.data_seed)
                split = examples.eval if held_out else examples.train
                split.append({"messages": chat(question, solution)})
    if not examples.train or not examples.eval:
        raise InputError(
            f"sources: {len(examples.train)} examples to train on, {len(examples.eval)} held out; "
            "both are needed: add examples or change eval_fraction"
        )
    return examples


def chat(question: str, solution: str | None = None) -> Messages:
    """A question, and its solution when there is one, as chat messages."""
    messages = [{"role": "user", "content": question}]
    if solution is not None:
        messages.append({"role": "assistant", "content": solution})
    return messages


def _rows(name: str, source: SftSource, seed: int) -> Iterator[tuple[str, str]]:
    """Pairs of a question and its worked answer."""
    if source.path is None:
        made = ((problem.question, problem.solution) for problem in problems(seed))
        yield from itertools.islice(made, source.examples)
        return
    files = sorted(glob.glob(source.path))
    if not files:
        raise InputError(f"sources.{name}.path: no file matches {source.path!r}")
    rows = itertools.chain.from_iterable(_read(Path(file), source.format) for file in files)
    for file, number, row in itertools.islice(rows, source.examples):
        for column in (source.question, source.answer):
            if not isinstance(row, dict) or not isinstance(row.get(column), str):
                raise InputError(f"{file}: row {number} has no text under {column!r}")
        yield row[source.question], row[source.answer]


def _read(file: Path, kind: str) -> Iterator[tuple[Path, int, Any]]:
    """Every row of one file with the file's name and the row's number, from 0."""
    rows: Iterator[Any]
    if kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        try:
            rows = iter(pyarrow.parquet.read_table(file).to_pylist())
        except pyarrow.ArrowException as error:
            raise InputError(f"{file}: unreadable: {error}") from error
    elif kind == "json":
        try:
            rows = iter(json.loads(file.read_text(encoding="utf-8")))
        except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
            raise InputError(f"{file}: unreadable: {error}") from error
    else:
        rows = _json_lines(file)
    for number, row in enumerate(rows):
        yield file, number, row


def _json_lines(file: Path) -> Iterator[Any]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            try:
                yield json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise InputError(f"{file}: row {number} is unreadable: {error}") from error
