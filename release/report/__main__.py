"""Command: write the report of a pipeline's run.

python -m release.report --run RUN_DIR [--bars FILE]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from release.markdown import escape, fenced
from tinymathreason import cli, processor
from tinymathreason.cli import InputError
from tinymathreason.files import write_json, write_text
from tinymathreason.records.provenance import Processor
from tinymathreason.tables import markdown_table

LABELS = {
    "data": "data preparation",
    "pretrain": "pretraining",
    "conversion": "conversion and parity",
    "sft": "fine-tuning",
    "evaluate_base": "evaluation, base",
    "evaluate_sft": "evaluation, tuned",
}


def table(record: dict[str, Any]) -> str:
    """The report's table in Markdown: a row a stage, then what came out of the run."""
    rows = []
    results = {
        "data": "",
        "pretrain": f"{record['parameters']:,} parameters",
        "conversion": f"max abs difference {record['parity']['max_abs_diff']:.1e}, "
        f"argmax agreement {record['parity']['argmax_agreement']:.3f}",
        "sft": "",
    }
    for name, accuracy in record["accuracy"].items():
        results[f"evaluate_{name}"] = (
            f"{escape(accuracy['task'])}: {accuracy['value']:.1%} "
            f"({accuracy['low']:.1%} to {accuracy['high']:.1%}, n = {accuracy['n']})"
        )
    for name in (*LABELS, *sorted(record["seconds"].keys() - LABELS.keys())):
        if name not in record["seconds"]:
            continue
        loss = record["loss"].get(name, {}).get("eval")
        tokens = record["tokens"].get(name)
        rows.append(
            [
                LABELS.get(name, escape(name)),
                f"{record['seconds'][name]:.0f}",
                f"{record['peak_bytes'][name] / 2**30:.2f}",
                f"{tokens:,.0f}" if tokens else None,
                f"{loss['first']:.3f} to {loss['last']:.3f}" if loss else None,
                results.get(name),
            ]
        )
    total, peak = sum(record["seconds"].values()), max(record["peak_bytes"].values())
    rows.append(["in total", f"{total:.0f}", f"{peak / 2**30:.2f}", None, None, None])
    head = ["stage", "seconds", "peak GiB", "tokens", "held-out loss", "result"]
    return markdown_table(head, rows)


def document(record: dict[str, Any]) -> str:
    """The whole report as Markdown."""
    parts = [f"# Report of {escape(record['run'])}", table(record), "![loss curves](losses.png)"]
    if kinds := sorted({found["interval"] for found in record["accuracy"].values()}):
        parts.append(f"Intervals are 95 % {escape(' or '.join(kinds))} intervals.")
    parts.append("## Generated solutions\n\nThe first right ones, then the first wrong ones.")
    for sample in record["samples"]:
        verdict = "right" if sample["correct"] else f"wrong, expected {sample['expected']}"
        question = escape(sample["question"])
        parts += [f"**{question}**"] if question else []
        parts += [fenced(sample["completions"][0]), f"({escape(verdict)})"]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    where = processor.describe(Processor(**record["processor"]))
    parts.append(escape(f"Commit {record['commit']}; {versions}; {where}; {record['time']}."))
    return "\n\n".join(parts) + "\n"


def main(argv: Sequence[str]) -> None:
    """Parse the command line, write report.json, .md, .html and losses.png, print the table."""
    parser = argparse.ArgumentParser(
        prog="release.report", description="Write the report of a pipeline's run."
    )
    parser.add_argument("--run", type=Path, required=True, help="the run's folder")
    parser.add_argument("--bars", type=Path, help="YAML file of what the figures must reach")
    arguments = parser.parse_args(argv)
    run = arguments.run

    from release.records import collect
    from release.report import bars, charts
    from release.report.page import page

    accepted = bars.load(arguments.bars) if arguments.bars else {}
    record = collect(run)
    charts.losses_png(
        {
            LABELS[s]: {"training": c["train"], "held out": c["eval"]}
            for s, c in record["curves"].items()
        },
        run / "losses.png",
    )
    write_json(run / "report.json", record)
    write_text(run / "report.md", document(record))
    write_text(run / "report.html", page(record))
    print(f"\n{table(record)}\n")
    print(f"Report: {run / 'report.md'}\nPage: {run / 'report.html'}")
    if missed := bars.missed(record, accepted):
        raise InputError(f"{run} misses its bars: {'; '.join(missed)}")


if __name__ == "__main__":
    cli.run(main)
