"""Reads and writes the whole numbers of a text, in digits and in English words."""

import re
from fractions import Fraction

from tinymathreason.quantity import CARDINALS

_SMALL, _TENS = CARDINALS[:20], CARDINALS[20:]
WORDS = {word: value for value, word in enumerate(_SMALL)} | {
    word: 10 * value for value, word in enumerate(_TENS, 2)
}
"""The value of each numeral of one word below a hundred."""

_ONES = "|".join(_SMALL[1:10])
SPELLED = re.compile(
    rf"\b(?:(?:{'|'.join(_TENS)})(?:[- ](?:{_ONES}))?|{'|'.join(sorted(_SMALL, key=len)[::-1])})\b",
    re.IGNORECASE,
)
"""A number below a hundred in words, such as ``seven`` and ``twenty-five``."""
DIGITS = re.compile(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\d)|(?<![\w.])\.\d+", re.A)
"""A number in digits that does not begin inside a word."""


def value(text: str) -> Fraction:
    """The value of a match of `DIGITS` or `SPELLED`."""
    if text[0].isdigit() or text[0] == ".":
        return Fraction(text.replace(",", ""))
    return Fraction(sum(WORDS[word] for word in re.split("[- ]", text.lower())))


def spelled(number: int) -> str:
    """A whole number from 0 to 999,999 in words: ``four hundred and two``, ``twenty-five``."""
    if number < 20:
        return _SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{_SMALL[ones]}" if ones else "")
    unit, name, join = (100, "hundred", " and ") if number < 1000 else (1000, "thousand", " ")
    high, low = divmod(number, unit)
    return f"{spelled(high)} {name}" + (f"{join}{spelled(low)}" if low else "")


def written_like(number: Fraction, original: str) -> str | None:
    """A number in the style of a match of `DIGITS` or `SPELLED`.

    Kept are the thousands separators, the decimals, words and a capital. None if the number is
    negative or has more decimals than the original or two.
    """
    if number < 0:
        return None
    if original[0].isalpha():
        if number.denominator != 1 or number >= 100:
            return None
        word = spelled(int(number))
        return word.capitalize() if original[0].isupper() else word
    least = len(original.partition(".")[2])
    fitting = (k for k in range(least, max(2, least) + 1) if (number * 10**k).denominator == 1)
    decimals = next(fitting, None)
    if decimals is None:
        return None
    whole, part = divmod(int(number * 10**decimals), 10**decimals)
    separated = "," in original or (len(original) < 4 and whole >= 10**4)
    text = f"{whole:,}" if separated else str(whole)
    if original.startswith(".") and not whole:
        text = ""
    return f"{text}.{part:0{decimals}}" if decimals else text
