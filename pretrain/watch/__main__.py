"""Command: show the progress of a training run, repeatedly or once.

python -m pretrain.watch RUN_DIR [--once] [--interval S] [--json] [--png FILE] [--peak-tflops N]
"""

import argparse
import dataclasses
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from pretrain.watch.history import HELD_OUT, LOSS, NORM, RATE, History
from pretrain.watch.progress import RunProgress, measure, spans, tokens_by_step
from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.files import new_file
from tinymathreason.units import duration

POINTS = 200
"""Number of points in the speed curve; each averages the same number of steps."""


def rows(p: RunProgress) -> dict[str, str]:
    """The figures to show, by name; ``-`` for unknown ones."""

    def shown(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    def since(seconds: float | None) -> str:
        return "" if seconds is None else f" ({duration(max(0.0, seconds))} ago)"

    figures = {
        "step": f"{shown(p.step, ',')} of {p.last_step:,}{since(p.event_age)}",
        "loss": shown(p.loss, ".4f"),
        "held-out loss": shown(p.held_out_loss, ".4f")
        + ("" if p.held_out_step is None else f" at step {p.held_out_step:,}"),
        "tokens/s": shown(p.tokens_per_second, ",.0f"),
        "s/step": shown(p.step_seconds, ".3f"),
        "MFU": shown(p.mfu, ".1%"),
        "tokens": f"{p.tokens:,}",
        "ETA": "-" if p.seconds_left is None else duration(p.seconds_left),
        "checkpoint": shown(p.checkpoint_step, ",") + since(p.checkpoint_age),
        "goodput": f"{shown(p.goodput, '.1%')}; starts: {p.starts}, "
        f"steps repeated: {p.repeated_steps:,}",
    }
    if p.damaged:
        figures["damaged"] = ", ".join(p.damaged)
    return figures


def as_json(p: RunProgress) -> str:
    """The figures as one line of JSON; null for unknown figures and for NaN or infinity."""
    record = dataclasses.asdict(p)
    for name, value in record.items():
        if isinstance(value, float) and not math.isfinite(value):
            record[name] = None
    return json.dumps({**record, "finished": p.finished})


def plot(history: History, path: Path) -> None:
    """Plot the losses, learning rate, gradient norm and tokens/s by step into a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(2, 2, figsize=(11, 7), layout="constrained")
    losses, rates, norms, speeds = grid.flat
    loss, held_out = history.series(LOSS), history.series(HELD_OUT)
    losses.plot(loss.steps, loss.values, label="training")
    losses.plot(held_out.steps, held_out.values, marker=".", label="held out")
    losses.set(ylabel="loss (nats a token)", yscale="log")
    losses.legend()
    for axes, tag, name in (
        (rates, RATE, "learning rate"),
        (norms, NORM, "gradient norm before clipping"),
    ):
        series = history.series(tag)
        axes.plot(series.steps, series.values)
        axes.set(ylabel=name)
    norms.set(yscale="log")
    if len(loss.steps):
        seconds, undisturbed = spans(loss, held_out.steps, history.starts[0])
        chosen, tokens = tokens_by_step(history, loss, undisturbed)
        # A single step's time means little: MaxText starts the next step before this one ends.
        blocks = np.arange(0, len(chosen), max(1, len(chosen) // POINTS))
        if len(chosen):
            rate = np.add.reduceat(tokens, blocks) / np.add.reduceat(seconds[chosen], blocks)
            speeds.plot(loss.steps[chosen[blocks]], rate)
    speeds.set(ylabel="tokens/s", ylim=(0, None))
    for axes in grid.flat:
        axes.set(xlabel="step")
        axes.grid(alpha=0.3)
    with new_file(path) as aside:
        figure.savefig(aside, dpi=120, format="png")
    pyplot.close(figure)


def watch(
    run: str, interval: float, once: bool, in_json: bool, png: Path | None, peak: float | None
) -> None:
    """Print a run's figures every ``interval`` seconds until its last step is saved.

    On a terminal they are updated in place; elsewhere each update is a line. ``once`` prints them
    once. ``peak`` is the FLOP/s of one device. Raises `InputError` when there is no run.
    """
    history = History(run)
    redrawn = 0
    saved = False
    while True:
        history.update()
        progress = measure(history, time.time(), peak)
        # MaxText writes its last events after its last checkpoint.
        done = once or (progress.finished and (saved or progress.step == progress.last_step))
        saved = progress.finished
        figures = rows(progress)
        block = tabulate(figures.items(), tablefmt="plain", disable_numparse=True).splitlines()
        if in_json:
            print(as_json(progress), flush=True)
        elif sys.stdout.isatty():
            up = f"\x1b[{redrawn}A\x1b[J" if redrawn else ""
            print(up + "\n".join(block), flush=True)
            redrawn = len(block)
        elif done:
            print("\n".join(block), flush=True)
        else:
            print(", ".join(f"{name} {value}" for name, value in figures.items()), flush=True)
        if png is not None:
            plot(history, png)
        if done:
            return
        time.sleep(interval)


def main(argv: Sequence[str]) -> None:
    """Parse the command line and watch."""
    parser = argparse.ArgumentParser(
        prog="pretrain.watch",
        description="Show the progress of a training run until its last step is saved.",
    )
    parser.add_argument(
        "run", metavar="RUN_DIR", help="base_output_directory/run_name, local or gs://"
    )
    parser.add_argument("--once", action="store_true", help="print the figures once and exit")
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between two updates")
    parser.add_argument("--json", action="store_true", help="print one JSON object per update")
    parser.add_argument("--png", type=Path, help="plot the curves into this file at every update")
    parser.add_argument(
        "--peak-tflops", type=float, metavar="N",
        help="dense peak of one device, for an MFU on devices that are not known",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    peak = arguments.peak_tflops
    for name, value in (("--interval", arguments.interval), ("--peak-tflops", peak)):
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{name}: expected a positive number (got {value:g})")
    watch(
        arguments.run, arguments.interval, arguments.once, arguments.json, arguments.png,
        peak and peak * 1e12,
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
