"""The figures of a card about both trainings, and about what each stage took."""

import datetime
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pretrain.watch.history import HELD_OUT, LOSS, WEIGHTS, History
from release.cards.left_out import LeftOut
from release.lineage import AnyTuned, lineage, tuning_record
from release.markdown import escape
from release.records import RunRecords
from tinymathreason.cli import InputError
from tinymathreason.records.pretraining import StartRecord
from tinymathreason.records.tuning import DpoRecord, GrpoRecord, SftRecord
from tinymathreason.tables import markdown_table

METHODS = {
    "sft": "supervised fine-tuning",
    "dpo": "direct preference optimisation",
    "grpo": "group relative policy optimisation",
}
"""How a model was tuned, by the kind of its record."""
PACKAGES = ("python", "maxtext", "jax", "torch", "transformers", "trl")


@dataclass(frozen=True)
class TrainingEvents:
    """What the TensorBoard events of pretraining say; None where there are none."""

    tokens: int | None = None
    """Without padding."""
    steps: int | None = None
    loss: tuple[float, float] | None = None
    """First and last, in nats a token."""
    held_out: tuple[float, float] | None = None


def trained(records: RunRecords, left_out: LeftOut) -> TrainingEvents:
    """The steps up to the checkpoint that was converted."""
    folder = records.folders.pretrain
    figures = {WEIGHTS: "tokens of pretraining", LOSS: "loss", HELD_OUT: "held-out loss"}
    try:
        history = History(str(folder))
        history.update()
    except InputError:
        left_out.add(", ".join(figures.values()), f"{folder}: no such folder")
        return TrainingEvents()
    checkpoint = re.search(
        r"/(\d+)/?$", records.conversion.checkpoint if records.conversion else ""
    )
    values = {}
    for tag, figure in figures.items():
        series = history.series(tag)
        last = int(checkpoint[1]) if checkpoint else series.steps.max(initial=0)
        values[tag] = series.values[series.steps <= last].tolist()
        if not values[tag]:
            left_out.add(figure, f"{folder}/tensorboard: no events of {tag}")
    loss, held_out = ((v[0], v[-1]) if (v := values[tag]) else None for tag in (LOSS, HELD_OUT))
    weights = values[WEIGHTS]
    return TrainingEvents(
        int(sum(weights)) if weights else None, len(weights) or None, loss, held_out
    )


def batch(records: RunRecords) -> float | None:
    """Sequences of a step of pretraining on all devices together."""
    config = records.configuration
    if config is None or not records.starts:
        return None
    per_device = config.per_device_batch_size * config.gradient_accumulation_steps
    return per_device * records.starts[-1].devices


def chip_hours(starts: Sequence[StartRecord]) -> tuple[float, int]:
    """Hours of all devices in the starts that have an end, and how many starts have none.

    A start on a CPU makes it no hours.
    """
    if any(start.device == "cpu" for start in starts):
        return 0.0, 0
    hours = 0.0
    for start in starts:
        if start.end:
            began, ended = map(datetime.datetime.fromisoformat, (start.provenance.time, start.end))
            hours += start.devices * (ended - began).total_seconds() / 3600
    return hours, sum(start.end is None for start in starts)


def tuning(tuned: AnyTuned, left_out: LeftOut) -> dict[str, Any]:
    """What the template shows of the fine-tuning, besides its record."""
    arguments, history = tuned.arguments, tuned.history
    epochs = [entry.epoch for entry in history if entry.epoch is not None]
    losses = [entry.eval_loss for entry in history if entry.eval_loss is not None]
    for figure, values in (("epochs", epochs), ("held-out loss of fine-tuning", losses)):
        if not values:
            left_out.add(figure, f"{tuned.kind}.json has none in its history")
    match tuned:
        case SftRecord():
            examples, noun = sum(c.train for c in tuned.counts.values()), "worked problems"
        case DpoRecord():
            examples, noun = tuned.counts.pairs.get("written", 0), "pairs of answers"
        case GrpoRecord():
            examples, noun = tuned.problems, "problems"
    per_device = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
    return {
        "method": METHODS[tuned.kind],
        "examples": examples,
        "noun": noun,
        "epochs": epochs[-1] if epochs else None,
        "held_out": losses[-1] if losses else None,
        "batch": per_device * tuned.processes,
        "hardware": "CPU" if tuned.device == "cpu" else tuned.device,
    }


def stages(records: RunRecords, shown: Sequence[list[str]], left_out: LeftOut) -> dict[str, Any]:
    """What each stage took and which commands make the model again.

    Stages that tuned another model, and evaluations whose command is not ``shown``, are left out.
    Without stages the commands are those of the other records.
    """
    own = [record for record in _own(records) if record]
    commands = [*(provenance.command for provenance in own), *shown]
    rows, seconds, used, commits = [], 0.0, [], set()
    for name, stage in records.stages.items():
        if _of_another_model(stage.command, commands):
            continue
        if not stage.finished:
            left_out.add(f"stage {name}", f"{records.folders.stages / name}.json: not finished")
            continue
        seconds += stage.seconds
        gib = f"{stage.peak_bytes / 2**30:.2f}"
        rows.append([escape(name), f"{stage.seconds:,.0f}", gib])
        used.append(stage.command)
        commits.add(stage.commit)
    if len(rows) > 1:
        rows.append(["in total", f"{seconds:,.0f}", ""])
    if not used:
        used = [shlex.join(words) for words in commands if words]
        commits = {provenance.commit for provenance in own}
    return {
        "table": markdown_table(["stage", "seconds", "peak GiB"], rows),
        "commands": "\n".join(used),
        "commits": sorted(commit for commit in commits if commit),
    }


def _own(records: RunRecords) -> list[Any]:
    """The provenance of each record of this model."""
    tunings = [tuning_record(folder) for folder in lineage(records.folders.model)]
    made = [
        records.mixture,
        records.starts[-1] if records.starts else None,
        records.conversion,
        *reversed(tunings),
    ]
    return [record.provenance for record in made if record]


def _of_another_model(command: str, ours: Sequence[list[str]]) -> bool:
    """Whether a stage's command is a tuning or an evaluation that no record of ours names."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quotation mark without its partner
        words = command.split()
    module = words[2] if words[1:2] == ["-m"] else ""
    return module.startswith(("sft.", "evaluation.")) and words not in ours
