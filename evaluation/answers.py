r"""Extracts the answer from a completion and compares it with the right one.

Extraction takes time linear in the text. A comparison never fails, whatever the text, and ends
within a second: numbers are compared here, exactly, and everything else by math-verify in a process
that can be killed.
"""

import re
from collections import deque

from tinymathreason import quantity
from tinymathreason.answers import PREFIX, TAIL, bare, boxes
from tinymathreason.latex import Comparer
from tinymathreason.quantity import LONGEST
from tinymathreason.spelling import plain_digits

TIMEOUT = 0.7
"""Seconds that math-verify may take for one comparison. Real answers take up to 0.2 s on an idle
core; together with everything else, a comparison stays below one second."""

_MARKED = re.compile(rf"^{PREFIX.strip()}[^\S\n]+(\S[^\n]*)", re.MULTILINE)
_HEADING = re.compile(r"[*_]*[A-Za-z]{2,}[ :]")
_CLAIM = re.compile(r"\bthe (?:final )?answer is\b:?", re.IGNORECASE)
_CLAIM_END = re.compile(r"[.!?](?:\s|$)| because\b|\n")
# A hyphen after a number or a word is not a minus sign, and two dots are not a decimal point.
_LAST = re.compile(
    r"((?:(?<![\w)}])-)?)\$?"
    r"((?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![0-9.])\.[0-9]+)"
)

_SPACING = re.compile(r"(?<!\\)\\(?:(?:left|right)(?![A-Za-z])|[,;:!])")
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm)?|mbox|mathrm) ?\{([^{}]*)\}")
_LAST_SIGNS = re.compile(r"(?: ?(?:\\?%|\^ ?\{? ?\\circ ?\}?|\\degree))+$")
_WORDS = re.compile(r"[A-Za-z]{3,}(?:[ ,'-]+[A-Za-z]+)*")
_DOTS = re.compile(r"\s|\.(?![0-9])")


def strict(completion: str) -> str | None:
    """The answer on the first final line, ``#### 42``, whatever it is; None without such a line.

    A line that begins like prose (``#### Step 1: add``) is a heading if another one follows.
    """
    stated = [line[1] for line in _MARKED.finditer(completion)]
    answers = (line for line in stated if not _HEADING.match(line))
    return _bare(next(answers, stated[0] if stated else ""))


def flexible(completion: str) -> str | None:
    """The last number anywhere in the text, also in a box or a fraction; None without one.

    This is lm-eval's flexible-extract without the dollar sign, the thousands separators and the
    full stop or comma after the number. The hyphen of ``3-5`` is not a minus sign.
    """
    numbers = deque(_LAST.finditer(plain_digits(completion)), maxlen=1)
    return ("-" if numbers[0][1] else "") + numbers[0][2].replace(",", "") if numbers else None


def final(completion: str) -> str | None:
    r"""The answer on the final line (`strict`), else in the last ``\boxed{}``, else in the sentence
    "the (final) answer is ..."; else None."""
    stated = strict(completion)
    if stated is not None:
        return stated
    boxed = boxes(completion)
    if boxed:
        return _bare(boxed[-1])
    tail = completion[-TAIL:]
    claims = deque(_CLAIM.finditer(tail), maxlen=1)
    return _bare(_CLAIM_END.split(tail[claims[0].end() :], maxsplit=1)[0]) if claims else None


class Checker(Comparer):
    r"""Decides whether an answer is right; a context manager, not for two threads at once.

    ==================  ===========================================================================
    numbers             compared by value and exactly: ``18`` = ``18.00`` = ``1.8e1``; 0.333 is not
                        1/3; ``10^3`` = ``1e3`` = ``1 \times 10^{3}``
    separators, money   ignored: ``1,234`` = ``1{,}234`` = ``1 234`` = ``$1234``; ``1,2`` is a list
    fractions           ``1/2`` = ``0.5`` = ``\frac{1}{2}`` = ``½``; ``3\frac12`` = ``3.5``
    negative            ``-5`` = ``-$5`` = ``$-5``, also with U+2212 and dashes
    per cent, degrees   the sign and the word are ignored: ``50\%`` = ``50%`` = ``50``, and never
                        ``0.5``; ``90^\circ`` = ``90`` = ``90°``
    factors             ``5 thousand`` = ``5,000``; also dozen, hundred, lakh, million and others
    units               all are ignored, by the rule of `tinymathreason.quantity`:
                        ``18 dollars`` = ``18`` = ``18\text{ cm}^2`` = ``$18/hr``
    statements          a number with words that are more than a unit (``3 halves``, ``5 squared``,
                        ``5 less than twelve``), a ratio, an ordinal, a time of day, a number in
                        another base: equal only to the same text
    words               ``\text{Monday}`` = ``monday``, letter by letter; ``(B)`` = ``B``; a number
                        in words, ``three`` or ``a half``, is a word
    Unicode             read as LaTeX: ``2√3`` = ``2\sqrt{3}``, ``x²`` = ``x^2``
    all other LaTeX     by math-verify: ``\sqrt{8}`` = ``2\sqrt{2}``, intervals, tuples, sets; it
                        compares roots by their first six decimals
    ==================  ===========================================================================

    No answer equals an empty one. Raises `InputError` when math-verify is missing.
    """

    def __init__(self) -> None:
        super().__init__(TIMEOUT)

    def correct(self, answer: str | None, expected: str) -> bool:
        """Whether the ``answer`` of a completion equals the ``expected`` one; None never does.

        Raises `ChildProcessError` when math-verify is needed and does not start.
        """
        if answer is None:
            return False
        if max(len(answer), len(expected)) > LONGEST:
            self.failures["too_long"] += 1
            return False
        answer, right = _plain(answer), _plain(expected)
        if not answer or not right:
            return False
        if answer == right:
            return True
        numbers = quantity.read(answer), quantity.read(right)
        if None not in numbers:
            return numbers[0].value == numbers[1].value  # type: ignore[union-attr]
        answer, right = _formula(answer), _formula(right)
        if _is_words(answer) or _is_words(right):
            # math-verify would read words as products of letters, or ignore them.
            return _folded(answer) == _folded(right)
        return self.equal(answer, right)


def _bare(answer: str) -> str | None:
    """`bare` of a text; None when that is empty."""
    return bare(answer) or None


def _plain(answer: str) -> str:
    """An answer without spacing, without a text command around it, without % or degree signs."""
    answer = _SPACING.sub("", bare(answer.strip("* ").removeprefix("=").rstrip(", ")))
    answer = bare(answer.strip("* ").removeprefix("=").rstrip(", "))
    text = _TEXT.fullmatch(answer)
    return _LAST_SIGNS.sub("", bare(text[1]) if text else answer)


def _is_words(answer: str) -> bool:
    return bool(_WORDS.fullmatch(answer)) or quantity.is_statement(answer)


def _folded(answer: str) -> str:
    """Words without case, spaces and the dots of abbreviations."""
    return _DOTS.sub("", _TEXT.sub(r"\1", answer)).casefold()


def _formula(answer: str) -> str:
    """An answer for math-verify: no unit, and no ``1e3``, where it reads Euler's number."""
    number = quantity.read(answer)
    if number is not None and number.digits is None:
        return f"\\frac{{{number.value.numerator}}}{{{number.value.denominator}}}"
    formula, unit = quantity.split(answer)
    return formula if formula.strip() and quantity.is_unit(unit) else answer
