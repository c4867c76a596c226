"""Runs the points of a ladder: training, conversion and measurement, each by its command."""

import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_prep.reweight import reweight
from pretrain.ladder import plan, table
from pretrain.ladder.config import Ladder
from pretrain.ladder.points import MIXTURE_FILE, Point, points, recipe_shares
from pretrain.watch.history import LOSS, History
from tinymathreason import provenance
from tinymathreason.cli import InputError
from tinymathreason.files import locked, whole, write_text
from tinymathreason.process import call, last_line
from tinymathreason.records.evaluation import Results
from tinymathreason.records.ladder_point import AnswerCount, HeldOut, Likelihood, PointRecord
from tinymathreason.units import duration
from tinymathreason.writes import check_room

RECORD = "point.json"
LAST = 20
"""One part in so many of the steps, the last ones, whose losses are averaged."""


def run(ladder: Ladder) -> None:
    """Run every point that is not finished, then write the table of results.

    Killed and started again, it goes on: a finished point is skipped, and the command that was
    interrupted continues by its own means. Raises `InputError` when the folder holds points of
    another ladder, when another process works in it, and when a command fails.
    """
    wanted = points(ladder)
    folder = ladder.run / "points"
    check_room(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "running a ladder"):
        if foreign := {path.name for path in whole(folder)} - {point.name for point in wanted}:
            raise InputError(
                f"{ladder.run} holds runs of another ladder: {', '.join(sorted(foreign)[:3])}"
                "; name another folder in its key run"
            )
        left = [p for p in wanted if not (p.folder(ladder) / RECORD).is_file()]
        for point in wanted:
            _prepare(ladder, point)
        if len(left) < len(wanted):
            print(f"{len(wanted) - len(left)} of {len(wanted)} runs are finished", flush=True)
        shapes: set[str] = {p.size for p in wanted if p not in left}
        planned, spent = {p.name: plan.seconds(ladder, p) for p in left}, 0.0
        started = time.monotonic()
        for number, point in enumerate(left, start=1):
            record = _point(ladder, point, with_parity=point.size not in shapes)
            shapes.add(point.size)
            spent += planned[point.name]
            pace = (time.monotonic() - started) / spent
            remaining = pace * (sum(planned.values()) - spent)
            print(
                f"[{number}/{len(left)}] {describe(record)}; ETA {duration(remaining)}", flush=True
            )
        table.write(table.collect(ladder), ladder.run / table.FILE)
    print(f"{ladder.run / table.FILE}: {len(wanted)} runs")


def describe(record: PointRecord) -> str:
    """One line of a finished point."""
    if record.loss is None:
        return f"{record.name}: diverged, training loss {record.train_loss}"
    shown = [f"held-out loss {record.loss:.4f}"]
    shown += [f"{name} {task.bits_per_byte:.3f} bits a byte" for name, task in record.tasks.items()]
    shown += [f"{n} {a.correct / a.problems:.1%} right" for n, a in record.accuracies.items()]
    return f"{record.name}: {', '.join(shown)}; {duration(record.seconds)}"


def _prepare(ladder: Ladder, point: Point) -> None:
    """Write a point's overlay and draws; `InputError` when it was begun with other ones."""
    folder = point.folder(ladder)
    draws = reweight(ladder.mixture, dict(point.shares))
    head = f"# Written by pretrain.ladder: the run {point.name}.\n"
    text = head + yaml.safe_dump(point.overlay(ladder), sort_keys=False)
    path = folder / "overlay.yml"
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise InputError(
            f"{folder} was begun with another configuration; remove it, or name another folder in "
            "the ladder's key run"
        )
    folder.mkdir(exist_ok=True)
    draws.write(folder / MIXTURE_FILE)
    if not path.is_file():
        write_text(path, text)


