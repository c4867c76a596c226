"""The canonical final line of a worked solution: written by the data, read by the evaluation.

The form is GSM8K's own, ``#### 42`` on a line by itself: it needs no tuning to be read by other
evaluation tools, it cannot be confused with a step of the solution, and it costs few tokens.
"""

import re
from decimal import Decimal

PREFIX = "#### "
FACTORS = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
"""Words after a number that are no unit: they change its value."""
# Commas stand before three digits, lest the pair 1,2 were read as twelve.
_DIGITS = r"-?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
_NUMBER = re.compile(_DIGITS)
_FINAL_LINE = re.compile(rf"^#### ({_DIGITS})\.?\s*$", re.MULTILINE)
_UNIT = re.compile(rf"({_DIGITS})(?! (?:{'|'.join(FACTORS)})\b)(?: ?\\?%|(?: [A-Za-z]{{3,}}\.?)+)")
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_HOPE = re.compile(r"\s+I hope (?:it|this) is correct\.?$")
_BRACE = re.compile(r"\\(?:boxed|fbox)\s*\{|[{}]")
_MARKED = re.compile(r"^####(?!#)[^\S\n]*(.*)\n?", re.MULTILINE)
_CLAIM = "the (?:final )?answer is"
_MORE = rf"{_CLAIM}|[.!?]\s|because"
# How GSM8K, MetaMathQA and MathInstruct's chain-of-thought part end a solution.
_MARK = re.compile(r"(?:^|\s)####(?!#)[^\S\n]*(?P<answer>[^\n]*)$")
_SENTENCE = re.compile(
    rf"(?:^|\s)(?:(?:so|thus|hence|therefore),? )?{_CLAIM}:?\s(?P<answer>(?:(?!{_MORE})[^\n])+)$",
    re.IGNORECASE,
)


class ContradictionError(ValueError):
    """A solution states two different numbers as its answer."""


def final_line(answer: int | str) -> str:
    """The last line of a solution whose answer is ``answer``."""
    return f"{PREFIX}{answer}"


def canonical(solution: str) -> str | None:
    """A dataset's solution without GSM8K's calculator marks, its answer on the one final line.

    The answer is what the last lines say it is, else what the last ``\\boxed{}`` holds; of several
    forms the one that is a plain number. None when there is neither. Raises `ContradictionError`
    when the solution states two different numbers.
    """
    text = _HOPE.sub("", _CALCULATOR.sub("", solution).rstrip())
    stated: list[str] = []
    while found := _MARK.search(text) or _SENTENCE.search(text):
        answer = bare(found["answer"])
        if stated and found.re is _SENTENCE and answer != stated[0] and _number(answer) is None:
            break  # a sentence of the solution
        stated.append(answer)
        text = text[: found.start()].rstrip()
    boxed = boxes(text[text.rfind("\n") + 1 :] if stated else text)
    stated += [bare(box) for box in boxed[-1:]]
    # Marks within the solution: an answer, which the last line repeats, or else a heading.
    stated += [answer for m in _MARKED.finditer(text) if _number(answer := bare(m[1]))]
    while _MARKED.search(text):
        text = _MARKED.sub(lambda m: "" if _number(bare(m[1])) else f"{m[1]}\n", text).strip("\n")
    stated = [answer for answer in stated if answer]
    if not stated:
        return None
    numbers = [number for answer in stated if (number := _number(answer)) is not None]
    if len({Decimal(number) for number in numbers}) > 1:
        raise ContradictionError(", ".join(stated))
    plain = next((answer for answer in stated if _NUMBER.fullmatch(answer)), stated[0])
    return f"{text}\n{final_line(plain)}".lstrip("\n")


def bare(answer: str) -> str:
    """An answer without the dress of a sentence: no mathematics signs, box, full stop or spaces.

    A number is without thousands separators, currency sign and unit, too, but for per cent.
    """
    answer = " ".join(answer.split())
    while True:
        inner = answer.strip().removesuffix(".").strip()
        if len(inner) > 1 and inner[0] == inner[-1] == "$":
            inner = inner[1:-1]
        if inner.startswith("\\boxed{") and boxes(inner) == [inner[len("\\boxed{") : -1]]:
            inner = inner[len("\\boxed{") : -1]
        if inner == answer:
            break
        answer = inner
    number = re.sub(r"\{,\}|\\[,!]", "", answer).replace("\u2212", "-").removeprefix("+")
    number = re.sub(r"^(-?)(?:\\?\$|£|€) ?", r"\1", number)
    unit = _UNIT.fullmatch(number)
    if unit and not number.endswith("%"):
        number = unit[1]
    return number.replace(",", "") if _NUMBER.fullmatch(number) else answer


def _number(answer: str) -> str | None:
    """The number that a bare answer is, per cent or not."""
    found = _NUMBER.fullmatch(answer) or _UNIT.fullmatch(answer)
    return found and re.match(_DIGITS, answer)[0].replace(",", "")  # type: ignore[index]


def boxes(text: str) -> list[str]:
    """What the ``\\boxed{...}`` of a text hold, in order; one that is not closed is left out."""
    found: dict[int, str] = {}
    opened: list[tuple[int, bool]] = []
    for brace in _BRACE.finditer(text):
        if brace[0] != "}":
            opened.append((brace.end(), brace[0] != "{"))
        elif opened:
            start, is_box = opened.pop()
            if is_box:
                found[start] = text[start : brace.start()]
    return [found[start] for start in sorted(found)]


def read_final(text: str) -> str | None:
    """The answer on the first final line of ``text``, without thousands separators; else None."""
    found = _FINAL_LINE.search(text)
    return found.group(1).replace(",", "") if found else None


def same_number(left: str | None, right: str | None) -> bool:
    """Whether both are plain numbers of equal value (``18`` equals ``18.00``), without commas."""
    if not all(text and _NUMBER.fullmatch(text) and "," not in text for text in (left, right)):
        return False
    return Decimal(str(left)) == Decimal(str(right))
