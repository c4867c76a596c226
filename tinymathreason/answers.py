"""The canonical final line of a worked solution: written by the data, read by the evaluation.

The form is GSM8K's own, ``#### 42`` on a line by itself: it needs no tuning to be read by other
evaluation tools, it cannot be confused with a step of the solution, and it costs few tokens.
"""

import re
from decimal import Decimal

PREFIX = "#### "
# Commas stand before three digits, lest the pair 1,2 were read as twelve.
_DIGITS = r"-?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
_NUMBER = re.compile(_DIGITS)
_FINAL_LINE = re.compile(rf"^#### ({_DIGITS})\.?\s*$", re.MULTILINE)
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_BRACE = re.compile(r"\\boxed\s*\{|[{}]")
_CLAIM = "The answer is"
# How GSM8K, MetaMathQA and MathInstruct's chain-of-thought part end a solution.
_ENDINGS = (
    re.compile(r"(?:^|\n)#### (?P<answer>[^\n]+)$"),
    re.compile(rf"(?:^|\s){_CLAIM}:? (?P<answer>(?:(?!{_CLAIM})[^\n])+)$"),
)


class ContradictionError(ValueError):
    """A solution states two different numbers as its answer."""


def final_line(answer: int | str) -> str:
    """The last line of a solution whose answer is ``answer``."""
    return f"{PREFIX}{answer}"


def canonical(solution: str) -> str | None:
    """A dataset's solution without GSM8K's calculator marks, its answer on the final line.

    The answer is what the last lines say it is, else what the last ``\\boxed{}`` holds. None when
    there is neither; `ContradictionError` when the solution states two different numbers.
    """
    text = _CALCULATOR.sub("", solution).rstrip()
    stated: list[str] = []
    while found := next((m for ending in _ENDINGS if (m := ending.search(text))), None):
        answer = bare(found["answer"])
        if stated and answer != stated[0] and not _NUMBER.fullmatch(answer):
            break  # a sentence of the solution
        stated.append(answer)
        text = text[: found.start()].rstrip()
    last = text.rfind("\n") + 1
    boxed = boxes(text[last:] if stated else text)
    stated += [bare(box) for box in boxed[-1:]]
    if not stated or not stated[0]:
        return None
    numbers = {Decimal(answer) for answer in stated if _NUMBER.fullmatch(answer)}
    if len(numbers) > 1:
        raise ContradictionError(", ".join(stated))
    return f"{text}\n{final_line(stated[0])}".lstrip("\n")


def bare(answer: str) -> str:
    """An answer without the dress of a sentence: no mathematics signs, box, full stop or spaces.

    A number is without thousands separators and without a currency sign, too.
    """
    while True:
        inner = answer.strip().removesuffix(".").strip()
        if len(inner) > 1 and inner[0] == inner[-1] == "$":
            inner = inner[1:-1]
        if inner.startswith("\\boxed{") and boxes(inner) == [inner[len("\\boxed{") : -1]]:
            inner = inner[len("\\boxed{") : -1]
        if inner == answer:
            break
        answer = inner
    number = answer.removeprefix("\\").removeprefix("$").strip()
    return number.replace(",", "") if _NUMBER.fullmatch(number) else answer


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
