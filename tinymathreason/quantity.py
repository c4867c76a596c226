r"""Reads the exact value of a text that is a number, perhaps with a unit, and nothing else.

A closed rule says what may follow the number. A unit consists of nouns and adjectives, which are
too many to list, of listed symbols, and of rates and powers of these: ``apples``, ``square feet``,
``cm^2``, ``km/h``, ``dollars per hour``, ``cups of flour``. Other words change the meaning of the
number, and a text with one of them is not a plain number. These are listed: numerals, fractions and
ordinals, words of arithmetic and comparison, negations, conjunctions, pronouns and most
prepositions. So ``3 halves``, ``5 squared``, ``5 less than twelve`` and ``3 p.m.`` are not numbers
here, and neither are ``3:1``, ``5th`` and ``101_2``.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

LONGEST = 2_000
"""Characters of the longest text that is read; no answer is longer."""
FACTORS = {
    "dozen": 12,
    "dozens": 12,
    "hundred": 100,
    "thousand": 10**3,
    "lakh": 10**5,
    "million": 10**6,
    "crore": 10**7,
    "billion": 10**9,
    "trillion": 10**12,
}
"""Numerals that multiply the number before them."""


def _words(*lines: str) -> list[str]:
    return " ".join(lines).split()


def _plural(word: str) -> str:
    return re.sub("y$", "ie", word) + "s"


CARDINALS = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen",
    "fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty",
    "ninety",
)
"""The numerals of one word: those below twenty, and the tens."""
_IRREGULAR = {"five": "fifth", "eight": "eighth", "nine": "ninth", "twelve": "twelfth"}
_ORDINALS = [
    _IRREGULAR.get(word, re.sub("y$", "ie", word) + "th") for word in (*CARDINALS[4:], *FACTORS)
]
# A second is a unit. A quarter can be a coin or a fraction, so it is not a unit here.
_FRACTIONS = _words("first third thirds half halves quarter quarters")
_NUMERALS = [*CARDINALS, *FACTORS, *_ORDINALS, *_FRACTIONS, *_words("grand mil")]
_STATEMENT = {
    *_NUMERALS,
    *map(_plural, (*CARDINALS[2:], *FACTORS, *_ORDINALS)),
    # Arithmetic.
    *_words(
        "plus minus multiplied divided over squared cubed root power exponent factorial mod modulo",
        "modulus remainder double doubled twice triple tripled thrice quadruple quadrupled halved",
        "negative base binary octal decimal hexadecimal hex choose equals",
    ),
    # Comparison and ratio; "5 more" alone still means five.
    *_words("than greater lesser most least ratio odds versus"),
    # Times of day, and eras.
    *_words("noon midnight oclock bce"),
    # Negations, conjunctions, pronouns and auxiliaries, except those that are also nouns.
    *_words(
        "not non never none neither nor without except but and because since while when where",
        "whether though although unless that which who whom whose this these those she they you",
        "him are was were been does did has have had would could should shall isn don",
    ),
    # Prepositions, except those in units.
    *_words(
        "from with into onto out down about above across after against among around before behind",
        "below beneath beside besides between beyond past through till toward towards under until",
        "upon via within",
    ),
}
"""Words of three letters and more after which a number is not a plain one. Shorter words are
allowed only if they are in `_LINKS` or `_SYMBOLS`."""
_LINKS = {"per", "of", "a", "an", "the", "each", "every", "in", "on", "at", "for", "during"}
"""Listed words that can be part of a unit."""
_RATES = {"a", "an", "per", "each", "every"}

_SYMBOLS = set(
    _words(
        "nm um \u00b5m \u03bcm mm cm dm km in ft yd mi mg kg lb lbs oz ml mL cl dl dL kl cc sq",
        "cu ha ms ns hr hrs min mins sec secs yr yrs wk wks mph kph kmh fps rpm gal gals pt pts qt",
        "qts cal kcal Hz kHz MHz GHz Pa kPa psi kN kJ kW MW kWh mV kV mA mol mmol KB kB MB GB TB",
        "eV hp USD EUR GBP pct rad deg sr dB tsp tbsp",
    )
)
"""Symbols of units; those of one letter count only where they cannot be a variable."""
_LETTERS = set("mgshdlLKCFJNWVA")
_ALONE = {"m", "g", "L"}

DIGITS = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)"
_PART = rf" ?(?:\{{ ?(-?{DIGITS}) ?\}}|([0-9]))"
_FRAC = re.compile(rf"\\[dtc]?frac{_PART}{_PART}")
_SPACED = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?: [0-9]{3})+(?![0-9]| ?/|,[0-9])")
CURRENCY = r"(?:\\?\$|[\u00a2-\u00a5\u20a0-\u20bf])"
_TEN = r"10 ?\^ ?(?:\{ ?([-+]?[0-9]{1,3}) ?\}|([-+]?[0-9]{1,3}))"
_POWER = re.compile(rf"(?<![0-9.,^])(?P<mantissa>{DIGITS} ?(?:\\times|\\cdot|\*|x) ?)?{_TEN}")
_NUMBER = re.compile(
    rf"(?:{CURRENCY} ?)?(?P<sign>[-+]?) ?(?:{CURRENCY} ?)?(?:(?P<whole>[0-9]+) )?"
    rf"(?P<over>-?{DIGITS}(?:[eE][-+]?[0-9]{{1,3}}(?![0-9]))?)(?: ?/ ?(?P<under>{DIGITS}))?"
    rf"(?: (?P<factor>{'|'.join(FACTORS)})(?![A-Za-z]))?"
)
_COMMAND = r"\\(?:text(?:bf|it|rm)?|mbox|mathrm) ?\{"
_TEXT = re.compile(rf"{_COMMAND}([^{{}}]*)\}}")
_PERCENT = re.compile(r"\\?%|\b(?:percent|per cent|pct)\b")
_DEGREE = r"(?:\^ ?\{? ?\\circ(?![A-Za-z]) ?\}?|\\degree(?![A-Za-z]))(?: ?[CFK](?![A-Za-z]))?"
_SIGN = rf"\\?%|{_DEGREE}|{CURRENCY}"
_SIGNS = re.compile(rf" ?(?:{_SIGN})")
_WORD = r"[A-Za-z\u00b5\u00c0-\u024f\u03bc\u03a9]+"
_UNIT_POWER = r"(?: ?\^(?:-?[1-9]|\{-?[1-9]\}))?"
_BETWEEN = r"(?: ?/ ?| ?(?:\\cdot|\*) ?| |-)"
_UNIT = re.compile(rf"/? ?{_WORD}\.?{_UNIT_POWER}(?:{_BETWEEN}{_WORD}\.?{_UNIT_POWER})*")
_PIECES = re.compile(rf"({_BETWEEN})?({_WORD})")
_TAIL = re.compile(rf"(?: ?(?:{_COMMAND}[^{{}}]*\}}{_UNIT_POWER}|{_SIGN})| [A-Za-z-]{{3,}}\.?)+$")
_ORDINARY = re.compile(r" [A-Za-z]{3,}|\\text[a-z]* ?\{(?! ?(?:and|or) ?\})[^{}]*[A-Za-z]{2}")
_SPECIAL = re.compile(
    r" ?(?:[:_'\"\u2032\u2033]|\\prime|\\colon"
    r"|(?:\^ ?\{? ?)?(?:\\[a-z]+ ?\{)?(?:st|nd|rd|th)(?![A-Za-z])"
    r"|(?:\\[a-z]+ ?\{)? ?[AaPp]\.? ?[Mm](?![A-Za-z]))"
)
_DIGIT = re.compile("[0-9]")


@dataclass(frozen=True, slots=True)
class Quantity:
    """The number that makes up a whole text."""

    value: Fraction
    """The exact value without the unit: 50 for ``50%``."""
    digits: str | None
    """The number as written, without separators and unit; None for a fraction, a power of ten, and
    a number with a numeral after it."""
    is_percent: bool
    """Whether the unit is per cent."""


def read(text: str) -> Quantity | None:
    """The quantity that makes up a text in `spelling.normalise`'s form; else None."""
    if len(text) > LONGEST or not _DIGIT.search(text):
        return None
    text = " ".join(text.split())
    text = _SPACED.sub(lambda m: m[0].replace(" ", ","), text, 1)
    text = _FRAC.sub(lambda m: f" {m[1] or m[2]}/{m[3] or m[4]} ", text)
    text = " ".join(_POWER.sub(_scientific, text, 1).split())
    number = _NUMBER.match(text)
    if not number or not is_unit(text[number.end() :]):
        return None
    whole, over, under = (
        Fraction((number[part] or default).replace(",", ""))
        for part, default in (("whole", "0"), ("over", "0"), ("under", "1"))
    )
    # A whole number before a fraction is added to it; two numbers in a row are not one.
    if under == 0 or (number["whole"] and (not number["under"] or over < 0)):
        return None
    value = (whole + over / under) * FACTORS.get(number["factor"], 1)
    plain = re.fullmatch(rf"-?{DIGITS}", number["over"]) and not (
        number["under"] or number["factor"]
    )
    sign = "-" if number["sign"] == "-" else ""
    digits = sign + number["over"].replace(",", "").removesuffix(".") if plain else None
    percent = bool(_PERCENT.search(text, number.end()))
    return Quantity(-value if sign else value, digits, percent)


