"""Finds the benchmark questions that documents contain.

A document contains a question if it contains enough of the runs of letters of which the question
consists, close together: a few other words seldom hide a question, and neither one common sentence
nor many scattered phrases are enough. A short question has longer runs and must be there almost
completely, since textbooks ask the like with other numbers. A question shorter than one such run
must occur word by word, with its signs of arithmetic. Case, spacing, punctuation, quotes and LaTeX
dollars never matter. `benchmarks.decontamination` measures what is found.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
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
"""Letters and digits of a run of a short question, about six words."""
SHARE = 0.7
"""Share of a short question's runs that a document must contain."""
LONG = 96
"""Letters and digits from which on a question is long."""
LONG_WINDOW = 16
"""Letters and digits of a run of a long question, about three words."""
LONG_SHARE = 0.5
"""Share of a long question's runs that a document must contain."""
STRIDE = 4
"""Letters between the starts of two runs of a question that are searched."""
COMMON = 3
"""A run of a long question that more questions have does not count, if a third of the question's
runs or more are left: a benchmark's own phrases, such as how an answer is to be written."""
STRETCH = 2
"""The runs must be within this many times the question's letters."""
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

    def __init__(
        self, texts: Sequence[str], long: int = LONG, phrases: Sequence[str] | None = None
    ) -> None:
        """Index the questions; those of ``long`` letters and more are long.

        ``phrases`` are the questions in which the common runs are counted, by default all: several
        versions of one problem would make its own words common. `InputError` for a question with
        fewer than `SHORTEST` letters.
        """
        self.texts = texts
        self._long = long
        self._runs: list[int] = []
        """How many runs of each question are searched; 1 if it must match completely."""
        self._lengths: list[int] = []
        """Letters of each question."""
        self._complete: dict[int, str] = {}
        entries: dict[int, dict[int, list[tuple[int, int]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        hashed = [HashedText.from_text(text) for text in texts]
        counted = hashed if phrases is None else [HashedText.from_text(text) for text in phrases]
        common = _common_runs([text for text in counted if len(text.letters) >= long])
        for number, (text, letters) in enumerate(zip(texts, hashed, strict=True)):
            length = len(letters.letters)
            if length < SHORTEST:
                raise InputError(f"decontaminate: {text!r:.60} is too short for a question")
            longest = LONG_WINDOW if length >= long else WINDOW
            size = min(longest, 1 << (length.bit_length() - 1))
            runs = letters.windows(size)[size]
            # The last run too, or the end of a question would never be searched.
            places = sorted({*range(0, len(runs), STRIDE), len(runs) - 1})
            if length >= long:
                rare = [place for place in places if int(runs[place]) not in common]
                places = rare if 3 * len(rare) >= len(places) else places
            if length < WINDOW:
                places = [0]
                self._complete[number] = words(text)
            self._runs.append(len(places))
            self._lengths.append(length)
            for place in places:
                entries[size][int(runs[place])].append((number, place))
        self._entries = {size: dict(by_run) for size, by_run in entries.items()}
        self._filters = {}
        for size, by_run in self._entries.items():
            self._filters[size] = np.zeros(1 << _FILTER_BITS, dtype=bool)
            self._filters[size][_slot(np.array(list(by_run), dtype=np.uint64))] = True

    def found_in(self, text: str) -> str | None:
        """The first question, in their order, that ``text`` contains; None without one."""
        first = min(self.all_in(text), default=None)
        return None if first is None else self.texts[first]

    def all_in(self, text: str) -> set[int]:
        """The numbers of all questions that ``text`` contains."""
        shares = self.shares(text).items()
        return {n for n, share in shares if share >= (LONG_SHARE if self.is_long(n) else SHARE)}

    def is_long(self, number: int) -> bool:
        """Whether a question counts as long."""
        return self._lengths[number] >= self._long

    def shares(self, text: str) -> dict[int, float]:
        """The share of each question's runs that one stretch of ``text`` contains, by its number.

        Questions with no run in the text are left out. A question shorter than `WINDOW` has 1 if it
        occurs completely, word by word, and is left out otherwise.
        """
        shares: dict[int, float] = defaultdict(float)
        pieces_of_words = None
        for piece in hashed_pieces(text):
            for number, hits in self._hits(piece).items():
                if number not in self._complete:
                    most = _most_together(hits, STRETCH * self._lengths[number])
                    shares[number] = max(shares[number], most / self._runs[number])
                elif number not in shares:
                    pieces_of_words = pieces_of_words or [words(part) for part in pieces(text)]
                    if any(_contains(part, self._complete[number]) for part in pieces_of_words):
                        shares[number] = 1.0
        return dict(shares)

    def _hits(self, piece: HashedText) -> dict[int, list[tuple[int, int]]]:
        """The runs of each question in a piece: their places in the piece and in the question."""
        hits: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for size, runs in piece.windows(max(self._entries, default=1)).items():
            entries = self._entries.get(size)
            if not entries:
                continue
            likely = np.flatnonzero(self._filters[size][_slot(runs)])
            for start, run in zip(likely.tolist(), runs[likely].tolist(), strict=True):
                for number, place in entries.get(run, ()):
                    hits[number].append((start, place))
        return hits


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
def index(texts: tuple[str, ...], phrases: tuple[str, ...] | None = None) -> QuestionIndex:
    """The `QuestionIndex` of some questions, built once per process."""
    return QuestionIndex(texts, phrases=phrases)


def _common_runs(questions: Sequence[HashedText]) -> set[int]:
    """The runs of `LONG_WINDOW` letters that more than `COMMON` questions have."""
    runs = [np.unique(question.windows(LONG_WINDOW)[LONG_WINDOW]) for question in questions]
    if not runs:
        return set()
    values, counts = np.unique(np.concatenate(runs), return_counts=True)
    return set(values[counts > COMMON].tolist())


def _most_together(hits: Sequence[tuple[int, int]], width: int) -> int:
    """The most distinct places of a question in a stretch of ``width`` letters.

    ``hits`` are pairs of a place in the text, ascending, and one in the question.
    """
    inside: Counter[int] = Counter()
    first = most = 0
    for start, place in hits:
        inside[place] += 1
        while hits[first][0] < start - width:
            old = hits[first][1]
            inside[old] -= 1
            if not inside[old]:
                del inside[old]
            first += 1
        most = max(most, len(inside))
    return most


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
