"""The rewards of completions, as functions that TRL's GRPOTrainer calls.

Accuracy is that of strict evaluation: only the first final line of a completion counts, so naming
many numbers is no better than naming the first one. There is no reward for length, because the
model should learn steps; a text that goes in circles is penalised as repetition.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from evaluation.answers import Checker
from tinymathreason.answers import PREFIX, read_final, same_number
from tinymathreason.cli import InputError
from tinymathreason.config import nearest
from tinymathreason.latex import plain_number

NGRAM = 4
"""Length, in words, of the runs that `repetition` compares."""

_CLAIM = re.compile(rf"^{PREFIX}(.*)", re.MULTILINE)
_MARKS = re.compile(rf"^[^\S\n]*{PREFIX.strip()}", re.MULTILINE)
# A long word counts as several and a long gap as one, so that a long run of letters or of line
# breaks has many words.
_WORD = re.compile(r"\S{1,8}|\s{8}")


def accuracy(text: str, right: str, judge: Checker | None = None) -> float:
    """1.0 if the first final line of ``text`` states the answer ``right``, else 0.0.

    If the right answer is a plain number, the stated one must be one too. Any other answer is
    compared by the evaluation's ``judge``, which gets the rest of the first line that begins like a
    final line. Raises `InputError` if it is needed and missing.
    """
    number = plain_number(right)
    if number is not None:
        return float(same_number(read_final(text), number))
    if judge is None:
        raise InputError(
            f"answer {right!r:.60}: not a plain number, and there is no judge for LaTeX"
        )
    claim = _CLAIM.search(text)
    return float(claim is not None and judge.correct(claim[1], right))


def well_formed(text: str, right: str) -> float:
    """1.0 if ``text`` consists of steps and one final line at its end, else 0.0.

    The final line states a plain number if ``right`` is one. No other line begins with its marks.
    Not even a line break may follow, because the model has to learn to stop.
    """
    steps, _, last = text.rpartition("\n")
    stated = last.removeprefix(PREFIX)
    formed = (
        stated != last
        and stated.strip() == stated != ""
        and steps.strip() != ""
        and not _MARKS.search(steps)
        and (plain_number(right) is None or plain_number(stated) is not None)
    )
    return float(formed)


def repetition(text: str) -> float:
    """Minus the share of runs of four words that occur earlier in ``text``; between -1 and 0.

    The measure is seq-rep-4 of Welleck et al., 2020 (https://arxiv.org/abs/1908.04319), as a
    penalty. It is 0.0 for fewer than four words and takes time linear in the length of the text.
    """
    words = _WORD.findall(text)
    runs = list(zip(*(words[start:] for start in range(NGRAM)), strict=False))
    return len(set(runs)) / len(runs) - 1 if runs else 0.0


REWARDS: dict[str, Callable[[str, str, Checker | None], float]] = {
    "accuracy": accuracy,
    "format": lambda text, right, _: well_formed(text, right),
    "repetition": lambda text, _, __: repetition(text),
}
"""The rewards by name; their arguments are a completion, the right answer and a judge."""


class Reward:
    """The reward ``name`` as TRL calls it; `InputError` for an unknown name."""

    def __init__(self, name: str, judge: Checker | None = None) -> None:
        if name not in REWARDS:
            raise InputError(f"reward: unknown {name!r}; {nearest(name, REWARDS)}")
        self._score = REWARDS[name]
        self._judge = judge
        self.__name__ = name
        """The name under which TRL logs the reward."""

    def __call__(
        self,
        completions: Sequence[str | list[dict[str, Any]]],
        answer: Sequence[str],
        **columns: Any,
    ) -> list[float]:
        """The rewards of completions; each is a text, or messages of which the last one counts."""
        texts = (c if isinstance(c, str) else c[-1]["content"] for c in completions)
        pairs = zip(texts, answer, strict=True)
        return [self._score(text, right, self._judge) for text, right in pairs]
