"""Completions in, rewards out, in the form that TRL's GRPOTrainer calls.

Accuracy is that of strict evaluation: of all that a completion says, its first final line alone
counts, so naming many numbers is no better than naming the first of them. There is no reward for
length: steps are what the model is to learn, and a text that goes round in circles is repetitive.
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
"""Words of a run that `repetition` looks for again."""

_CLAIM = re.compile(rf"^{PREFIX}(.*)", re.MULTILINE)
_MARKS = re.compile(rf"^[^\S\n]*{PREFIX.strip()}", re.MULTILINE)
# A long word is several, and a long gap is one, lest a run of letters or of line breaks be short.
_WORD = re.compile(r"\S{1,8}|\s{8}")


def accuracy(text: str, right: str, judge: Checker | None = None) -> float:
    """1.0 when the first final line of ``text`` states the answer ``right``, else 0.0.

    A plain number must be stated plainly. Any other answer is for the evaluation's own ``judge``,
    which sees what the first line that begins as a final line does says; `InputError` without one.
    """
    number = plain_number(right)
    if number is not None:
        return float(same_number(read_final(text), number))
    if judge is None:
        raise InputError(f"answer {right!r:.60}: no plain number, and no judge of LaTeX is at hand")
    claim = _CLAIM.search(text)
    return float(claim is not None and judge.correct(claim[1], right))


def well_formed(text: str, right: str) -> float:
    """1.0 when ``text`` is steps, then one final line and nothing more, else 0.0.

    The final line states a plain number where ``right`` is one. No other line begins with its
    marks, and not even a line break follows, since a model has to learn to stop.
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
    """Minus the share of runs of four words that stood in ``text`` before, in [-1, 0].

    The measure is seq-rep-4 of Welleck et al., 2020 (https://arxiv.org/abs/1908.04319), as a
    penalty. 0.0 for fewer than four words. Takes time linear in the text.
    """
    words = _WORD.findall(text)
    runs = list(zip(*(words[start:] for start in range(NGRAM)), strict=False))
    return len(set(runs)) / len(runs) - 1 if runs else 0.0


REWARDS: dict[str, Callable[[str, str, Checker | None], float]] = {
    "accuracy": accuracy,
    "format": lambda text, right, _: well_formed(text, right),
    "repetition": lambda text, _, __: repetition(text),
}
"""Rewards by name, each of a completion's text, the right answer and a judge."""


class Reward:
    """The reward ``name`` as TRL calls it; `InputError` for an unknown name."""

    def __init__(self, name: str, judge: Checker | None = None) -> None:
        if name not in REWARDS:
            raise InputError(f"reward: unknown {name!r}; {nearest(name, REWARDS)}")
        self._score = REWARDS[name]
        self._judge = judge
        self.__name__ = name
        """What TRL logs the reward by."""

    def __call__(
        self,
        completions: Sequence[str | list[dict[str, Any]]],
        answer: Sequence[str],
        **columns: Any,
    ) -> list[float]:
        """A reward for each completion: a text, or messages of which the last one counts."""
        texts = (c if isinstance(c, str) else c[-1]["content"] for c in completions)
        pairs = zip(texts, answer, strict=True)
        return [self._score(text, right, self._judge) for text, right in pairs]
