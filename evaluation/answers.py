r"""What a completion states as its answer, and whether that is the right one.

Reading takes time linear in the text. Judging never fails for any text, and ends within a second:
numbers are compared here and exactly, all else by math-verify in a process that can be killed.
"""

import re
from collections import deque
from fractions import Fraction

from tinymathreason.answers import FACTORS, PREFIX, bare, boxes
from tinymathreason.latex import LONGEST, Judge

SECONDS = 0.7
"""Wall-clock time of one comparison by math-verify. Honest answers take up to 0.2 on an idle core;
with what else there is to do, a judgement stays below one second."""
TAIL = 20_000
"""Characters at the end of a completion in which `final` looks for a box or a sentence."""

_MARKED = re.compile(rf"^{PREFIX.strip()}[^\S\n]+(\S[^\n]*)", re.MULTILINE)
_HEADING = re.compile(r"[*_]*[A-Za-z]{2,}[ :]")
_CLAIM = re.compile(r"\bthe (?:final )?answer is\b:?", re.IGNORECASE)
_CLAIM_END = re.compile(r"[.!?](?:\s|$)| because\b|\n")
# A hyphen after a number or a word is no minus, and dots before a digit are no decimal point.
_LAST = re.compile(
    r"((?:(?<![\w)}])[-\u2212])?)\$?"
    r"((?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![0-9.])\.[0-9]+)"
)

_SPACING = re.compile(r"(?<!\\)\\(?:(?:left|right)(?![A-Za-z])|[,;:!])")
_TEXT = r"\\(?:text(?:bf|it|rm)?|mbox|mathrm) ?\{([^{}]*)\}"
_SIGN = r" ?(?:\\?%|\^ ?\{? ?\\circ ?\}?|\\degree|\u00b0)"
_LAST_SIGNS = re.compile(rf"(?:{_SIGN})+$")
_WORDS = re.compile(r"[A-Za-z]{3,}(?:[ ,'-]+[A-Za-z]+)*")

_DIGITS = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)"
_PART = rf" ?(?:\{{ ?(-?{_DIGITS}) ?\}}|([0-9]))"
_FRACTION = re.compile(rf"\\[dtc]?frac{_PART}{_PART}")
_MONEY = r"(?:(?:\\?\$|\u00a3|\u20ac) ?)?"
_UNIT = rf"{_SIGN}| ?{_TEXT}| [A-Za-z]{{3,}}| ?(?:[ckm]m|[km]g|ml|mi|ft|in|oz|lbs?|yd)(?![A-Za-z])"
_NUMBER = re.compile(
    rf"{_MONEY}(?P<sign>[-+]?) ?(?:(?P<whole>[0-9]+) )?"
    rf"(?P<over>-?{_DIGITS}(?:[eE][-+]?[0-9]{{1,3}})?)(?: ?/ ?(?P<under>{_DIGITS}))?"
    rf"(?: (?P<factor>{'|'.join(FACTORS)})(?![A-Za-z]))?"
    rf"(?:(?:{_UNIT})(?:\^(?:[23]|\{{[23]\}}))?\.?)*"
)


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
    found = deque(_LAST.finditer(completion.replace("{,}", ",")), maxlen=1)
    return ("-" if found[0][1] else "") + found[0][2].replace(",", "") if found else None


def final(completion: str) -> str | None:
    r"""What the final line says as `strict` reads it, else the last ``\boxed{}``, else the sentence
    "the (final) answer is ..."; else None."""
    stated = strict(completion)
    if stated is not None:
        return stated
    tail = completion[-TAIL:]
    boxed = boxes(tail)
    if boxed:
        return _bare(boxed[-1])
    claims = deque(_CLAIM.finditer(tail), maxlen=1)
    return _bare(_CLAIM_END.split(tail[claims[0].end() :], maxsplit=1)[0]) if claims else None


class Checker(Judge):
    r"""Whether an answer is the right one; a context manager, not for two threads at once.

    ==================  ===========================================================================
    numbers             compared by value and exactly: ``18`` = ``18.00`` = ``1.8e1``; 0.333 is not
                        1/3
    separators, money   ignored: ``1,234`` = ``1{,}234`` = ``$1234``; ``1,2`` is a list
    fractions           ``1/2`` = ``0.5`` = ``\frac{1}{2}`` = ``\dfrac12``; ``3\frac12`` = ``3.5``
    negative            ``-5`` = ``-$5`` = ``$-5``, with U+2212 too
    per cent, degrees   the sign is ignored: ``50\%`` = ``50%`` = ``50``, and never ``0.5``;
                        ``90^\circ`` = ``90``
    factors             ``5 thousand`` = ``5,000``; dozen, hundred, million, billion, trillion too
    units               words and ``\text{}`` after a number are ignored, whichever they are:
                        ``18 dollars`` = ``18`` = ``18\text{ cm}^2``
    words               ``\text{Monday}`` = ``monday``, letter by letter; ``(B)`` = ``B``
    all other LaTeX     by math-verify: ``\sqrt{8}`` = ``2\sqrt{2}``, intervals, tuples, sets; it
                        holds a root for its first six decimals
    ==================  ===========================================================================

    Nothing equals an empty answer. Raises `InputError` when math-verify is missing.
    """

    def __init__(self) -> None:
        super().__init__(SECONDS)

    def correct(self, found: str | None, expected: str) -> bool:
        """Whether the answer ``found`` in a completion equals the ``expected`` one.

        Raises `ChildProcessError` when math-verify is needed and does not even start.
        """
        if found is None:
            return False
        if max(len(found), len(expected)) > LONGEST:
            self.failures["too_long"] += 1
            return False
        answer, right = _plain(found), _plain(expected)
        if not answer or not right:
            return False
        if answer == right:
            return True
        numbers = _number(answer), _number(right)
        if None not in numbers:
            return numbers[0] == numbers[1]
        if _WORDS.fullmatch(answer) or _WORDS.fullmatch(right):
            # math-verify would multiply their letters, in any order.
            return answer.casefold() == right.casefold()
        return self.equal(answer, right)


def _bare(answer: str) -> str | None:
    """`bare` of a text of reasonable length; None for nothing."""
    answer = answer.strip()
    return (bare(answer) if len(answer) <= LONGEST else answer) or None


def _plain(answer: str) -> str:
    """An answer without its dress: spacing, a text's command, and the signs of per cent, degree."""
    answer = _SPACING.sub("", answer.replace("\u2212", "-"))
    answer = bare(answer.strip("* ").removeprefix("=").rstrip(", "))
    text = re.fullmatch(_TEXT, answer)
    return _LAST_SIGNS.sub("", bare(text[1]) if text else answer)


def _number(answer: str) -> Fraction | None:
    """The exact value of an answer that is a number as a whole; else None."""
    answer = _FRACTION.sub(lambda m: f" {m[1] or m[2]}/{m[3] or m[4]} ", answer)
    found = _NUMBER.fullmatch(" ".join(answer.split()))
    if not found:
        return None
    whole, over, under = (
        Fraction((found[part] or default).replace(",", ""))
        for part, default in (("whole", "0"), ("over", "0"), ("under", "1"))
    )
    # A whole number before a fraction is added to it; one before another is no number at all.
    if under == 0 or (found["whole"] and (not found["under"] or over < 0)):
        return None
    value = (whole + over / under) * FACTORS.get(found["factor"], 1)
    return -value if found["sign"] == "-" else value
