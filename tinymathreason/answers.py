"""The canonical final line of a worked solution: written by the data, read by the evaluation.

The form is GSM8K's own, ``#### 42`` on a line by itself: it needs no tuning to be read by other
evaluation tools, it cannot be confused with a step of the solution, and it costs few tokens.
"""

import re
from decimal import Decimal

PREFIX = "#### "
_FINAL_LINE = re.compile(r"^#### (-?[\d,]*\.?\d+)\.?\s*$", re.MULTILINE)
_CALCULATOR = re.compile(r"<<[^<>]*>>")
# How GSM8K, MetaMathQA and MathInstruct's chain-of-thought part end a solution.
_ENDINGS = (
    re.compile(r"\n#### (?P<answer>[^\n]+?)(?:\nThe answer is:?[^\n]*)?\s*$"),
    re.compile(r"\s+The answer is:? (?P<answer>[^\n]+?)\.?\s*$"),
)


def final_line(answer: int | str) -> str:
    """The last line of a solution whose answer is ``answer``."""
    return f"{PREFIX}{answer}"


def canonical(solution: str) -> str | None:
    """A dataset's solution without GSM8K's calculator marks, its answer on the final line.

    None when it ends in none of the ways that the three instruction sets end a solution.
    """
    solution = _CALCULATOR.sub("", solution)
    for ending in _ENDINGS:
        found = ending.search(solution)
        if found:
            return f"{solution[: found.start()].rstrip()}\n{final_line(found['answer'])}"
    return None


def read_final(text: str) -> str | None:
    """The answer on the first final line of ``text``, without thousands separators; else None."""
    found = _FINAL_LINE.search(text)
    return found.group(1).replace(",", "") if found else None


def same_number(left: str | None, right: str | None) -> bool:
    """Whether both are numbers of equal value (``18`` equals ``18.00``); None equals nothing."""
    if left is None or right is None:
        return False
    return Decimal(left) == Decimal(right)
