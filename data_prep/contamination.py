"""Finds the benchmark questions that documents contain.

A document contains a question of at least `WINDOW` letters if it contains `SHARE` of the question's
runs of that many letters: an edited word seldom hides a question, and a single common sentence is
not enough. A shorter question must occur completely, word by word, with its signs of arithmetic.
Case, spacing, punctuation, quotes and LaTeX dollars never matter.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_prep.recipe import BenchmarkQuestions
from data_prep.text_hashing import HashedText, Hashes, hashed_pieces, mix, pieces
from tinymathreason.cli import InputError
from tinymathreason.listing import list_files, warn_empty
from tinymathreason.rows import read_file

WINDOW = 32
"""Letters and digits of a run, about six words."""
STRIDE = 4
"""Letters between the starts of two runs of a question that are searched."""
SHARE = 0.7
"""Share of a question's runs that a document must contain."""
SHORTEST = 4
"""Letters and digits that a question must have at least."""

_FILTER_BITS = 22
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3})")
_OPERATORS = ("+", "*", "/", "^")
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[+*/^=<>|!%(){}\[\]\\-]")


def words(text: str) -> str:
    """The words, numbers and signs of arithmetic of a text, separated by single spaces."""
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").casefold()
    return f" {' '.join(_TOKEN.findall(_THOUSANDS.sub('', text)))} "


class QuestionIndex:
    """The benchmark questions, indexed by hashes of runs of their letters."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Index the questions; `InputError` for one with fewer than `SHORTEST` letters."""
        self.texts = texts
        self._runs: list[int] = []
        """How many runs of each question are searched; 1 if it must match completely."""
        self._complete: dict[int, str] = {}
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
            # The last run too, or the end of a question would never be searched.
            places = sorted({*range(0, len(runs), STRIDE), len(runs) - 1})
            if length < WINDOW:
                places = [0]
                self._complete[number] = words(text)
            self._runs.append(len(places))
            for place in places:
                entries[size][int(runs[place])].append((number, place))
        self._entries = {size: dict(by_run) for size, by_run in entries.items()}
        self._filters = {}
        for size, by_run in self._entries.items():
            self._filters[size] = np.zeros(1 << _FILTER_BITS, dtype=bool)
            self._filters[size][_slot(np.array(list(by_run), dtype=np.uint64))] = True

    def found_in(self, text: str) -> str | None:
        """The first question, in their order, that ``text`` contains; None without one."""
        return next((self.texts[number] for number in self.all_in(text)), None)

    def all_in(self, text: str) -> Iterator[int]:
        """The numbers of all questions that ``text`` contains, in their order."""
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
        pieces_of_words = None
        for number in sorted(hits):
            if number in self._complete:
                pieces_of_words = pieces_of_words or [words(piece) for piece in pieces(text)]
                if any(_contains(piece, self._complete[number]) for piece in pieces_of_words):
                    yield number
            elif len(hits[number]) >= SHARE * self._runs[number]:
                yield number


def questions(benchmarks: Sequence[BenchmarkQuestions]) -> list[str]:
    """The distinct questions of all benchmarks, in their order."""
    distinct: dict[str, None] = {}
    for number, benchmark in enumerate(benchmarks):
        name = f"decontaminate.{number}.path"
        files = list_files(name, benchmark.path)
        warn_empty(name, files)
        for file in files:
            suffixes = Path(file.path).suffixes
            kind = next((k for k in ("parquet", "jsonl", "json") if f".{k}" in suffixes), None)
            if kind is None:
                raise InputError(f"{file.path}: expected .parquet, .jsonl or .json")
            for row in read_file(file.path, kind, benchmark.fields):
                if row.reason is not None:
                    raise row.error
                distinct.update(dict.fromkeys(row.values))
    return list(distinct)


@lru_cache(maxsize=1)
def index(texts: tuple[str, ...]) -> QuestionIndex:
    """The `QuestionIndex` of some questions, built once per process."""
    return QuestionIndex(texts)


def _contains(text: str, question: str) -> bool:
    """Whether a text contains the `words` of a question, with no further arithmetic on either side.

    A document with 1 + 1 + 1 does not contain 1 + 1.
    """
    place = text.find(question)
    while place >= 0:
        end = place + len(question)
        before = text[text.rfind(" ", 0, place) + 1 : place]
        after = text[end : text.find(" ", end)]
        if before not in _OPERATORS and after not in _OPERATORS:
            return True
        place = text.find(question, place + 1)
    return False


def _slot(runs: Hashes) -> npt.NDArray[np.int64]:
    return (mix(runs) >> np.uint64(64 - _FILTER_BITS)).astype(np.int64)
