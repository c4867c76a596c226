"""The numbers of a question: which of them may change, and to what.

Only numbers in digits change. A number stays if it is 1 or 2, is in words, or if its place suggests
that it is more than an amount: a label, a year, a time, an ordinal, a part of a ratio or of a
fraction, or something attached to letters.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from random import Random

from tinymathreason.variants.numerals import DIGITS, SPELLED, value

_LABEL = re.compile(
    r"(?:\b(?:grade|page|pages|chapter|day|week|month|year|hour|level|stage|route|room|number|no\.|"
    r"class|group|team|box|part|section|round|version|channel|season|phase|step|type|apartment|"
    r"january|february|march|april|may|june|july|august|september|october|november|december) |"
    r"#|\d ?[/:x*+^=-] ?|\d and |[-\u2212\u2013(])$",
    re.IGNORECASE,
)
_ATTACHED = re.compile(
    r" ?(?:[:/*+^='\u2019\"\u2032\u2033]|x\b)|-\d|[A-Za-z]| ?(?:[ap]\.?m\b|o'clock|and \d+/|"
    r"halves|thirds|quarters of|fourths|fifths|sixths|eighths|tenths)| \d",
    re.IGNORECASE,
)
_PERCENT = re.compile(r" ?%| ?(?:percent|per cent)\b")
_CENTS = re.compile(r"[ -]cents?\b")
_MONTH = (
    r"\b(?:month(?:ly|s)?|January|February|March|April|May|June|July|August|September|October|"
    r"November|December)\b"
)
_CAPS = (
    (re.compile(r"[ -]days?\b"), re.compile(r"\bweek(?:ly|s)?\b"), 7),
    (re.compile(r"[ -]days?\b"), re.compile(_MONTH), 28),
    (re.compile(r"[ -]hours?\b"), re.compile(r"\b(?:days?|daily|nights?|nightly)\b"), 16),
    (re.compile(r"[ -]months?\b"), re.compile(r"\byear(?:ly|s)?\b"), 12),
    (re.compile(r"[ -]weeks?\b"), re.compile(r"\bmonth(?:ly|s)?\b"), 4),
    (re.compile(r"[ -]weeks?\b"), re.compile(r"\byear(?:ly|s)?\b"), 52),
)
"""A unit after a number, a longer unit in the same question, and how many of the first it has."""


@dataclass(frozen=True)
class Number:
    """A number in a text."""

    start: int
    end: int
    text: str
    value: Fraction
    percent: bool = False
    cents: bool = False
    free: bool = False
    """Whether it may change."""
    largest: int | None = None
    """The largest sensible number in its place; None if any number is."""

    def drawn(self, source: Random) -> Fraction:
        """A number of similar size and roundness, between half and twice this one."""
        step = self.step
        count = self.value / step
        least, most = max(1, -(-count // 2)), count * 2
        if self.value >= 3:
            least = max(least, -(-Fraction(2) // step))
        if self.largest is not None:
            most = min(most, self.largest / step)
        return source.randint(int(least), max(int(least), int(most))) * step

    @property
    def step(self) -> Fraction:
        """What the drawn numbers are multiples of."""
        steps = (1000, 100, 10, 5, 1) if self.value >= 15 else (1,)
        for step in map(Fraction, steps):
            if self.value % step == 0 and self.value >= 3 * step:
                return step
        for step in (Fraction(1, 2), Fraction(1, 4), Fraction(1, 10)):
            if self.value % step == 0:
                return step
        return Fraction(1, 100)


def numbers(text: str) -> Iterator[Number]:
    """The numbers of a question in their order."""
    places = sorted(
        (match.span() for rule in (DIGITS, SPELLED) for match in rule.finditer(text)),
        key=lambda span: (span[0], -span[1]),
    )
    for start, end in places:
        yield _number(text, start, end)


def _number(text: str, start: int, end: int) -> Number:
    number = value(text[start:end])
    percent = bool(_PERCENT.match(text, end))
    largest = 99 if percent else None
    for unit, longer, most in _CAPS:
        if largest is None and unit.match(text, end) and longer.search(text):
            largest = most
    year = 1800 <= number <= 2100 and number.denominator == 1 and text[start - 1 : start] != "$"
    free = (
        text[start].isdigit()
        and number not in (0, 1, 2)
        and not (year and end - start == 4)
        and not _LABEL.search(text[max(0, start - 12) : start])
        and (percent or not _ATTACHED.match(text, end))
        and (number * 100).denominator == 1
        and (largest is None or number <= largest)
    )
    cents = bool(_CENTS.match(text, end))
    return Number(start, end, text[start:end], number, percent, cents, free, largest)
