"""The measured part of docs/scaling.md, from the table docs/scaling/law.csv.

python -m docs.ladder
"""

import textwrap
from pathlib import Path

from pretrain.ladder import left_out, report, sections, table
from pretrain.ladder.forecast import Target, doubts
from pretrain.ladder.law import Runs
from tinymathreason.records.ladder import HeldOutRun, LadderReport, ScalingLaw

PAGE, TABLE = Path("docs/scaling.md"), Path("docs/scaling/law.csv")
LADDER = Path("pretrain/ladder/ladders/cpu.yaml")
BEGIN, END = "## Loss and accuracy, measured\n", "\n### What limits it"


def main() -> None:
    """Fit the table and write its results into the page."""
    results = table.read(TABLE)
    made = report.make(LADDER, results, None)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    lines = [
        *_paragraph(_runs(made, float(results["cpu_seconds"].sum()))),
        *_paragraph(_believed(made)),
        *_law("Held-out loss", made.loss, made, Runs.of(results, "loss")),
    ]
    for name, task in made.tasks.items():
        runs = Runs.of(results, task.bits.target)
        lines += _law(f"Bits of the solutions, {name}", task.bits, made, runs)
        lines += [f"### Accuracy, {name}", ""]
        if task.link is None:
            lines += _paragraph(f"No link was fitted: {task.reason}.")
            continue
        lines += _paragraph(sections.link_in_words(task.link, 4))
        lines += [*_held_out(task.held_out, made, "", relative=False), ""]
    text = "\n".join(["", *lines]).rstrip() + "\n"
    PAGE.write_text(before + BEGIN + text + END + after, encoding="utf-8")


def _runs(made: LadderReport, cpu_seconds: float) -> str:
    spans = made.range
    text = (
        f"`{LADDER}`: {spans.runs} finished runs of {len(spans.sizes)} sizes "
        f"({', '.join(spans.sizes)}) on {spans.tokens[0] / 1e6:.2f} to "
        f"{spans.tokens[1] / 1e6:.2f} million tokens of the generators, "
        f"{cpu_seconds / 60:.0f} CPU-minutes on two cores. `{TABLE}` has the results, and "
        "`python -m docs.ladder` makes this section from them."
    )
    if made.diverged:
        text += f" Diverged, and in no fit: {', '.join(made.diverged)}."
    return text


def _believed(made: LadderReport) -> str:
    """Whether a forecast of a run as large as the ladder's largest would be believed."""
    spans = made.range
    largest = Target(weights=spans.parameters[1], tokens=spans.tokens[1], flops=spans.flops[1])
    reasons = "; ".join(doubts(made, largest))
    if reasons:
        return f"This ladder is too small to believe: {reasons}."
    return "By the rule above, forecasts near its own sizes are believed."


def _law(title: str, law: ScalingLaw, made: LadderReport, runs: Runs) -> list[str]:
    errors = ", ".join(f"{name} {error:.1%}" for name, error in law.errors.items())
    chosen = (
        f"Of the forms, `{law.form}` foretells the sizes left out best (root mean square of the "
        f"relative errors: {errors}). "
        if errors
        else f"With so few sizes the form is `{law.form}`. "
    )
    rest = runs.without(made.range.sizes[-1])
    form = left_out.best_form(left_out.errors(rest))
    return [
        f"### {title}",
        "",
        *_paragraph(
            f"{chosen}Intervals are {made.level:.0%} intervals, widened {law.widening:.2f} times."
        ),
        f"`{sections.formula(law)}`",
        "",
        *_held_out(law.held_out, made, f", with the form `{form}`", relative=True),
        "",
    ]


def _held_out(
    held_out: list[HeldOutRun], made: LadderReport, form: str, relative: bool
) -> list[str]:
    lines = sections.held_out_lines(held_out, made.range.sizes, relative)
    return [line.replace(", of which the forecast knew nothing", f", foretold without it{form}")
            for line in lines]  # fmt: skip


def _paragraph(text: str) -> list[str]:
    return [*textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False), ""]


if __name__ == "__main__":
    main()
