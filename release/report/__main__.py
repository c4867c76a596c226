"""Command: write the report of a pipeline's run.

python -m release.report --run RUN_DIR [--mixture DIR ...] [--bars FILE]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from release.markdown import escape, fenced
from release.mixtures import add_argument
from release.recipes import sentences
from release.report import LABELS
from release.report.phases import amounts
from tinymathreason import cli, processor
from tinymathreason.cli import InputError
from tinymathreason.files import write_text
from tinymathreason.tables import markdown_table

if TYPE_CHECKING:
    from tinymathreason.records.report import Report

RECIPES = {"mixture": "Recipe of the mixture", "tuning": "Configuration of fine-tuning"}
"""What the recipes are of, by `release.recipes.sentences`."""
_ORDER = {name: number for number, name in enumerate(LABELS)}


def table(report: "Report") -> str:
    """The report's table in Markdown: a row for each stage, and what came of it."""
    parity = report.parity
    results = {
        "pretrain": f"{report.parameters:,} parameters",
        "conversion": f"max abs difference {parity.max_abs_diff:.1e}, "
        f"argmax agreement {parity.argmax_agreement:.3f}",
    }
    for name, accuracy in report.accuracy.items():
        results[f"evaluate_{name}"] = (
            f"{escape(accuracy.task)}: {accuracy.value:.1%} "
            f"({accuracy.low:.1%} to {accuracy.high:.1%}, n = {accuracy.n})"
        )
    if report.earlier_data:
        results["data"] = escape(amounts(report))
    tokens = {name: number for name, number in report.tokens if number is not None}
    rows = []
    for name in sorted(report.stages, key=lambda name: (_ORDER.get(name, len(_ORDER)), name)):
        stage, loss = report.stages[name], report.loss.get(name)
        rows.append(
            [
                LABELS.get(name, escape(name)),
                f"{stage.seconds:.0f}",
                f"{stage.peak_bytes / 2**30:.2f}",
                f"{tokens[name]:,.0f}" if name in tokens else None,
                f"{loss.eval.first:.3f} to {loss.eval.last:.3f}" if loss else None,
                results.get(name),
            ]
        )
    total, peak = sum(report.seconds.values()), max(report.peak_bytes.values())
    rows.append(["in total", f"{total:.0f}", f"{peak / 2**30:.2f}", None, None, None])
    head = ["stage", "seconds", "peak GiB", "tokens", "held-out loss", "result"]
    return markdown_table(head, rows)


def document(report: "Report") -> str:
    """The whole report as Markdown."""
    from release.breakdown import as_markdown, breakdowns, of_report

    recipes = sentences(report.recipes)
    parts = [
        f"# Report of {escape(report.run)}",
        *(f"{RECIPES[kind]}: {escape(names)}." for kind, names in recipes.items() if names),
        table(report),
        "![loss curves](losses.png)",
    ]
    if kinds := sorted({accuracy.interval for accuracy in report.accuracy.values()}):
        parts.append(f"Intervals are 95 % {escape(' or '.join(kinds))} intervals.")
    for part in breakdowns(of_report(report), "{:.1%}".format):
        parts += [f"## {part.title}", as_markdown(part), *([part.note] if part.note else [])]
    parts.append("## Generated solutions\n\nThe first right ones, then the first wrong ones.")
    for sample in report.samples:
        verdict = "right" if sample.correct else f"wrong, expected {sample.expected}"
        question = escape(sample.question)
        parts += [f"**{question}**"] if question else []
        parts += [fenced(sample.completions[0]), f"({escape(verdict)})"]
    made = report.provenance
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    where = processor.describe(made.processor)
    parts.append(escape(f"Commit {made.commit}; {versions}; {where}; {made.time}."))
    return "\n\n".join(parts) + "\n"


def main(argv: Sequence[str]) -> None:
    """Parse the command line, write report.json, .md, .html and losses.png, print the table."""
    parser = argparse.ArgumentParser(
        prog="release.report", description="Write the report of a pipeline's run."
    )
    parser.add_argument("--run", type=Path, required=True, help="the run's folder")
    add_argument(parser)
    parser.add_argument("--bars", type=Path, help="YAML file of what the figures must reach")
    arguments = parser.parse_args(argv)
    run = arguments.run

    from release.cards.left_out import LeftOut
    from release.report import bars, charts
    from release.report.collect import collect
    from release.report.page import page

    accepted = bars.load(arguments.bars) if arguments.bars else {}
    left_out = LeftOut()
    report = collect(run, arguments.mixture or (), left_out)
    for line in left_out.lines():
        print(line)
    texts = {
        "report.json": report.text(),
        "report.md": document(report),
        "report.html": page(report),
    }
    charts.losses_png(
        {
            LABELS[name]: {"training": splits.train, "held out": splits.eval}
            for name, splits in report.curves.items()
        },
        run / "losses.png",
    )
    for name, text in texts.items():
        write_text(run / name, text)
    print(f"\n{table(report)}\n")
    print(f"Report: {run / 'report.md'}\nPage: {run / 'report.html'}")
    if missed := bars.missed(report.as_json(), accepted):
        raise InputError(f"{run} misses its bars: {'; '.join(missed)}")


if __name__ == "__main__":
    cli.run(main)
