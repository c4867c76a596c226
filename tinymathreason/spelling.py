r"""Gives one spelling to what Unicode and LaTeX can spell in several ways.

One-character fractions such as one half, superscript digits, roots, multiplication signs, dashes
used as minus, degrees, non-breaking spaces and ``1{,}234`` become LaTeX or ASCII, which all readers
of answers know. Letters and digits of other scripts are not changed.
"""

import re
import unicodedata

_DASH = "\u2010\u2011\u2012\u2013\ufe63\uff0d"
_SPACE = "\u00a0\u2000-\u200a\u202f\u205f\u3000"
_GROUP = re.compile(rf"(?<=[0-9])(?:[{_SPACE}]|,?\\[,!;:]|\{{,\}})(?=[0-9]{{3}}(?![0-9]))")
"""Separators of thousands: a non-breaking space, LaTeX's spaces, or a comma in braces."""
# A dash after a number or a word is a hyphen; one directly before a number is a minus.
_MINUS = re.compile(rf"\u2212|(?<![\w)}}\]])[{_DASH}](?=[0-9.$\u00a3\u20ac\\])")
_SPACES = re.compile(rf"[{_SPACE}]")
# TeX's spaces between a number or a formula and its unit.
_TIES = re.compile(r"(?<=[0-9}])(?:~|\\[ ,;:])+(?=[\\A-Za-z])|(?<=\{)(?:~|\\[ ,;:])+")

_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "0123456789+-=()ni", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎", "0123456789+-=()", strict=True))
_ROOTS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}
_COMMANDS = {
    "times": "\u00d7", "div": "\u00f7", "cdot": "\u00b7\u22c5\u2219", "pm": "\u00b1",
    "mp": "\u2213", "le": "\u2264", "ge": "\u2265", "ne": "\u2260",
    "approx": "\u2248", "infty": "\u221e",
    "cup": "\u222a", "cap": "\u2229", "in": "\u2208", "emptyset": "\u2205", "pi": "\u03c0",
    "alpha": "\u03b1", "beta": "\u03b2", "gamma": "\u03b3", "theta": "\u03b8", "lambda": "\u03bb",
    "phi": "\u03c6", "omega": "\u03c9",
}  # fmt: skip
_SIGNS = {sign: rf"\{name} " for name, signs in _COMMANDS.items() for sign in signs} | {
    "\u00b0": r"^{\circ}",
    "\u00ba": r"^{\circ}",
    "\u2103": r"^{\circ}C",
    "\u2109": r"^{\circ}F",
    "\u2044": "/",
    "\u2215": "/",
    "\uff05": "%",
    "\u2217": "*",
}
_FRACTIONS = {
    sign: rf"\frac{{{over}}}{{{under}}}"
    for sign in (*map(chr, range(0x2150, 0x215F)), "¼", "½", "¾", "↉")
    for over, under in [unicodedata.normalize("NFKC", sign).split("\u2044")]
}
_TABLE = str.maketrans(_SIGNS | _FRACTIONS)
_SCRIPTS = re.compile(f"([{''.join(_RAISED)}]+)|([{''.join(_LOWERED)}]+)")
_ROOT = re.compile(
    rf"([{''.join(_ROOTS)}])\s?(?:(?=\{{)|\(([^()√∛∜]*)\)|([0-9]+(?:\.[0-9]+)?|[A-Za-z])|)"
)


def plain_digits(text: str) -> str:
    """A text with commas between thousands and ASCII minus signs, otherwise unchanged."""
    if not text.isascii():
        text = _MINUS.sub("-", text)
    return _GROUP.sub(",", text)


def normalise(text: str) -> str:
    """A text in one spelling. Takes linear time, and a second call changes nothing."""
    if not text.isascii():
        text = _ROOT.sub(_root, _SCRIPTS.sub(_script, text.translate(_TABLE)))
        text = _SPACES.sub(" ", plain_digits(text))
    return _TIES.sub(" ", plain_digits(text))


def _script(match: re.Match[str]) -> str:
    signs, table = (match[1], _RAISED) if match[1] else (match[2], _LOWERED)
    return f"{'^' if match[1] else '_'}{{{''.join(table[sign] for sign in signs)}}}"


def _root(match: re.Match[str]) -> str:
    inner = match[2] if match[2] is not None else match[3]
    return _ROOTS[match[1]] + ("" if inner is None else f"{{{inner}}}")
