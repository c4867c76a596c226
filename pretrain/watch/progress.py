"""A run's history in; how far, how fast and how well it goes out."""

import datetime
from dataclasses import dataclass
from typing import Any

import numpy as np

from pretrain.model import Model
from pretrain.run import last_step, parameters
from pretrain.topology import CHIPS
from pretrain.watch.history import HELD_OUT, LOSS, WEIGHTS, Floats, History, Integers, Series
from tinymathreason.cli import InputError

PEAKS = {
    "TPU v4": CHIPS["v4"].peak_flops,
    "TPU v5 lite": CHIPS["v5e"].peak_flops,
    "TPU v5": CHIPS["v5p"].peak_flops,
    "TPU v5p": CHIPS["v5p"].peak_flops,
    "TPU v6 lite": CHIPS["v6e"].peak_flops,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}
"""Dense bfloat16 FLOP/s by jax's name of the device; those of GPUs from NVIDIA's data sheets."""

WINDOW = 100
"""Steps over which the present speed is taken: upstream's seconds of one step are asynchronous."""


@dataclass(kw_only=True, frozen=True, slots=True)
class RunProgress:
    """A run at one moment. What cannot be known yet, or at all, is None."""

    last_step: int
    """The step that ends the run; the first is 0."""
    step: int | None
    """The last step that TensorBoard's events tell of; upstream flushes them every log_period."""
    loss: float | None
    """Of that step, in nats a token."""
    held_out_step: int | None
    """The last step at which the model was evaluated."""
    held_out_loss: float | None
    """There, in nats a token."""
    tokens: int
    """Trained on so far, without padding and without steps that were taken again."""
    step_seconds: float | None
    """Wall time of a step, over the last `WINDOW` steps that nothing disturbed."""
    tokens_per_second: float | None
    """Over the same steps, without padding."""
    mfu: float | None
    """Share of the devices' peak that goes into the model's FLOPs, over the same steps."""
    seconds_left: float | None
    """At the pace since the last start, with evaluations and saves."""
    checkpoint_step: int | None
    """Step of the last complete checkpoint."""
    checkpoint_age: float | None
    """Seconds since it was committed."""
    goodput: float | None
    """Share of the wall time, from the first start to the last event, that `kept_seconds` is."""
    starts: int
    """How often training was started."""
    repeated_steps: int
    """Recorded steps that a later start took again."""
    event_age: float | None
    """Seconds since the last step was recorded."""
    damaged: list[str]
    """Event files that cannot be read to their end."""

    @property
    def finished(self) -> bool:
        """Whether the last step is saved."""
        return self.checkpoint_step is not None and self.checkpoint_step >= self.last_step


def spans(loss: Series, evaluated: Integers, began: float) -> tuple[Floats, np.ndarray[Any, Any]]:
    """Seconds from each recorded step's predecessor to it, and whether they were that step's only.

    They were not when the model was ``evaluated`` at the step, and when a start, or steps whose
    record was lost, lie between. Before the first step stands ``began``, seconds since the epoch.
    """
    # Another host's clock may be behind.
    seconds = np.maximum(np.diff(loss.times, prepend=began), 0.0)
    plain = np.diff(loss.steps, prepend=-1) == 1
    plain &= np.diff(loss.files, prepend=-1) == 0
    plain &= ~np.isin(loss.steps, evaluated)
    return seconds, plain


def kept_seconds(loss: Series, seconds: Floats, plain: np.ndarray[Any, Any]) -> float | None:
    """Wall time that went into the steps that count; ``seconds`` and ``plain`` are of `spans`.

    A step that something disturbed counts as the median of the others, as does one that a start
    took between its last flushed event and its last checkpoint. What is left is starting,
    compiling, evaluating, steps that were taken again, and standing still. None without a step
    that nothing disturbed.
    """
    if not plain.any():
        return None
    usual = np.diff(loss.steps, prepend=-1) * np.median(seconds[plain])
    return float(np.where(plain, seconds, np.minimum(seconds, usual)).sum())


def tokens_by_step(
    history: History, loss: Series, plain: np.ndarray[Any, Any]
) -> tuple[Integers, Floats]:
    """Indices into ``loss`` of the steps that nothing disturbed, and their tokens."""
    weights = history.series(WEIGHTS)
    # A flush may have ended between a step's loss and its tokens.
    chosen = np.flatnonzero(plain & np.isin(loss.steps, weights.steps))
    return chosen, weights.values[np.searchsorted(weights.steps, loss.steps[chosen])]


def model_flops(config: dict[str, Any]) -> float | None:
    """FLOPs of the model that one device has to do in a step, without recomputation.

    It is upstream's calculate_tflops_training_per_device. None for a model that `parameters` does
    not count.
    """
    if parameters(config) is None:
        return None
    sequences = config["per_device_batch_size"] * config["gradient_accumulation_steps"]
    model = Model.from_config(config)
    return float(sequences * model.context * model.flops_per_token)


def measure(history: History, now: float, peak: float | None = None) -> RunProgress:
    """How the run stands at ``now``, in seconds since the epoch, by what ``history`` has read.

    ``peak`` is a device's in FLOP/s; without it `PEAKS` has it, or there is no MFU. Raises
    `InputError` when the folder holds no run.
    """
    config = history.json("config.json")
    if not isinstance(config, dict):
        raise InputError(
            f"{history.run}: holds no run (there is no config.json of one); "
            "name the folder base_output_directory/run_name"
        )
    # Without provenance, the event files tell of the starts.
    began = history.starts
    if (provenance := history.json("provenance.json")) is not None:
        starts = provenance["starts"]
        began = [datetime.datetime.fromisoformat(start["start"]).timestamp() for start in starts]
        config.update(starts[-1]["changed"])
        peak = peak or PEAKS.get(starts[-1]["device"])
    try:
        last, flops = last_step(config), model_flops(config)
    except KeyError as error:
        raise InputError(f"{history.run}/config.json: no key {error}; it is no run's") from error
    loss, held_out, checkpoint = (
        history.series(LOSS),
        history.series(HELD_OUT),
        history.checkpoint(),
    )
    kept = step_seconds = rate = left = None
    total = 0.0
    if len(loss.steps):
        seconds, plain = spans(loss, held_out.steps, began[0])
        kept, total = kept_seconds(loss, seconds, plain), float(seconds.sum())
        chosen, tokens = tokens_by_step(history, loss, plain)
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
