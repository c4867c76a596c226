"""The canonical final line of a worked solution: written by the data, read by the evaluation.

The form is GSM8K's own, ``#### 42`` on a line by itself: it needs no tuning to be read by other
evaluation tools, it cannot be confused with a step of the solution, and it costs few tokens.
"""

import re
from decimal import Decimal

from tinymathreason import quantity
from tinymathreason.quantity import LONGEST
from tinymathreason.spelling import normalise, plain_digits

PREFIX = "#### "
TAIL = 20_000
"""Characters at the end of a text in which a box is looked for."""
MOST = 100
"""Times that a solution may state its answer; what states it oftener is none."""
# Commas stand before three digits, lest the pair 1,2 were read as twelve.
_DIGITS = r"-?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
_NUMBER = re.compile(_DIGITS)
_FINAL_LINE = re.compile(rf"^#### ({_DIGITS})\.?\s*$", re.MULTILINE)
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_HOPE = re.compile(r"\sI hope (?:it|this) is correct\.?$")
# TeX boxes the next token; whoever leaves out the braces means the whole number.
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
    """A dataset's solution without GSM8K's calculator marks, its answer on the one final line.

    The answer is what the last lines say it is, else what the last ``\\boxed{}`` holds; of several
    forms the one that is a plain number. None when there is neither, or when there are more than
    `MOST`. Raises `ContradictionError` when the solution states two numbers of different value.
    Takes time linear in the text; an answer longer than `LONGEST` characters is none.
    """
    text = _CALCULATOR.sub("", solution).rstrip()
    hope = _HOPE.search(text, max(0, len(text) - 60))
    stated, end = _endings(text, hope.start() if hope else len(text))
    text = text[:end]
    boxed = boxes(text[text.rfind("\n") + 1 :] if stated else text)
    stated += [bare(box) for box in boxed[-1:]]
    # Marks within the solution: an answer, which the last line repeats, or else a heading.
    marks = 0

    def unmarked(found: re.Match[str]) -> str:
        nonlocal marks
        marks += 1
        if marks > MOST or len(found[1]) > LONGEST:
            return f"{found[1]}\n"
        answer = bare(found[1])
        if quantity.read(answer) is None:
            return f"{found[1]}\n"
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
    """The answers that the last lines before ``end`` state, and where these lines begin."""
    marks = [found.start() for found in _MARK.finditer(text, 0, end)]
    claims = [found.span() for found in _CLAIM.finditer(text, 0, end)]
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
            said = text[place : min(end, place + LONGEST)].removeprefix(":")
            whole = place < end <= place + LONGEST and said[:1].isspace()
            if not whole or "\n" in said[1:] or _NO_CLAIM.search(said, 1):
                break
            claims.pop()
            answer = bare(said)
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
    """An answer in one spelling, without the dress of a sentence: no mathematics signs, box, full
    stop or spaces around it.

    A number is without thousands separators, currency sign and unit, too, but for per cent. What
    is longer than `LONGEST` is only stripped.
    """
    answer = answer.strip()
    if len(answer) > LONGEST:
        return answer
    answer = " ".join(normalise(answer).split())
    while True:
        inner = answer.strip().removesuffix(".").strip()
        if len(inner) > 1 and inner[0] == inner[-1] == "$":
            inner = inner[1:-1]
        found = _BRACE.match(inner)
        if found and found[0] != "{" and (box := boxes(inner)):
            closed = found[1] or f"{found[0]}{box[0]}}}"
            if len(box) == 1 and inner in (closed, found[0]):
                inner = box[0]
        if inner == answer:
            break
        answer = inner
    number = quantity.read(answer)
    return answer if number is None or number.is_percent or not number.digits else number.digits


def boxes(text: str) -> list[str]:
    """What the ``\\boxed{...}`` and ``\\boxed 5`` of the last `TAIL` characters hold, in order.

    One that is not closed, or holds more than `LONGEST` characters, is left out.
    """
    text = text[-TAIL:]
    found: dict[int, str] = {}
    opened: list[tuple[int, bool]] = []
    for brace in _BRACE.finditer(text):
        if brace[1]:
            found[brace.start(1)] = brace[1]
        elif brace[0] != "}":
            opened.append((brace.end(), brace[0] != "{"))
        elif opened:
            start, is_box = opened.pop()
            if is_box and brace.start() - start <= LONGEST:
                found[start] = text[start : brace.start()]
    return [found[start] for start in sorted(found)]


def read_final(text: str) -> str | None:
    """The answer on the first final line of ``text``, without thousands separators; else None."""
    found = _FINAL_LINE.search(plain_digits(text))
    return found.group(1).replace(",", "") if found else None


def same_number(left: str | None, right: str | None) -> bool:
    """Whether both are plain numbers of equal value (``18`` equals ``18.00``), without commas."""
    if not all(text and _NUMBER.fullmatch(text) and "," not in text for text in (left, right)):
        return False
    return Decimal(str(left)) == Decimal(str(right))
