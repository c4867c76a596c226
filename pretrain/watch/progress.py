"""Measure the progress of a run from its history: step, loss, speed and goodput."""

import datetime
from dataclasses import dataclass
from typing import Any

import numpy as np

from pretrain.model import Model, step_tokens
from pretrain.run import last_step, parameters
from pretrain.topology import CHIPS
from pretrain.watch.history import HELD_OUT, LOSS, WEIGHTS, Floats, History, Integers, Series
from tinymathreason.cli import InputError
from tinymathreason.records.pretraining import Configuration, Starts

PEAKS = {
    "TPU v4": CHIPS["v4"].peak_flops,
    "TPU v5 lite": CHIPS["v5e"].peak_flops,
    "TPU v5": CHIPS["v5p"].peak_flops,
    "TPU v5p": CHIPS["v5p"].peak_flops,
    "TPU v6 lite": CHIPS["v6e"].peak_flops,
    "TPU7x": CHIPS["tpu7x"].peak_flops / CHIPS["tpu7x"].devices,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}
"""Dense bfloat16 FLOP/s by jax's name of the device; for GPUs from NVIDIA's data sheets."""

WINDOW = 100
"""Steps over which the speed is averaged; MaxText's own step times are asynchronous."""


@dataclass(kw_only=True, frozen=True, slots=True)
class RunProgress:
    """The state of a run at one moment. Figures that are not known are None."""

    last_step: int
    """The last step of the run; the first is 0."""
    step: int | None
    """The last recorded step; MaxText writes its events every log_period steps."""
    loss: float | None
    """Loss of that step, in nats per token."""
    held_out_step: int | None
    """The step of the last evaluation."""
    held_out_loss: float | None
    """Loss of the last evaluation, in nats per token."""
    tokens: int
    """Tokens trained on so far, without padding and repeated steps."""
    step_seconds: float | None
    """Wall time per step, over the last `WINDOW` undisturbed steps."""
    tokens_per_second: float | None
    """Speed over the same steps, without padding."""
    mfu: float | None
    """The model's FLOPs as a share of the devices' peak, over the same steps."""
    seconds_left: float | None
    """Estimated remaining time, at the pace since the last start with evaluations and saves."""
    checkpoint_step: int | None
    """Step of the last complete checkpoint."""
    checkpoint_age: float | None
    """Seconds since it was committed."""
    goodput: float | None
    """`kept_seconds` as a share of the wall time from the first start to the last event."""
    starts: int
    """Number of times that training was started."""
    repeated_steps: int
    """Recorded steps that a later start repeated."""
    event_age: float | None
    """Seconds since the last step was recorded."""
    damaged: list[str]
    """Event files that cannot be read to the end."""

    @property
    def finished(self) -> bool:
        """Whether the last step is saved."""
        return self.checkpoint_step is not None and self.checkpoint_step >= self.last_step


def spans(loss: Series, evaluated: Integers, began: float) -> tuple[Floats, np.ndarray[Any, Any]]:
    """Seconds from the previous recorded step to each step, and whether the step was undisturbed.

    A step is disturbed when the model was ``evaluated`` at it, and when a start or unrecorded steps
    lie before it. The first span begins at ``began``, in seconds since the epoch.
    """
    # The clock of another host may be behind.
    seconds = np.maximum(np.diff(loss.times, prepend=began), 0.0)
    undisturbed = np.diff(loss.steps, prepend=-1) == 1
    undisturbed &= np.diff(loss.files, prepend=-1) == 0
    undisturbed &= ~np.isin(loss.steps, evaluated)
    return seconds, undisturbed


def kept_seconds(loss: Series, seconds: Floats, undisturbed: np.ndarray[Any, Any]) -> float | None:
    """Wall time spent in the steps that count; ``undisturbed`` and ``seconds`` come from `spans`.

    A disturbed or unrecorded step counts as the median of the undisturbed ones. The rest of the
    wall time is starting, compiling, evaluating, repeated steps and waiting. None without an
    undisturbed step.
    """
    if not undisturbed.any():
        return None
    usual = np.diff(loss.steps, prepend=-1) * np.median(seconds[undisturbed])
    return float(np.where(undisturbed, seconds, np.minimum(seconds, usual)).sum())


