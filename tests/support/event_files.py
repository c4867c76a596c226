"""Run folders like those of upstream's trainer, written with TensorBoard's own writer."""

import json
from collections.abc import Iterable
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

Scalar = tuple[int, str, float, float]
"""Step, tag, value and time."""


def write_events(run: Path, began: float, scalars: Iterable[Scalar], name: str = "host") -> Path:
    """The event file of one start: the version, a text, and an event for each scalar."""
    path = run / "tensorboard" / "run" / f"events.out.tfevents.{int(began):010}.{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = Summary.Value(tag="learning/loss")
    text.tensor.string_val.append(b"no scalar")
    events = [
        Event(wall_time=began, file_version="brain.Event:2"),
        Event(wall_time=began, summary=Summary(value=[text])),
    ]
    for step, tag, value, time in scalars:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        events.append(Event(wall_time=time, step=step, summary=summary))
    with path.open("wb") as stream:
        writer = RecordWriter(stream)
        for event in events:
            writer.write(event.SerializeToString())
    return path


def step_scalars(step: int, time: float, loss: float = 1.0, tokens: float = 100.0) -> list[Scalar]:
    """The scalars that one training step writes, in upstream's order."""
    return [
        (step, "learning/grad_norm", 1.0, time),
        (step, "learning/loss", loss, time),
        (step, "learning/raw_grad_norm", 2.0, time),
        (step, "learning/total_weights", tokens, time),
        (step, "perf/step_time_seconds", 1e-6, time),
        (step, "learning/current_learning_rate", 0.5, time),
    ]


def write_checkpoint(run: Path, step: int, time: float = 0.0, complete: bool = True) -> None:
    """The files of a checkpoint's folder that decide whether it is complete."""
    folder = run / "checkpoints" / str(step)
    (folder / "items").mkdir(parents=True)
    metadata = {"commit_timestamp_nsecs": int(time * 1e9) if complete else None}
    (folder / "_CHECKPOINT_METADATA").write_text(json.dumps(metadata))
    if complete:
        (folder / "commit_success.txt").write_text("done")
