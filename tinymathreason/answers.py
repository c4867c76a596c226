"""The final line of a worked solution, which the data writes and the evaluation reads.

It has GSM8K's form, ``#### 42`` on a line by itself. Other evaluation tools know this form, it
cannot be confused with a step of the solution, and it takes few tokens.
"""

import re
from decimal import Decimal

from tinymathreason import quantity
from tinymathreason.quantity import LONGEST
from tinymathreason.spelling import normalise, plain_digits

PREFIX = "#### "
TAIL = 20_000
"""Characters at the end of a text in which a box is searched for."""
MOST = 100
"""How often a solution may state its answer; a text with more has no answer."""
# A comma must be followed by three digits; otherwise the pair 1,2 would be read as twelve.
_DIGITS = r"-?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
_NUMBER = re.compile(_DIGITS)
_FINAL_LINE = re.compile(rf"^#### ({_DIGITS})\.?\s*$", re.MULTILINE)
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_HOPE = re.compile(r"\sI hope (?:it|this) is correct\.?$")
# Without braces TeX boxes only the next token, but the whole number is meant.
_UNBRACED = r"-?[0-9](?:[0-9.,/]*[0-9])?|[A-Za-z](?![A-Za-z])"
_BRACE = re.compile(rf"\\(?:boxed|fbox)(?![A-Za-z])\s*(?:\{{|({_UNBRACED}))|[{{}}]")
# How GSM8K, MetaMathQA and MathInstruct's chain-of-thought part end a solution.
_MARK = re.compile(r"(?<!\S)####(?!#)")
_MARKED = re.compile(r"^(?:####(?!#)[^\S\n]*)+(.*)\n?", re.MULTILINE)
_CLAIM = re.compile(
    r"(?<!\S)(?:(?:so|thus|hence|therefore),? )?the (?:final )?answer is(?=[:\s])", re.IGNORECASE
)
_NO_CLAIM = re.compile(r"[.!?]\s|because|the (?:final )?answer is", re.IGNORECASE)


class ContradictionError(ValueError):
    """A solution states two different numbers as its answer."""


def final_line(answer: int | str) -> str:
    """The last line of a solution whose answer is ``answer``."""
    return f"{PREFIX}{answer}"


def canonical(solution: str) -> str | None:
    """A dataset's solution without GSM8K's calculator marks, with its answer on one final line.

    The answer is the one in the last lines, else the one in the last ``\\boxed{}``; a plain number
    is preferred to other forms of it. None when there is no answer, or more than `MOST`. Raises
    `ContradictionError` when the solution states two numbers of different value. Takes time linear
    in the text. An answer longer than `LONGEST` characters is ignored.
    """
    text = _CALCULATOR.sub("", solution).rstrip()
    hope = _HOPE.search(text, max(0, len(text) - 60))
    stated, end = _endings(text, hope.start() if hope else len(text))
    text = text[:end]
    boxed = boxes(text[text.rfind("\n") + 1 :] if stated else text)
    stated += [bare(box) for box in boxed[-1:]]
    # Marks within the solution are the answer, which the last line repeats, or headings.
    marks = 0

    def unmarked(match: re.Match[str]) -> str:
        nonlocal marks
        marks += 1
        if marks > MOST or len(match[1]) > LONGEST:
            return f"{match[1]}\n"
        answer = bare(match[1])
        if quantity.read(answer) is None:
            return f"{match[1]}\n"
        stated.append(answer)
        return ""

    text = _MARKED.sub(unmarked, text).strip("\n")
    stated = [answer for answer in stated if answer]
    if not stated or max(marks, len(stated)) > MOST:
        return None
    numbers = [number for answer in stated if (number := quantity.read(answer)) is not None]
    if len({number.value for number in numbers}) > 1:
        raise ContradictionError(", ".join(f"{answer:.40}" for answer in stated))
    plain = next((answer for answer in stated if _NUMBER.fullmatch(answer)), stated[0])
    return f"{text}\n{final_line(plain)}".lstrip("\n")


def _endings(text: str, end: int) -> tuple[list[str], int]:
    """The answers in the last lines before ``end``, and the start of these lines."""
    marks = [match.start() for match in _MARK.finditer(text, 0, end)]
    claims = [match.span() for match in _CLAIM.finditer(text, 0, end)]
    stated: list[str] = []
    end = _without_space(text, end)
    while len(stated) <= MOST:
        line = max(text.rfind("\n", 0, end) + 1, end - LONGEST)
        start = None
        while marks and marks[-1] >= line:
            start = marks.pop()
        if start is not None and start < end:
            answer = bare(text[start + len(PREFIX.strip()) : end])
        else:
            while claims and claims[-1][0] >= end:
                claims.pop()
            start, place = claims[-1] if claims else (0, end)
            claim = text[place : min(end, place + LONGEST)].removeprefix(":")
            whole = place < end <= place + LONGEST and claim[:1].isspace()
            if not whole or "\n" in claim[1:] or _NO_CLAIM.search(claim, 1):
                break
            claims.pop()
            answer = bare(claim)
            if stated and answer != stated[0] and quantity.read(answer) is None:
                break  # a sentence of the solution
        stated.append(answer)
        end = _without_space(text, start)
    return stated, end


def _without_space(text: str, end: int) -> int:
    while end and text[end - 1].isspace():
        end -= 1
    return end


def bare(answer: str) -> str:
    """An answer in one spelling, without dollar signs, box, full stop or spaces around it.

    A number is also without thousands separators, currency sign and unit, except for per cent. A
    text longer than `LONGEST` is only stripped.
    """
    answer = answer.strip()
    if len(answer) > LONGEST:
        return answer
    answer = " ".join(normalise(answer).split())
    while True:
        inner = answer.strip().removesuffix(".").strip()
        if len(inner) > 1 and inner[0] == inner[-1] == "$":
            inner = inner[1:-1]
        brace = _BRACE.match(inner)
        if brace and brace[0] != "{" and (box := boxes(inner)):
            closed = brace[1] or f"{brace[0]}{box[0]}}}"
            if len(box) == 1 and inner in (closed, brace[0]):
                inner = box[0]
        if inner == answer:
            break
        answer = inner
    number = quantity.read(answer)
    return answer if number is None or number.is_percent or not number.digits else number.digits


def boxes(text: str) -> list[str]:
    """The contents of ``\\boxed{...}`` and ``\\boxed 5`` in the last `TAIL` characters, in order.

    A box that is not closed or has more than `LONGEST` characters is left out.
    """
    text = text[-TAIL:]
    contents: dict[int, str] = {}
    opened: list[tuple[int, bool]] = []
    for brace in _BRACE.finditer(text):
        if brace[1]:
            contents[brace.start(1)] = brace[1]
        elif brace[0] != "}":
            opened.append((brace.end(), brace[0] != "{"))
        elif opened:
            start, is_box = opened.pop()
            if is_box and brace.start() - start <= LONGEST:
                contents[start] = text[start : brace.start()]
    return [contents[start] for start in sorted(contents)]


def read_final(text: str) -> str | None:
    """The answer on the first final line, without thousands separators; None without one."""
    line = _FINAL_LINE.search(plain_digits(text))
    return line[1].replace(",", "") if line else None


def same_number(left: str | None, right: str | None) -> bool:
    """Whether both are plain numbers of equal value (``18`` equals ``18.00``), without commas."""
    if not all(text and _NUMBER.fullmatch(text) and "," not in text for text in (left, right)):
        return False
    return Decimal(str(left)) == Decimal(str(right))
