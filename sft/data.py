"""Question-and-answer files in; chat examples with one canonical final line out, with counts."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from data_prep.arithmetic import problems
from data_prep.clean import is_held_out, is_unicode
from data_prep.rows import read_columns
from sft.config import SftData, SftSource
from tinymathreason.answers import canonical
from tinymathreason.chatml import SPECIAL_TOKENS, Messages, conversation
from tinymathreason.cli import InputError


@dataclass
class Examples:
    """Chat examples of both splits, and what became of every row read."""

    train: list[dict[str, Messages]] = field(default_factory=list)
    eval: list[dict[str, Messages]] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    """By source: ``read``, ``kept``, and a reason for each row that was not kept."""


def load(
    data: SftData, max_length: int | None, count_tokens: Callable[[list[Messages]], list[int]]
) -> Examples:
    """Read every source; keep the first of equal examples and those with a final answer.

    An example of more than ``max_length`` tokens is dropped rather than cut into half an answer.
    Raises `InputError` naming the file and the row that cannot be read, and when nothing is left.
    """
    examples = Examples()
    seen: set[bytes] = set()
    for name, source in data.sources.items():
        counts = examples.counts[name] = Counter()
        found = []
        for question, answer in _rows(name, source, data.data_seed):
            counts["read"] += 1
            solution = canonical(answer)
            reason = _reason(question, solution, seen)
            if reason is None:
                found.append(conversation(question, solution))
            else:
                counts[reason] += 1
        for messages, length in zip(found, count_tokens(found), strict=True):
            if max_length is not None and length > max_length:
                counts["too_long"] += 1
                continue
            counts["kept"] += 1
            question = messages[0]["content"]
            held_out = is_held_out(question, data.eval_fraction, data.data_seed)
            split = examples.eval if held_out else examples.train
            split.append({"messages": messages})
    if not examples.train or not examples.eval:
        raise InputError(
            f"sources: {len(examples.train)} examples to train on, {len(examples.eval)} held out; "
            "both are needed: add examples or change eval_fraction"
        )
    return examples


def _reason(question: str, solution: str | None, seen: set[bytes]) -> str | None:
    """Why an example is rejected, or None; remembers the accepted ones in ``seen``."""
    if solution is None:
        return "no_final_answer"
    text = f"{question}\0{solution}"
    if not is_unicode(text):
        return "invalid_unicode"
    if any(token in text for token in SPECIAL_TOKENS):
        return "special_token"
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    if digest in seen:
        return "exact_duplicate"
    seen.add(digest)
    return None


def _rows(name: str, source: SftSource, seed: int) -> Iterator[tuple[str, ...]]:
    """Pairs of a question and its worked answer."""
    rows: Iterator[tuple[str, ...]]
    if source.path is None:
        rows = ((problem.question, problem.solution) for problem in problems(seed))
    else:
        columns = [source.question, source.answer]
        rows = read_columns(f"sources.{name}.path", source.format, source.path, columns)
    return itertools.islice(rows, source.examples)
