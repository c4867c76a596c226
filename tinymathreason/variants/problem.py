"""A worked word problem, a variant of it, and its sentences."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from random import Random

from tinymathreason.answers import read_final

# A full stop after these does not end a sentence, nor does one after a single capital letter.
_ABBREVIATIONS = r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bvs)(?<!\bJr)(?<!\b[A-Z])"
_END = re.compile(rf"{_ABBREVIATIONS}[.!?]['\"\u201d\u2019)]?(\s+)(?=[\"'\u201c\u2018(]?[A-Z0-9$])")


@dataclass(frozen=True)
class ProblemVariant:
    """A problem that was made from another one."""

    kind: str
    """One of `KINDS`."""
    question: str
    """The question, or a part of it."""
    solution: str
    """The worked steps and the final line; empty if the kind has none."""
    answer: str | None
    """The number on the solution's final line; None if the question cannot be answered."""


@dataclass(frozen=True)
class SolvedProblem:
    """A question and its worked solution in GSM8K's form, with calculator annotations."""

    question: str
    solution: str

    @cached_property
    def answer(self) -> str | None:
        """The number on the final line, without thousands separators; None without one."""
        return read_final(self.solution)

    @cached_property
    def sentences(self) -> list[str]:
        """The sentences of the question, without the white space between them."""
        return [sentence for sentence, _ in self.spaced]

    @cached_property
    def spaced(self) -> list[tuple[str, str]]:
        """The sentences of the question, each with the white space after it; joined, the whole."""
        found, start = [], 0
        for end in _END.finditer(self.question):
            found.append((self.question[start : end.start(1)], end[1]))
            start = end.end()
        return [*found, (self.question[start:], "")]

    def same(self, kind: str, question: str) -> ProblemVariant:
        """The variant with another text of the question, and with the original's solution."""
        return ProblemVariant(kind, question, self.solution, self.answer)


Rule = Callable[[SolvedProblem, Random], ProblemVariant | None]
"""Makes one kind of variant; None if the problem does not admit it."""
