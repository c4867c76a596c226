"""Question-and-answer files in; chat examples with one canonical final line out, with counts."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from data_prep.arithmetic import problems
from data_prep.clean import is_held_out
from data_prep.readers import read_columns
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


def _rows(name: str, source: SftSource, seed: int) -> Iterator[tuple[str, ...]]:
    """Pairs of a question and its worked answer."""
    rows: Iterator[tuple[str, ...]]
    if source.path is None:
        rows = ((problem.question, problem.solution) for problem in problems(seed))
    else:
        columns = [source.question, source.answer]
        rows = read_columns(name, source.format, source.path, columns)
    return itertools.islice(rows, source.examples)
