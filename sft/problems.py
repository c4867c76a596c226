"""Question sets in; problems with their right answers, for sampling and judging, out."""

from collections import Counter
from dataclasses import dataclass

from sft.config import TuningData
from sft.prepare import select
from tinymathreason.answers import PREFIX
from tinymathreason.chatml import SPECIAL_TOKENS
from tinymathreason.cli import InputError


@dataclass(frozen=True)
class Problem:
    """A question and its right answer, a number or LaTeX."""

    question: str
    answer: str


def load(data: TuningData) -> tuple[list[Problem], dict[str, Counter[str]]]:
    """The different questions of all sources, in order; counts by source, of reasons and ``kept``.

    A question that spells a special token is rejected (``special_token``): trainers that tokenise
    by themselves would make one of it. `InputError` when nothing is left.
    """
    examples, rejected = select(data)
    counts = {name: Counter[str]() for name in data.sources}
    for example in rejected:
        counts[example.source][str(example.reason)] += 1
    found: dict[str, Problem] = {}
    for example in examples:
        question = example.question
        if any(token in question for token in SPECIAL_TOKENS):
            counts[example.source]["special_token"] += 1
        elif question in found:
            counts[example.source]["repeated_question"] += 1
        else:
            answer = example.solution.rpartition(f"\n{PREFIX}")[2].removeprefix(PREFIX)
            found[question] = Problem(question, answer)
            counts[example.source]["kept"] += 1
    if not found:
        raise InputError("sources: no problem is left in them")
    return list(found.values()), counts