def split(text: str) -> tuple[str, str]:
    """A normalised formula, and the words and signs after it; either may be empty."""
    tail = _TAIL.search(text)
    return (text[: tail.start()], text[tail.start() :]) if tail else (text, "")


def is_statement(text: str) -> bool:
    """Whether the text after a number or a formula is more than a unit."""
    number = _NUMBER.match(text)
    if number:
        rest = text[number.end() :]
        if is_unit(rest):
            return False
        return bool(_ORDINARY.search(rest) or _SPECIAL.match(rest))
    return not is_unit(split(text)[1])


def is_unit(text: str) -> bool:
    """Whether the text after a number is empty or a unit, so that the value stays."""
    touches = text[:1].isalpha()
    marked = {word for m in _TEXT.finditer(text) for word in re.findall(_WORD, m[1])}
    text = " ".join(_TEXT.sub(r" \1 ", text).split())
    while sign := _SIGNS.match(text):
        text = text[sign.end() :].lstrip()
    if text in ("", "."):
        return True
    if not _UNIT.fullmatch(text):
        return False
    pieces = [(m[1] or "", m[2]) for m in _PIECES.finditer(text)]
    if touches and pieces[0][1] not in _SYMBOLS:
        return False
    return all(_fits(pieces, i, piece[1] in marked) for i, piece in enumerate(pieces))


def _fits(pieces: list[tuple[str, str]], i: int, marked: bool) -> bool:
    """Whether a word may be at its place in a unit; a piece is a separator and a word."""
    before, word = pieces[i]
    following = pieces[i + 1][1].lower() if i + 1 < len(pieces) else ""
    lower = word.lower()
    if lower == "times":
        return following in {"", *_RATES}
    if lower in _LINKS:
        return bool(following) or lower in ("in", "each")
    if len(word) == 1:
        in_rate = i > 0 and before.strip() in ("/", "*", "\\cdot")
        return word in (_LETTERS if marked or in_rate else _ALONE if not i and not before else ())
    if len(word) == 2:
        return word in _SYMBOLS or lower in _SYMBOLS
    return lower not in _STATEMENT and not lower.endswith("fold")


def _scientific(match: re.Match[str]) -> str:
    mantissa = re.match(DIGITS, match["mantissa"] or "1")
    assert mantissa
    return f"{mantissa[0]}e{match[2] or match[3]}"
