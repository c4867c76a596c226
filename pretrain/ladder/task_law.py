"""What a ladder knows of a task: the law of its solutions' likelihood, and the link to accuracy."""

from typing import TYPE_CHECKING

from pretrain.ladder import left_out, link
from pretrain.ladder.forecast import accuracy
from pretrain.ladder.law import Runs
from pretrain.ladder.left_out import Resampled
from pretrain.ladder.link import Answers
from tinymathreason.records.ladder import HeldOutRun, TaskLaw

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "bits/"
"""Of the columns of the tasks' likelihoods."""


def tasks(table: "pd.DataFrame") -> list[str]:
    """The tasks whose solutions' likelihood was measured, in the order of the columns' names."""
    return sorted(
        column.removeprefix(PREFIX)
        for column in map(str, table.columns)
        if column.startswith(PREFIX) and table[column].notna().any()
    )


def task_law(table: "pd.DataFrame", task: str, level: float) -> TaskLaw:
    """The law and the link of a task; `InputError` when there are too few runs for the law."""
    runs = Runs.of(table, PREFIX + task)
    answers = Answers.of(table, task, runs)
    whole = left_out.resampled(runs)
    without = left_out.without_each(runs, whole.form)
    reason = answers.refusal()
    return TaskLaw(
        bits=left_out.scaling_law(
            runs, whole, without, PREFIX + task, "bits a byte of the gold solutions", level
        ),
        link=None if reason else link.record(answers, whole.counts),
        reason=reason,
        held_out=[] if reason else _accuracies(runs, answers, without, level),
    )


def _accuracies(
    runs: Runs, answers: Answers, without: dict[str, Resampled], level: float
) -> list[HeldOutRun]:
    """The accuracies of every size that can be left out, foretold without it."""
    result = []
    for size, rest in without.items():
        others = answers.where([other != size for other in runs.sizes])
        if others.refusal():
            continue
        found = link.record(others, rest.counts)
        for i in range(len(runs)):
            if runs.sizes[i] == size and answers.problems[i]:
                foretold = accuracy(
                    rest.spread, found, runs.weights[i], runs.tokens[i], level,
                    int(answers.problems[i]),
                )  # fmt: skip
                measured = float(answers.correct[i] / answers.problems[i])
                result.append(
                    HeldOutRun(name=runs.names[i], size=size, measured=measured, foretold=foretold)
                )
    return result
