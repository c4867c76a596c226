r"""What a completion states as its answer, and whether that is the right one.

Reading takes time linear in the text. Judging never fails for any text, and ends within a second:
numbers are compared here and exactly, all else by math-verify in a process that can be killed.
"""

import re
from collections import deque

from tinymathreason import quantity
from tinymathreason.answers import PREFIX, TAIL, bare, boxes
from tinymathreason.latex import Comparer
from tinymathreason.quantity import LONGEST
from tinymathreason.spelling import plain_digits

TIMEOUT = 0.7
"""Wall-clock time of one comparison by math-verify. Honest answers take up to 0.2 on an idle core;
with what else there is to do, a judgement stays below one second."""

_MARKED = re.compile(rf"^{PREFIX.strip()}[^\S\n]+(\S[^\n]*)", re.MULTILINE)
_HEADING = re.compile(r"[*_]*[A-Za-z]{2,}[ :]")
_CLAIM = re.compile(r"\bthe (?:final )?answer is\b:?", re.IGNORECASE)
_CLAIM_END = re.compile(r"[.!?](?:\s|$)| because\b|\n")
# A hyphen after a number or a word is no minus, and dots before a digit are no decimal point.
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
    """The answer on the first canonical final line, ``#### 42``, whatever stands there; else None.

    A line that begins like prose (``#### Step 1: add``) is a heading where another one follows.
    """
    stated = [line[1] for line in _MARKED.finditer(completion)]
    answers = (line for line in stated if not _HEADING.match(line))
    return _bare(next(answers, stated[0] if stated else ""))


def flexible(completion: str) -> str | None:
    """The last number in the text, wherever it stands, a box or a fraction included; else None.

    lm-eval's flexible-extract, but without the dollar sign, the thousands separators and the full
    stop or comma after it; and the hyphen of ``3-5`` is no minus.
    """
    numbers = deque(_LAST.finditer(plain_digits(completion)), maxlen=1)
    return ("-" if numbers[0][1] else "") + numbers[0][2].replace(",", "") if numbers else None


def final(completion: str) -> str | None:
    r"""What the final line says as `strict` reads it, else the last ``\boxed{}``, else the sentence
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
    r"""Whether an answer is the right one; a context manager, not for two threads at once.

    ==================  ===========================================================================
    numbers             compared by value and exactly: ``18`` = ``18.00`` = ``1.8e1``; 0.333 is not
                        1/3; ``10^3`` = ``1e3`` = ``1 \times 10^{3}``
    separators, money   ignored: ``1,234`` = ``1{,}234`` = ``1 234`` = ``$1234``; ``1,2`` is a list
    fractions           ``1/2`` = ``0.5`` = ``\frac{1}{2}`` = ``½``; ``3\frac12`` = ``3.5``
    negative            ``-5`` = ``-$5`` = ``$-5``, with U+2212 and dashes, too
    per cent, degrees   the sign and the word are ignored: ``50\%`` = ``50%`` = ``50``, and never
                        ``0.5``; ``90^\circ`` = ``90`` = ``90°``
    factors             ``5 thousand`` = ``5,000``; dozen, hundred, lakh, million and others, too
    units               ignored, whichever they are, by the rule of `tinymathreason.quantity`:
                        ``18 dollars`` = ``18`` = ``18\text{ cm}^2`` = ``$18/hr``
    statements          a number with words that are more than a unit (``3 halves``, ``5 squared``,
                        ``5 less than twelve``), a ratio, an ordinal, a time of the day, a number of
                        another base: equal to the same text alone
    words               ``\text{Monday}`` = ``monday``, letter by letter; ``(B)`` = ``B``; a number
                        in words, ``three`` or ``a half``, is a word
    Unicode             as LaTeX spells it: ``2√3`` = ``2\sqrt{3}``, ``x²`` = ``x^2``
    all other LaTeX     by math-verify: ``\sqrt{8}`` = ``2\sqrt{2}``, intervals, tuples, sets; it
                        holds a root for its first six decimals
    ==================  ===========================================================================

    Nothing equals an empty answer. Raises `InputError` when math-verify is missing.
    """

    def __init__(self) -> None:
        super().__init__(TIMEOUT)

    def correct(self, answer: str | None, expected: str) -> bool:
        """Whether the answer ``found`` in a completion equals the ``expected`` one.

        Raises `ChildProcessError` when math-verify is needed and does not even start.
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
            # math-verify would multiply their letters, in any order, or leave words out.
            return _folded(answer) == _folded(right)
        return self.equal(answer, right)


def _bare(answer: str) -> str | None:
    """`bare` of a text; None for nothing."""
    return bare(answer) or None


def _plain(answer: str) -> str:
    """An answer without its dress: spacing, a text's command, and the signs of per cent, degree."""
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
    """What math-verify may read: no unit, and no exponent, which it takes for Euler's number."""
    number = quantity.read(answer)
    if number is not None and number.digits is None:
        return f"\\frac{{{number.value.numerator}}}{{{number.value.denominator}}}"
    formula, unit = quantity.split(answer)
    return formula if formula.strip() and quantity.is_unit(unit) else answer
