"""Command: show how much accuracy trainings added, and fail when one added too little.

python -m release.gains --run RUN_DIR --before half --after grpo_0=20 grpo_1=20

The bar is a share of the errors: the first model's number of errors depends on the processor that
trained it, the share that a training corrects hardly does.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from release.markdown import escape
from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.files import write_text
from tinymathreason.records.evaluation import Results
from tinymathreason.records.stage import Stage
from tinymathreason.tables import markdown_table


def table(run: Path, before: str, after: Sequence[str]) -> tuple[str, dict[str, float]]:
    """A Markdown table, a row for each of ``after``; and the percent of errors each corrected.

    A name is that of a training stage, under ``stages``, and of its evaluation, under
    ``evaluation``. Raises `InputError` when one is missing, when two evaluations are not of the
    same problems, or when there was no error.
    """
    start = Results.load(run / "evaluation" / before / "results.json")
    if start.value == 1:
        raise InputError(f"{run}: {before} makes no error; there is nothing to gain")
    rows = []
    gains = {}
    for name in after:
        result = Results.load(run / "evaluation" / name / "results.json")
        if _problems(result) != _problems(start):
            raise InputError(f"{run}: {before} and {name} were not evaluated on the same problems")
        points = 100 * (result.value - start.value)
        gains[name] = points / (1 - start.value)
        seconds = Stage.load(run / "stages" / f"{name}.json").seconds
        accuracies = (_accuracy(start), _accuracy(result), f"{points:+.1f}")
        rows.append([escape(name), *accuracies, f"{gains[name]:.0f} %", f"{seconds:.0f}"])
    head = ["run", escape(before), "after", "points", "errors mended", "seconds"]
    note = f"{start.n} held-out problems of {escape(start.task)}; 95 % {start.interval} intervals."
    return f"{markdown_table(head, rows)}\n\n{note}", gains


def _problems(results: Results) -> tuple[object, ...]:
    """The problems of an evaluation and their form."""
    request = results.request
    return results.task, results.n, results.form, request.data, request.limit


def _accuracy(results: Results) -> str:
    return f"{results.value:.1%} ({results.low:.1%} to {results.high:.1%})"


def _bar(word: str) -> tuple[str, float]:
    name, _, least = word.partition("=")
    return name, float(least)


def main(argv: Sequence[str]) -> None:
    """Parse the command line, write gains.md in the run's folder and print it."""
    parser = argparse.ArgumentParser(
        prog="release.gains", description="Show how much accuracy trainings added."
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of a pipeline's run")
    parser.add_argument("--before", required=True, help="evaluation of the model they began with")
    parser.add_argument(
        "--after",
        type=_bar,
        nargs="+",
        required=True,
        metavar="NAME=PERCENT",
        help="a training stage and its evaluation, and the percent of errors that it must correct",
    )
    arguments = parser.parse_args(argv)
    bars = dict(arguments.after)
    text, gains = table(arguments.run, arguments.before, list(bars))
    write_text(arguments.run / "gains.md", f"{text}\n")
    print(f"\n{text}\n")
    # Accuracies are counts over n: without rounding, 65/100 after 50/100 would fall short of 30 %.
    missed = [
        f"{name} mended {gains[name]:.1f} % of the errors, accepted is at least {least:g}"
        for name, least in bars.items()
        if round(gains[name], 9) < least
    ]
    if missed:
        raise InputError(f"{arguments.run}: {'; '.join(missed)}")


if __name__ == "__main__":
    cli.run(main)
