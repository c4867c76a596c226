"""The roofline beside what upstream measured: fits its constant, checks it, prints both.

The command is ``python -m pretrain.calibration``.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pretrain import topology
from pretrain.preflight import roofline
from pretrain.preflight.profile import Profile, profile
from pretrain.preflight.roofline import Constants
from pretrain.topology import Chip
from tinymathreason.cli import InputError
from tinymathreason.config import config as checked
from tinymathreason.config import load

PUBLISHED = Path(__file__).parent / "published.yaml"
BASE = PUBLISHED.with_name("published_base.yml")

LEAST = 0.8
"""The smallest slowdown: with it, products on v5p are as fast as the peak allows."""

CONSTANTS = {
    "v4": Constants(slowdown=1.022),
    "v5e": Constants(slowdown=0.831, overlap=True),
    "v5p": Constants(slowdown=0.8, overlap=True),
    "v6e": Constants(overlap=True),
}
"""By generation, as this command fits them; v6e has no published run and is taken at XLA's word.

``overlap`` is what foretells the generation's second run better.
"""

ERROR = {"v4": 0.020, "v5e": 0.212, "v5p": 0.068}
"""The larger error of the estimated time on a generation's two runs, with its `CONSTANTS`."""


def constants(chip: str) -> Constants:
    """The roofline's constants for a generation."""
    return CONSTANTS[chip]


def expected_error(chip: str) -> str:
    """In words, how far an estimate may be off."""
    if chip not in ERROR:
        return "unknown: upstream publishes no measurement of this generation"
    return (
        f"{ERROR[chip]:.0%} or more: so far off are two published runs of larger models, on which "
        "the constants were chosen"
    )


@checked
class Run:
    """One run that upstream measured and published with its settings."""

    name: str
    source: str
    """Files of the installed MaxText that hold the settings and the measurement."""
    topology: str
    tflops: float
    """Measured TFLOP/s per chip, as upstream counted them."""
    fit: bool = False
    """Whether the generation's constant is fitted on it; the others check it."""
    overrides: list[str]
    """The settings, as key=value on top of base.yml."""


@checked
class Published:
    """The file of published runs."""

    runs: list[Run]


def measured_seconds(run: Run, found: Profile) -> float:
    """The step's time behind a published TFLOP/s.

    Upstream counted attention without the mask's half when it measured these.
    """
    model = found.model
    flops = model.matmul_flops_per_token + 2 * model.attention_flops_per_token
    return found.tokens / found.devices * flops / (run.tflops * 1e12)


def fitted(run: Run, found: Profile, overlap: bool) -> Constants:
    """The constants with which the estimate of a run is its measurement.

    Where products at the peak alone take longer, the slowdown is the smallest, `LEAST`.
    """
    low, high = LEAST, 4.0
    for _ in range(60):
        middle = (low + high) / 2
        if error(run, found, Constants(overlap=overlap, slowdown=middle)) > 0:
            high = middle
        else:
            low = middle
    return Constants(overlap=overlap, slowdown=low)


def error(run: Run, found: Profile, with_constants: Constants) -> float:
    """How far the estimated time is from the measured one, relative to it."""
    parts = roofline.estimate(found.costs, _chip(run), with_constants)
    return parts.seconds / measured_seconds(run, found) - 1


def _chip(run: Run) -> Chip:
    chip = topology.find(run.topology).chip
    if chip is None:
        raise InputError(f"{PUBLISHED}: {run.name}: {run.topology} has no figures of its chip")
    return chip


def main(argv: Sequence[str]) -> None:
    """Compile every published run and print the estimate beside the measurement."""
    parser = argparse.ArgumentParser(
        prog="pretrain.calibration", description="Hold the roofline against published runs."
    )
    parser.parse_args(argv)
    generations: dict[str, list[tuple[Run, Profile]]] = {}
    for run in load(Published, PUBLISHED).runs:
        print(f"compiling {run.name}", file=sys.stderr, flush=True)
        found = profile(BASE, topology.find(run.topology), run.overrides)
        generations.setdefault(_chip(run).name, []).append((run, found))
    print(
        "| run | weights | measured, TFLOP/s a chip | overlap | fitted slowdown | raw estimate, "
        "TFLOP/s | fitted estimate | error of the time |"
    )
    print("|---|---:|---:|---|---:|---:|---:|---:|")
    for runs in generations.values():
        for overlap in (False, True):
            fit = next(fitted(run, found, overlap) for run, found in runs if run.fit)
            for run, found in runs:
                raw = 1 + error(run, found, Constants(overlap=overlap))
                off = error(run, found, fit)
                print(
                    f"| {run.name} | {found.model.parameters / 1e9:.1f}B | {run.tflops:.0f} | "
                    f"{'hidden' if overlap else 'exposed'} | {fit.slowdown:.3f} | "
                    f"{run.tflops / raw:.0f} | {run.tflops / (1 + off):.0f} | "
                    f"{'fitted' if abs(off) < 1e-6 else f'{off:+.1%}'} |"
                )
