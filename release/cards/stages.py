"""The records of a run in; what each stage took, how to run it again, and the proof, out."""

import datetime
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from release.cards.facts import (
    METHODS,
    Facts,
    Places,
    Record,
    last_start,
    listed,
    say,
    share,
)
from release.lineage import lineage
from release.markdown import escape
from tinymathreason.files import whole
from tinymathreason.tables import markdown_table

PACKAGES = ("python", "maxtext", "jax", "torch", "transformers", "trl")


def parity(facts: Facts, places: Places) -> str | None:
    """How equal the converted model's logits are."""
    record = facts.record(places.base / "conversion.json")
    if record.value is not None and not record.maybe("parity"):
        facts.lack("parity", f"{record.name} has none: the conversion was not proven")
        return None
    take = record.under("parity").take
    return listed(
        say(
            "largest difference of two logits {:.1e}, where the largest logit is {:.1f}",
            take("largest difference of logits", "max_abs_diff"),
            take("largest logit", "scale"),
        ),
        say("mean KL divergence {:.1e} nats", take("mean KL divergence", "mean_kl")),
        say(
            "the same most likely token at {} of {:,} positions",
            share(take("agreement of the most likely token", "argmax_agreement")),
            take("positions compared", "positions"),
        ),
        between="; ",
    )


def stages(facts: Facts, places: Places, shown: list[list[str]]) -> dict[str, Any]:
    """What each stage took and was run by; without stages, the commands of the records.

    Trainings of other models are left out, and evaluations whose command is not ``shown``.
    """
    found = sorted(
        (facts.record(path) for path in whole(places.stages, "*.json")),
        key=lambda record: str((record.maybe("attempts") or [{}])[0].get("started", record.name)),
    )
    if not found:
        facts.lack("seconds and memory of the stages", f"{places.stages}: no record there")
    own = list(_own_records(facts, places))
    ours = [record.maybe("command", kind=list) for record in own]
    rows, commands, commits, seconds = [], [], [], []
    for record in found:
        name = Path(record.name).stem
        if _of_another_model(record.maybe("command", kind=str) or "", [*ours, *shown]):
            continue
        if record.maybe("finished") is not True:
            facts.lack(f"stage {name}", f"{record.name}: not finished")
            continue
        took = record.take(f"seconds of {name}", "seconds")
        peak = record.take(f"memory of {name}", "peak_bytes")
        seconds += [] if took is None else [took]
        rows.append([escape(name), say("{:,.0f}", took), say("{:.2f}", peak and peak / 2**30)])
        commands.append(record.take(f"command of {name}", "command", kind=str))
        commits.append(record.maybe("commit"))
    if len(rows) > 1 and len(seconds) == len(rows):
        rows.append(["in total", say("{:,.0f}", sum(seconds)), None])
    if not commands:
        commands = [shlex.join(str(word) for word in words) for words in [*ours, *shown] if words]
        commits = [record.maybe("commit") for record in own]
    return {
        "table": markdown_table(["stage", "seconds", "peak GiB"], rows),
        "commands": "\n".join(command for command in commands if command),
        "commits": sorted({escape(commit) for commit in commits if isinstance(commit, str)}),
    }


def _own_records(facts: Facts, places: Places) -> Iterator[Record]:
    """What the stages wrote of themselves."""
    yield facts.record(places.mixture / "manifest.json")
    yield last_start(facts, places)
    yield facts.record(places.base / "conversion.json")
    for folder in reversed(list(lineage(places.model))):
        yield from (facts.record(folder / name) for name in METHODS if (folder / name).is_file())


def _of_another_model(command: str, ours: list[list[str] | None]) -> bool:
    """Whether a stage's command is a tuning or an evaluation that no record of ours names."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quotation mark without its partner
        words = command.split()
    module = words[2] if words[1:2] == ["-m"] else ""
    return module.startswith(("sft.", "evaluation.")) and words not in ours


def chip_hours(facts: Facts, places: Places) -> str | None:
    """An estimate from the starts of pretraining that have an end; None on CPU."""
    record = facts.record(places.pretrain / "provenance.json")
    figure = "chip-hours of pretraining"
    hours, open_ends = 0.0, 0
    for number, entry in enumerate(record.take(figure, "starts", kind=list) or []):
        start = Record(facts, f"{record.name} starts.{number}", entry)
        devices = start.take(figure, "devices")
        if devices is None or start.take(figure, "device", kind=str) in (None, "cpu"):
            return None
        if start.maybe("end") is None:
            open_ends += 1
            continue
        times = [start.take(figure, key, kind=str) for key in ("start", "end")]
        if None in times:
            return None
        began, ended = (datetime.datetime.fromisoformat(time) for time in times)
        hours += devices * (ended - began).total_seconds() / 3600
    if not hours:
        return None
    return listed(
        say("Estimated: {:,.3g} chip-hours of pretraining.", hours),
        "Assumed is that all devices were held from the beginning to the end of each start.",
        say("Not counted: {:,} starts without a recorded end.", open_ends or None),
        between=" ",
    )


def versions(facts: Facts, places: Places) -> str | None:
    """Of the packages, by the record of the last stage that made the weights."""
    record = facts.record(places.model / (places.tuning or "conversion.json"))
    found = record.take("versions", "versions", kind=dict) or {}
    return listed(*(say("{} {}", name, found.get(name)) for name in PACKAGES))


def year(facts: Facts, places: Places) -> str | None:
    """In which the last stage that made the weights ended."""
    record = facts.record(places.model / (places.tuning or "conversion.json"))
    time = record.take("year", "time", kind=str)
    return None if time is None else str(time)[:4]
