"""The problems that DPO and GRPO sample answers to, with the right answers to judge them by."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from sft.config import TuningData
from sft.examples import Example, select
from tinymathreason.answers import PREFIX, ContradictionError, canonical
from tinymathreason.cli import InputError


@dataclass(frozen=True)
class Problem:
    """A question and its right answer, a number or LaTeX."""

    question: str
    answer: str


def load(
    data: TuningData, special: Collection[str]
) -> tuple[list[Problem], dict[str, Counter[str]]]:
    """The distinct questions of all sources, in order, and the counts of each source.

    The counts are of ``kept`` questions and of those rejected, by reason. A question that contains
    the name of one of the tokenizer's ``special`` tokens is rejected (``special_token``), because a
    trainer that tokenises the text would read it as that token. Raises `InputError` when no problem
    is left.
    """
    examples, rejected = select(data)
    counts = {name: Counter[str]() for name in data.sources}
    for example in rejected:
        counts[example.source][str(example.reason)] += 1
    problems: dict[str, Problem] = {}
    for example in examples:
        question = example.question
        answer = final_answer(example)
        if answer is None:
            counts[example.source]["no_final_answer"] += 1
        elif any(token in question for token in special):
            counts[example.source]["special_token"] += 1
        elif question in problems:
            counts[example.source]["repeated_question"] += 1
        else:
            problems[question] = Problem(question, answer)
            counts[example.source]["kept"] += 1
    if not problems:
        raise InputError("sources: no problem is left in them")
    return list(problems.values()), counts


def final_answer(example: Example) -> str | None:
    """The final answer to a single question; None for other conversations and without one."""
    if [message["role"] for message in example.messages] != ["user", "assistant"]:
        return None
    try:
        solution = canonical(example.solution)
    except ContradictionError:
        return None
    return solution and solution.rpartition(f"\n{PREFIX}")[2].removeprefix(PREFIX)