def tokens_by_step(
    history: History, loss: Series, undisturbed: np.ndarray[Any, Any]
) -> tuple[Integers, Floats]:
    """Indices into ``loss`` of the undisturbed steps, and their tokens."""
    weights = history.series(WEIGHTS)
    # The events may end between the loss and the tokens of a step.
    chosen = np.flatnonzero(undisturbed & np.isin(loss.steps, weights.steps))
    return chosen, weights.values[np.searchsorted(weights.steps, loss.steps[chosen])]


def model_flops(config: dict[str, Any]) -> float | None:
    """The model's FLOPs per step and device, without recomputation.

    This equals MaxText's calculate_tflops_training_per_device. None for a model that `parameters`
    cannot count.
    """
    if parameters(config) is None:
        return None
    return step_tokens(config) * Model.from_config(config).flops_per_token


def measure(history: History, now: float, peak: float | None = None) -> RunProgress:
    """The progress of a run at ``now``, in seconds since the epoch, from what ``history`` has read.

    ``peak`` is the FLOP/s of one device; by default it comes from `PEAKS`, and without it there is
    no MFU. Raises `InputError` when the folder contains no run.
    """
    stored = history.record(Configuration, "config.json")
    if stored is None:
        raise InputError(
            f"{history.run}: not a run (it has no config.json); "
            "expected the folder base_output_directory/run_name"
        )
    config = stored.maxtext()
    # Without provenance.json the starts are known from the event files.
    began = history.starts
    if (provenance := history.record(Starts, "provenance.json")) is not None:
        times = [start.provenance.time for start in provenance.starts]
        began = [datetime.datetime.fromisoformat(time).timestamp() for time in times]
        config.update(provenance.starts[-1].changed)
        peak = peak or PEAKS.get(provenance.starts[-1].device)
    try:
        last, flops = last_step(config), model_flops(config)
    except KeyError as error:
        raise InputError(
            f"{history.run}/config.json: no key {error}; this is not the configuration of a run"
        ) from error
    loss, held_out = history.series(LOSS), history.series(HELD_OUT)
    checkpoint = history.checkpoint()
    kept = step_seconds = rate = left = None
    total = 0.0
    if len(loss.steps):
        seconds, undisturbed = spans(loss, held_out.steps, began[0])
        kept, total = kept_seconds(loss, seconds, undisturbed), float(seconds.sum())
        chosen, tokens = tokens_by_step(history, loss, undisturbed)
        if len(chosen):
            step_seconds = float(seconds[chosen[-WINDOW:]].mean())
            rate = float(tokens[-WINDOW:].mean()) / step_seconds
        since = np.flatnonzero(loss.files == loss.files[-1])[0]
        if loss.steps[since] < loss.steps[-1]:
            pace = (loss.times[-1] - loss.times[since]) / (loss.steps[-1] - loss.steps[since])
            left = float(pace * max(0, last - loss.steps[-1]))
    return RunProgress(
        last_step=last,
        step=int(loss.steps[-1]) if len(loss.steps) else None,
        loss=float(loss.values[-1]) if len(loss.steps) else None,
        held_out_step=int(held_out.steps[-1]) if len(held_out.steps) else None,
        held_out_loss=float(held_out.values[-1]) if len(held_out.steps) else None,
        tokens=int(history.series(WEIGHTS).values.sum()),
        step_seconds=step_seconds,
        tokens_per_second=rate,
        mfu=flops / step_seconds / peak if flops and peak and step_seconds else None,
        seconds_left=left,
        checkpoint_step=checkpoint.step if checkpoint else None,
        checkpoint_age=now - checkpoint.time if checkpoint else None,
        goodput=kept / total if kept is not None and total else None,
        starts=len(began),
        repeated_steps=history.recorded - len(loss.steps),
        event_age=now - float(loss.times[-1]) if len(loss.steps) else None,
        damaged=history.damaged,
    )
