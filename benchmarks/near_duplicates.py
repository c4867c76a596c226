"""Command: measure the share of copies caught as near-duplicates, by their share of changed words.

python -m benchmarks.near_duplicates --data DIR [--documents N]

Each document is compared with a copy in which some words, between white space, are replaced by
other words of its source, and each GSM8K problem with a copy with other numbers. Our setting and
the usual one (shingles of five words, 14 bands of 8 hashes, no comparison afterwards) judge the
same pairs; each share is printed with the value that the formulas predict.
"""

import argparse
import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import corpus
from data_prep.similarity import (
    BANDS,
    LEAST,
    ROWS,
    SHARED_NUMBERS,
    SHINGLE,
    WORDS_PER_NUMBER,
    fingerprint,
    minima,
    similar,
)
from data_prep.text_hashing import Hashes, hashed_pieces
from tinymathreason import cli
from tinymathreason.rows import read_columns

SHARES = (0.0, 0.02, 0.04, 0.06, 0.1, 0.2, 0.3, 0.5)
USUAL_SHINGLE, USUAL_BANDS, USUAL_ROWS = 5, 14, 8


def changed(text: str, share: float, source: random.Random, words: Sequence[str]) -> str:
    """``text`` with this share of its words, between white space, replaced by random ``words``."""
    parts = re.split(r"(\s+)", text)
    places = [place for place, part in enumerate(parts) if part.strip()]
    for place in source.sample(places, round(share * len(places))):
        before = parts[place]
        while parts[place] == before:
            parts[place] = source.choice(words)
    return "".join(parts)


def renumbered(text: str, source: random.Random) -> str:
    """``text`` with every number replaced by another one with as many digits."""

    def other(match: re.Match[str]) -> str:
        digits = len(match[0])
        least = 0 if digits == 1 else 10 ** (digits - 1)
        return str((int(match[0]) - least + source.randrange(1, 9)) % (10**digits - least) + least)

    return re.sub(r"\d+", other, text, flags=re.ASCII)


@dataclass(frozen=True)
class Passage:
    """What both settings and the formulas use of a document."""

    record: npt.NDArray[np.void]
    """Our fingerprint, void[1]."""
    keys: Hashes
    """Our keys."""
    usual: npt.NDArray[np.uint32]
    """The usual setting's hashes, uint32[bands, rows]."""
    short: Hashes
    """The distinct shingles of our length."""
    long: Hashes
    """The distinct shingles of the usual length."""
    numbers: Hashes
    """The distinct numbers, each with the word before it."""

    @classmethod
    def of(cls, text: str) -> "Passage":
        """Compute everything from a text."""
        pieces = hashed_pieces(text)
        record, keys = fingerprint(text)
        short, long, numbers = (
            np.unique(np.concatenate(hashes))
            for hashes in (
                [piece.shingles(SHINGLE) for piece in pieces],
                [piece.shingles(USUAL_SHINGLE) for piece in pieces],
                [piece.numbers() for piece in pieces],
            )
        )
        usual = minima(long, _usual_factors()).reshape(USUAL_BANDS, USUAL_ROWS)
        return cls(np.array([record]), keys, usual, short, long, numbers)


@cache
def _usual_factors() -> npt.NDArray[np.uint32]:
    random_numbers = np.random.Generator(np.random.PCG64(1))
    count = USUAL_BANDS * USUAL_ROWS
    return random_numbers.integers(2**32, size=count, dtype=np.uint32) | np.uint32(1)


def jaccard(left: Hashes, right: Hashes) -> float:
    """The exact similarity of two sets."""
    both = len(np.intersect1d(left, right, assume_unique=True))
    return both / max(1, len(left) + len(right) - both)


