"""64-bit hashes of a text's words, shingles, numbers and runs of letters.

Near-duplicates and benchmark questions are searched in text without case, spacing and punctuation.
All arithmetic is numpy's on whole documents, and deliberately wraps around at 2**64.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

PIECE = 1 << 20
"""Characters that are hashed together, so that memory does not grow with a document's length."""
OVERLAP = 1 << 12
"""Characters that two neighbouring pieces share: more than a benchmark question has."""

_KEPT = np.zeros(256, dtype=bool)
_KEPT[list(b"abcdefghijklmnopqrstuvwxyz0123456789")] = True
_KEPT[128:] = True  # letters of other scripts; `_SIGNS` removes everything else
_DIGITS = np.zeros(256, dtype=bool)
_DIGITS[list(b"0123456789")] = True
_SIGNS = re.compile(r"[^\x00-\x7f\w]+")
_BASE = 0x9E3779B97F4A7C15
_LONGEST = 64
_POWERS = np.array([pow(_BASE, k, 2**64) for k in range(_LONGEST)], dtype=np.uint64)


def mix(values: Hashes) -> Hashes:
    """Spread the bits of each value over all 64 (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def chain(keys: Hashes, values: npt.NDArray[Any]) -> Hashes:
    """A hash of each key together with the value after it."""
    return mix(keys * np.uint64(_BASE) + values)


def pieces(text: str) -> Iterator[str]:
    """``text`` in pieces of bounded length; one of them contains any run of up to `OVERLAP`."""
    for start in range(0, max(1, len(text) - OVERLAP), PIECE):
        yield text[start : start + PIECE + OVERLAP]


@dataclass(frozen=True)
class HashedText:
    """A text as lower-case letters and digits, with the starts of its words; hashed on demand."""

    letters: npt.NDArray[np.uint8]
    """The kept bytes of the UTF-8 text, uint8[n]."""
    starts: npt.NDArray[Any]
    """Offset of each word's first letter, int[words], ascending."""

    @classmethod
    def from_text(cls, text: str) -> "HashedText":
        """Remove case, spacing, punctuation, signs, and the differences that NFKC removes."""
        if not text.isascii():
            text = _SIGNS.sub(" ", unicodedata.normalize("NFKC", text))
        raw = np.frombuffer(text.lower().encode("utf-8"), dtype=np.uint8)
        kept = np.flatnonzero(_KEPT[raw])
        return cls(raw[kept], np.flatnonzero(np.diff(kept, prepend=-2) > 1))

    @cached_property
    def words(self) -> Hashes:
        """The hash of each word, uint64[words]."""
        if not len(self.starts):
            return np.zeros(0, dtype=np.uint64)
        lengths = np.diff(self.starts, append=len(self.letters))
        places = np.arange(len(self.letters)) - np.repeat(self.starts, lengths)
        terms = (self.letters + np.uint64(1)) * _POWERS[np.minimum(places, _LONGEST - 1)]
        return mix(np.add.reduceat(terms, self.starts))

    def shingles(self, size: int) -> Hashes:
        """The hash of every run of ``size`` words, or of all words if there are fewer."""
        words = self.words
        count = max(min(len(words), 1), len(words) - size + 1)
        hashes = words[:count].copy()
        for k in range(1, min(size, len(words))):
            hashes = hashes * np.uint64(_BASE) + words[k : k + count]
        return mix(hashes)

    def numbers(self) -> Hashes:
        """The hash of every number together with the word before it, uint64[numbers]."""
        if not len(self.starts):
            return np.zeros(0, dtype=np.uint64)
        numeric = np.logical_and.reduceat(_DIGITS[self.letters], self.starts)
        before = np.concatenate([np.zeros(1, dtype=np.uint64), self.words[:-1]])
        return chain(before[numeric], self.words[numeric])

    def windows(self, largest: int) -> dict[int, Hashes]:
        """Hashes of every run of 1, 2, 4, ... ``largest`` letters, by the length of the run.

        A run of 2w letters is computed from two runs of w, so the passes are logarithmic.
        """
        runs = mix(self.letters + np.uint64(1))
        by_size, size, power = {1: runs}, 1, _BASE
        while size < largest:
            runs = runs[:-size] * np.uint64(power) + runs[size:]
            size, power = 2 * size, pow(power, 2, 2**64)
            by_size[size] = runs
        return by_size


@lru_cache(maxsize=1)
def hashed_pieces(text: str) -> list[HashedText]:
    """The pieces of a document; cached, since two steps hash the same document."""
    return [HashedText.from_text(piece) for piece in pieces(text)]