class Commands:
    """The commands of one point: they share a log, and their times are summed."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log.txt"
        self.seconds = 0.0
        self.cpu_seconds = 0.0

    def __call__(self, module: str, *arguments: object) -> None:
        """Run ``python -m module``; `InputError` with the last line of the log when it fails."""
        ended = call([sys.executable, "-m", module, *map(str, arguments)], self.log)
        self.seconds += ended.seconds
        self.cpu_seconds += ended.cpu_seconds
        if ended.status:
            raise InputError(f"{module} failed: {last_line(self.log)} (log: {self.log})")


def _point(ladder: Ladder, point: Point, with_parity: bool) -> PointRecord:
    """Train, convert and measure one point, and write its record."""
    folder = point.folder(ladder)
    overlay, command = folder / "overlay.yml", Commands(folder)
    command("maxtext.train", overlay)
    train_loss, diverged = _training(folder / "pretrain", point)
    likelihood: Likelihood | None = None
    accuracies: dict[str, AnswerCount] = {}
    if not diverged:
        base = folder / "base"
        command(
            "conversion.to_hf",
            "--checkpoint", folder / "pretrain" / "checkpoints" / str(point.steps - 1),
            "--config", overlay, "--tokenizer", ladder.mixture / "tokenizer", "--output", base,
            # The mapping depends on the size alone: one proof for each size.
            *([] if with_parity else ["--skip-parity"]),
        )  # fmt: skip
        likelihood, accuracies = _measured(ladder, base, folder, command)
    sources = likelihood.sources if likelihood else {}
    record = PointRecord(
        name=point.name,
        group=point.group,  # type: ignore[arg-type]  # one of the three
        status="diverged" if diverged else "finished",
        size=point.size,
        parameters=point.model.parameters,
        matrices=point.model.matrices,
        tokens=point.tokens,
        steps=point.steps,
        batch_tokens=point.batch_tokens,
        rate=point.rate,
        weight_decay=point.weight_decay,
        seed=point.seed,
        weights=dict(point.shares),
        flops=point.flops,
        seconds=command.seconds,
        cpu_seconds=command.cpu_seconds,
        train_loss=train_loss if math.isfinite(train_loss) else None,
        loss=mean_loss(sources, recipe_shares(ladder)) if sources else None,
        sources=sources,
        tasks=likelihood.tasks if likelihood else {},
        accuracies=accuracies,
        provenance=provenance.record(),
    )
    record.write(folder / RECORD)
    return record


def _measured(
    ladder: Ladder, base: Path, folder: Path, command: Commands
) -> tuple[Likelihood, dict[str, AnswerCount]]:
    """The likelihoods and accuracies of a converted model."""
    tasks: list[str] = []
    for name, task in ladder.measure.tasks.items():
        data = f":{task.data}" if task.data else ""
        tasks += ["--task", f"{name}:{task.problems}{data}"]
    output = folder / "likelihood.json"
    command(
        "pretrain.ladder.likelihood", "--model", base, "--mixture", ladder.mixture,
        "--held-out-tokens", ladder.measure.held_out_tokens, *tasks, "--output", output,
    )  # fmt: skip
    accuracies: dict[str, AnswerCount] = {}
    for name, task in ladder.measure.tasks.items():
        if not task.answered:
            continue
        results = folder / "evaluation" / name
        data_argument: list[Any] = ["--data", task.data] if task.data else []
        command(
            "evaluation.run", "--model", base, "--task", name, *data_argument,
            "--limit", task.answered, "--form", "plain", "--output", results,
        )  # fmt: skip
        found = Results.load(results / "results.json")
        accuracies[name] = AnswerCount(correct=round(found.value * found.n), problems=found.n)
    return Likelihood.load(output), accuracies


def _training(run: Path, point: Point) -> tuple[float, bool]:
    """The mean of the last training losses, and whether the run diverged.

    It did when a loss is not finite, and when the last ones are above that of a uniform guess.
    """
    history = History(str(run))
    history.update()
    losses = history.series(LOSS).values
    if not len(losses):
        raise InputError(f"{run}: no training loss in its TensorBoard events")
    last = float(np.mean(losses[-max(1, point.steps // LAST) :]))
    return last, not (np.isfinite(losses).all() and last <= math.log(point.model.vocab))


def mean_loss(sources: dict[str, HeldOut], shares: dict[str, float]) -> float:
    """The held-out loss of a mixture in nats a token: its sources weighted by their shares."""
    return sum(share * sources[name].nats_per_token for name, share in shares.items())