@cache
def _meet(agreeing: int) -> float:
    """The probability that some band agrees completely if this many of all hashes agree."""
    hashes = BANDS * ROWS
    ways: int = sum(
        (-1) ** (bands + 1)
        * math.comb(BANDS, bands)
        * math.comb(hashes - ROWS * bands, agreeing - ROWS * bands)
        for bands in range(1, agreeing // ROWS + 1)
    )
    return ways / math.comb(hashes, agreeing)


def by_formula(similarity: float) -> float:
    """The probability that two documents meet in one of our bands and are similar enough."""
    hashes = BANDS * ROWS
    return sum(
        math.comb(hashes, k) * similarity**k * (1 - similarity) ** (hashes - k) * _meet(k)
        for k in range(math.ceil(LEAST * hashes), hashes + 1)
    )


def share_numbers(left: Passage, right: Passage) -> bool:
    """The rule about shared numbers, on exact sets."""
    fewer = min(len(left.numbers), len(right.numbers))
    rich = all(len(t.numbers) * WORDS_PER_NUMBER >= t.record["words"][0] for t in (left, right))
    both = len(np.intersect1d(left.numbers, right.numbers, assume_unique=True))
    return not (rich and fewer > 0 and both < SHARED_NUMBERS * fewer)


def judge(left: Passage, right: Passage) -> dict[str, float]:
    """The result of each setting and of each formula for one pair."""
    alike = bool(similar(left.record, right.record)[0])
    meet = bool(np.isin(left.keys, right.keys).any())
    # Without numbers, the rule about them does not apply.
    bare = [text.record.copy() for text in (left, right)]
    for record in bare:
        record["numbers"] = 0
    short, long = jaccard(left.short, right.short), jaccard(left.long, right.long)
    met = by_formula(short)
    return {
        "jaccard": short,
        "usual_jaccard": long,
        "ours": meet and alike,
        "ours_by_formula": met * share_numbers(left, right),
        "without_numbers_rule": meet and bool(similar(*bare)[0]),
        "without_numbers_rule_by_formula": met,
        "usual": bool((left.usual == right.usual).all(axis=1).any()),
        "usual_by_formula": 1 - (1 - long**USUAL_ROWS) ** USUAL_BANDS,
    }


def summary(pairs: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each value."""
    return {name: round(float(np.mean([pair[name] for pair in pairs])), 4) for name in pairs[0]}


def run(data: Path, documents: int) -> Iterator[dict[str, Any]]:
    """A line for each share of changed words, then for other numbers."""
    source = random.Random(0)
    drawn = {
        name: source.sample(texts, min(documents, len(texts)))
        for name, texts in corpus.texts(data).items()
    }
    words = {name: " ".join(texts).split() for name, texts in drawn.items()}
    originals = {name: [Passage.of(text) for text in texts] for name, texts in drawn.items()}
    for share in SHARES:
        pairs = [
            judge(original, Passage.of(changed(text, share, source, words[name])))
            for name, texts in drawn.items()
            for text, original in zip(texts, originals[name], strict=True)
        ]
        yield {"changed_words": share, "pairs": len(pairs), **summary(pairs)}

    path = str(data / "gsm8k" / "train.jsonl")
    problems = [
        row for row in read_columns("gsm8k", "jsonl", path, ["question", "answer"])
        if re.search(r"\d", row[0])
    ]  # fmt: skip
    problems = source.sample(problems, min(4 * documents, len(problems)))
    for solved in (False, True):
        texts = ["\n".join(row) if solved else row[0] for row in problems]
        pairs = [judge(Passage.of(text), Passage.of(renumbered(text, source))) for text in texts]
        name = "problem and solution" if solved else "problem"
        yield {"other_numbers": name, "pairs": len(pairs), **summary(pairs)}


def main(argv: Sequence[str]) -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.near_duplicates",
        description="Measure the share of changed copies that are caught, and by formula.",
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of text, as `make realdata` reads it"
    )
    parser.add_argument("--documents", type=int, default=250, help="of each source")
    arguments = parser.parse_args(argv)
    for line in run(arguments.data, arguments.documents):
        print(json.dumps({"benchmark": "near_duplicates", **line}), flush=True)


if __name__ == "__main__":
    cli.run(main)
