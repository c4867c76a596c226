"""Compare the estimates for NVIDIA GPUs with runs whose speed and memory are known.

The command ``python -m pretrain.calibration --gpu`` prints the table, in a second.
"""

from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pretrain import overlay
from pretrain.gpus import CARDS
from pretrain.model import Model
from pretrain.preflight import gpu_step
from pretrain.preflight.gpu_step import GpuStep
from tinymathreason.config import config as checked
from tinymathreason.config import load
from tinymathreason.llama import MAXTEXT_KEYS
from tinymathreason.tables import markdown_table

RUNS = Path(__file__).parent / "gpu_runs.yaml"
COLUMNS = (
    "run", "program", "measured tokens/s a card", "estimate", "error of the time",
    "measured peak, GB", "memory estimate", "error of the peak",
)  # fmt: skip


@checked
class GpuRun:
    """One run whose settings and speed are known."""

    name: str
    source: str
    """Who says so, or where it is published."""
    program: str
    """The program that trained."""
    fit: bool = False
    """Whether `gpu_step.SHARE` is fitted to this run."""
    card: str
    """A name of `pretrain.gpus.CARDS`."""
    cards: int
    tokens_per_second: float
    """Measured, on one card."""
    peak_gb: float | None = None
    """Measured memory of a card, in 1e9 bytes; None where it is not known."""
    mfu: float | None = None
    """The share of the peak that the source states; None where it states none."""
    counts: Literal["whole", "causal", "none"]
    """Whether the stated share counts attention with the half that the causal mask hides."""
    rows: int
    """Sequences that a card trains on at a time."""
    parts: int
    """Gradient accumulation steps."""
    remat_policy: str
    """MaxText's policy that keeps what this run kept."""
    model: dict[str, Any]
    """The fields of `pretrain.model.Model`."""


@checked
class GpuRuns:
    """The file of known runs."""

    runs: list[GpuRun]


@cache
def known() -> tuple[GpuRun, ...]:
    """All known runs."""
    return tuple(load(GpuRuns, RUNS).runs)


def model(run: GpuRun) -> Model:
    """The model of a run."""
    return Model(**run.model)


@cache
def _base() -> dict[str, Any]:
    return overlay.load(overlay.upstream_configs() / "base.yml")


def settings(run: GpuRun) -> dict[str, Any]:
    """MaxText's configuration for the training of a run's model with our trainer."""
    shape = asdict(model(run))
    gates = shape["mlp_matrices"] - 1
    return {
        **_base(),
        **{key: shape[field] for field, key in MAXTEXT_KEYS.items()},
        "mlp_activations": ["silu", "linear"][:gates],
        "attention": "flash",
        "per_device_batch_size": run.rows,
        "gradient_accumulation_steps": run.parts,
        "remat_policy": run.remat_policy,
    }


def measured_seconds(run: GpuRun, step: GpuStep) -> float:
    """Seconds of one step of a run."""
    return step.tokens / run.cards / run.tokens_per_second


def fitted() -> float:
    """The share of the peak with which the estimate for the marked run is its measurement."""
    run = next(run for run in known() if run.fit)
    step, card = gpu_step.step(settings(run), run.cards), CARDS[run.card]
    at_peak = step.time(card, share=1.0)
    others = at_peak.seconds - at_peak.arithmetic_bound
    return at_peak.arithmetic_bound / (measured_seconds(run, step) - others)


def error(run: GpuRun) -> float:
    """The relative error of the estimated time of a run."""
    step = gpu_step.step(settings(run), run.cards)
    return step.time(CARDS[run.card]).seconds / measured_seconds(run, step) - 1


def errors() -> str:
    """The errors of the estimated time on the known runs, in words."""
    ours = [error(run) for run in known() if run.program == "MaxText" and not run.fit]
    others = [error(run) for run in known() if run.program != "MaxText"]
    return (
        f"{ours[0]:+.0%} in time on the second known run of MaxText, {min(others):+.0%} to "
        f"{max(others):+.0%} on runs of other programs"
    )


def expected_error(card: str) -> str:
    """The expected error of an estimate for a card, in words."""
    measured = {run.card for run in known() if run.program == "MaxText"}
    return errors() if card in measured else f"no run of MaxText is known on it; {errors()}"


def table() -> str:
    """Every known run beside its estimate, in Markdown."""
    return markdown_table(COLUMNS, [_row(run) for run in known()])


def _row(run: GpuRun) -> list[str]:
    step = gpu_step.step(settings(run), run.cards)
    rate = step.tokens / run.cards / step.time(CARDS[run.card]).seconds
    off = error(run)
    memory = ["", "", ""]
    if run.peak_gb is not None:
        peak = step.memory.peak / 1e9
        memory = [f"{run.peak_gb:.1f}", f"{peak:.1f}", f"{peak / run.peak_gb - 1:+.1%}"]
    return [
        run.name,
        run.program,
        f"{run.tokens_per_second:,.0f}",
        f"{rate:,.0f}",
        "fitted" if run.fit else f"{off:+.0%}",
        *memory,
    ]
