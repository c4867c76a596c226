"""Benchmark questions in; which question a document contains, out.

A question of at least `WINDOW` letters counts as contained when `SHARE` of its runs of that many
letters stand in the document, so an edited word seldom hides it, and a sentence that both merely
share does not betray it. A shorter question must stand there whole, word by word, with its
signs of arithmetic. Case, spacing, punctuation, quotes and LaTeX dollars never matter.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_prep.recipe import BenchmarkQuestions
from data_prep.text_hashing import HashedText, Hashes, hashed_pieces, mix, pieces
from tinymathreason.cli import InputError
from tinymathreason.listing import list_files, tell_empty
from tinymathreason.rows import read_file

WINDOW = 32
"""Letters and digits of a run: about six words."""
STRIDE = 4
"""Every so many letters a run of the question is looked for."""
SHARE = 0.7
"""Part of a question's runs that a document must hold."""
SHORTEST = 4
"""Letters and digits without which a text is no question."""

_FILTER_BITS = 22
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3})")
_CALCULATES = ("+", "*", "/", "^")
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[+*/^=<>|!%(){}\[\]\\-]")


def words(text: str) -> str:
    """The words, numbers and signs of arithmetic of a text, each between single spaces."""
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").casefold()
    return f" {' '.join(_TOKEN.findall(_THOUSANDS.sub('', text)))} "


class QuestionIndex:
    """The benchmark questions, indexed by hashes of runs of their letters."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Index the questions; `InputError` for one with fewer than `SHORTEST` letters."""
        self.texts = texts
        self._runs: list[int] = []
        """How many runs of each question are looked for; 1 for one that is matched whole."""
        self._whole: dict[int, str] = {}
        entries: dict[int, dict[int, list[tuple[int, int]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for number, text in enumerate(texts):
            letters = HashedText.from_text(text)
            length = len(letters.letters)
            if length < SHORTEST:
                raise InputError(f"decontaminate: {text!r:.60} is too short for a question")
            size = min(WINDOW, 1 << (length.bit_length() - 1))
            runs = letters.windows(size)[size]
            # The last run too, lest the end of a question were never looked for.
            places = sorted({*range(0, len(runs), STRIDE), len(runs) - 1})
            if length < WINDOW:
                places = [0]
                self._whole[number] = words(text)
            self._runs.append(len(places))
            for place in places:
                entries[size][int(runs[place])].append((number, place))
        self._entries = {size: dict(found) for size, found in entries.items()}
        self._filters = {}
        for size, found in self._entries.items():
            self._filters[size] = np.zeros(1 << _FILTER_BITS, dtype=bool)
            self._filters[size][_slot(np.array(list(found), dtype=np.uint64))] = True

    def found_in(self, text: str) -> str | None:
        """The first question, in their order, that ``text`` contains; None without one."""
        hits: dict[int, set[int]] = defaultdict(set)
        for piece in hashed_pieces(text):
            for size, runs in piece.windows(max(self._entries, default=1)).items():
                entries = self._entries.get(size)
                if not entries:
                    continue
                likely = runs[self._filters[size][_slot(runs)]]
                for run in likely.tolist():
                    for number, place in entries.get(run, ()):
                        hits[number].add(place)
        strict = None
        for number in sorted(hits):
            if number in self._whole:
                strict = strict or [words(piece) for piece in pieces(text)]
                if any(_stands_in(self._whole[number], piece) for piece in strict):
                    return self.texts[number]
            elif len(hits[number]) >= SHARE * self._runs[number]:
                return self.texts[number]
        return None


def questions(benchmarks: Sequence[BenchmarkQuestions]) -> list[str]:
    """The distinct questions of all benchmarks, in their order."""
    found: dict[str, None] = {}
    for number, benchmark in enumerate(benchmarks):
        name = f"decontaminate.{number}.path"
        files = list_files(name, benchmark.path)
        tell_empty(name, files)
        for file in files:
            suffixes = Path(file.path).suffixes
            kind = next((k for k in ("parquet", "jsonl", "json") if f".{k}" in suffixes), None)
            if kind is None:
                raise InputError(f"{file.path}: expected .parquet, .jsonl or .json")
            for row in read_file(file.path, kind, benchmark.fields):
                if row.reason is not None:
                    raise row.error
                found.update(dict.fromkeys(row.values))
    return list(found)


@lru_cache(maxsize=1)
def index(texts: tuple[str, ...]) -> QuestionIndex:
    """`QuestionIndex`, made once in a process however many tasks it does."""
    return QuestionIndex(texts)


def _stands_in(question: str, text: str) -> bool:
    """Whether the words of a question stand in a text, and no more is calculated on either side."""
    place = text.find(question)
    while place >= 0:
        end = place + len(question)
        before = text[text.rfind(" ", 0, place) + 1 : place]
        after = text[end : text.find(" ", end)]
        if before not in _CALCULATES and after not in _CALCULATES:
            return True
        place = text.find(question, place + 1)
    return False


def _slot(runs: Hashes) -> npt.NDArray[np.int64]:
    return (mix(runs) >> np.uint64(64 - _FILTER_BITS)).astype(np.int64)
