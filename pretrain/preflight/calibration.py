"""Calibrate the roofline: fit its constants to runs that MaxText's authors measured and published.

The command ``python -m pretrain.calibration`` compiles those runs and prints every estimate beside
the measurement; with ``--gpu`` it prints those for NVIDIA GPUs, which need no compiler.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pretrain import topology
from pretrain.preflight import gpu_calibration, roofline
from pretrain.preflight.compiled_step import CompiledStep, compiled_step
from pretrain.preflight.roofline import Constants
from pretrain.topology import Chip
from tinymathreason.cli import InputError
from tinymathreason.config import config as checked
from tinymathreason.config import load
from tinymathreason.tables import markdown_table

PUBLISHED = Path(__file__).parent / "published.yaml"
BASE = PUBLISHED.with_name("published_base.yml")

LEAST = 0.8
"""The smallest slowdown that is fitted. With it, products on v5p are as fast as the peak allows."""

CONSTANTS = {
    "v4": Constants(slowdown=1.022),
    "v5e": Constants(slowdown=0.831, overlap=True),
    "v5p": Constants(slowdown=0.8, overlap=True),
    "v6e": Constants(slowdown=1.014, overlap=True),
    "tpu7x": Constants(slowdown=1.099, overlap=True),
}
"""The roofline's constants by chip generation, as this command fits them.

``overlap`` is the value that predicts the generation's second run better.
"""

ERROR = {"v4": 0.020, "v5e": 0.212, "v5p": 0.068, "v6e": 0.088, "tpu7x": 0.048}
"""Relative error of the estimated time by chip generation: on a run that decided nothing where
there is one, else the larger one of the two runs."""

CHECKED = ("v6e", "tpu7x")
"""The generations with a published run that decided nothing."""

COLUMNS = (
    "run", "used to", "weights", "measured, TFLOP/s a chip", "overlap", "fitted slowdown",
    "raw estimate, TFLOP/s", "fitted estimate", "error of the time",
)  # fmt: skip


def expected_error(chip: str) -> str:
    """The expected error of an estimate for a chip generation, in words."""
    if chip not in ERROR:
        return "unknown: no run was left to compare with"
    if chip in CHECKED:
        return (
            f"{ERROR[chip]:.0%}: the error on a published run of a larger model, by which no "
            "constant was chosen"
        )
    return (
        f"{ERROR[chip]:.0%} or more: the error on the two published runs of larger models on which "
        "the constants were chosen"
    )


@checked
class PublishedRun:
    """One run whose settings and measured speed are published."""

    name: str
    source: str
    """Files that hold the settings and the measurement."""
    topology: str
    tflops: float
    """Measured TFLOP/s per chip, as counted in the publication."""
    causal: bool = False
    """Whether that count leaves out the half of attention that the causal mask hides."""
    use: Literal["fit", "choose", "check"]
    """The slowdown is fitted to the run; or the run chooses the overlap; or it decides nothing, and
    its error is the one to expect."""
    overrides: list[str]
    """The settings, as key=value arguments on top of base.yml."""


@checked
class Published:
    """The file of published runs."""

    runs: list[PublishedRun]


def measured_seconds(run: PublishedRun, step: CompiledStep) -> float:
    """The step time behind a published TFLOP/s.

    Publications before 2025 count attention without the causal mask, so twice ours.
    """
    model = step.model
    masked = 1 if run.causal else 2
    flops = model.matmul_flops_per_token + masked * model.attention_flops_per_token
    return step.tokens / step.devices * flops / (run.tflops * 1e12 / _chip(run).devices)


def fitted(run: PublishedRun, step: CompiledStep, overlap: bool) -> Constants:
    """The constants with which the estimated time of a run equals the measured one.

    The slowdown is `LEAST` where no slowdown fits: products at the peak alone take longer.
    """
    low, high = LEAST, 4.0
    for _ in range(60):
        middle = (low + high) / 2
        if error(run, step, Constants(overlap=overlap, slowdown=middle)) > 0:
            high = middle
        else:
            low = middle
    return Constants(overlap=overlap, slowdown=low)


def error(run: PublishedRun, step: CompiledStep, with_constants: Constants) -> float:
    """The relative error of the estimated time of a run."""
    estimate = roofline.estimate(step.costs, _chip(run), with_constants)
    return estimate.seconds / measured_seconds(run, step) - 1


def _chip(run: PublishedRun) -> Chip:
    chip = topology.find(run.topology).chip
    if chip is None:
        raise InputError(f"{PUBLISHED}: {run.name}: no figures are known for {run.topology}")
    return chip


def main(argv: Sequence[str]) -> None:
    """Compile every published run and print its estimates beside the measurement."""
    parser = argparse.ArgumentParser(
        prog="pretrain.calibration",
        description="Compare the roofline's estimates with published measurements.",
    )
    parser.add_argument("--gpu", action="store_true", help="runs on NVIDIA GPUs, from shapes")
    if parser.parse_args(argv).gpu:
        print(gpu_calibration.table())
        return
    generations: dict[str, list[tuple[PublishedRun, CompiledStep]]] = {}
    for run in load(Published, PUBLISHED).runs:
        print(f"compiling {run.name}", file=sys.stderr, flush=True)
        step = compiled_step(BASE, topology.find(run.topology), run.overrides)
        generations.setdefault(_chip(run).name, []).append((run, step))
    rows = [
        row
        for runs in generations.values()
        for overlap in (False, True)
        for row in _rows(runs, overlap)
    ]
    print(markdown_table(COLUMNS, rows))


def _rows(runs: list[tuple[PublishedRun, CompiledStep]], overlap: bool) -> list[list[str]]:
    """The table's rows for the runs of one generation."""
    fit = next(fitted(run, step, overlap) for run, step in runs if run.use == "fit")
    rows = []
    for run, step in runs:
        raw = 1 + error(run, step, Constants(overlap=overlap))
        off = error(run, step, fit)
        rows.append(
            [
                run.name,
                run.use,
                f"{step.model.parameters / 1e9:.1f}B",
                f"{run.tflops:.0f}",
                "hidden" if overlap else "exposed",
                f"{fit.slowdown:.3f}",
                f"{run.tflops / raw:.0f}",
                f"{run.tflops / (1 + off):.0f}",
                "fitted" if abs(off) < 1e-6 else f"{off:+.1%}",
            ]
        )
    return rows
