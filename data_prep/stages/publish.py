"""The publish stage: what the tasks wrote becomes a mixture, checked, under its final name."""

import io
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from data_prep import inputs, mixture, report, tfds_folder
from data_prep.reweight import draws, training_shards
from data_prep.stages.records import SPLITS
from data_prep.stages.step import Documents, Step, running
from data_prep.work import Work
from tinymathreason import provenance
from tinymathreason.cli import InputError
from tinymathreason.files import new_directory, read_json, write_json

SAMPLES = 3
"""Documents of each kind that the report shows."""


class Publish(Step):
    """Put the mixture together in a folder aside, and rename it."""

    name = "publish"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Documents:
        """Write ``recipe.output_dir``; yields no documents."""
        work = self.work
        with running(work, "publish", rank, len(work.recipe.sources)) as progress:
            publish(work, progress)
        yield from ()


def publish(work: Work, progress: Any) -> None:
    """Write ``recipe.output_dir`` from the finished tasks of all stages.

    Raises `InputError` when a source has no document left for one of its splits, and
    `AssertionError` when a document was lost, which no input can cause.
    """
    recipe = work.recipe
    started = read_json(work.folder / "started.json")["time"]
    if told := inputs.check(recipe, work.inputs):
        raise InputError(f"{told}; the same command goes on")
    with new_directory(recipe.output_dir) as folder:
        sources, samples = {}, {}
        for name in recipe.sources:
            sources[name], samples[name] = _source(work, name, folder)
            progress.add(sources[name]["documents"]["read"], sources[name]["bytes"], done=1)
        shutil.copytree(work.folder / "tokenizer", folder / "tokenizer")
        manifest = {
            "recipe": recipe.plain(),
            "inputs": work.inputs,
            "sources": sources,
            "vocab_size": _vocabulary(folder / "tokenizer"),
            **_budget(work, sources),
            "seconds": round(time.time() - started, 1),
            **provenance.record().model_dump(),
        }
        drawn = {
            name: {
                "path": mixture.glob_of(recipe.output_dir, name),
                "weight": draws(recipe.shares[name], sources[name]),
            }
            for name in sources
        }
        write_json(folder / "mixture.json", drawn)
        of_shards = {shard["path"] for shard in mixture.shards(manifest)}
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        manifest["files"] = [
            mixture.describe(folder, path)
            for path in files
            if path.relative_to(folder).as_posix() not in of_shards
        ]
        report.write(folder, manifest, samples)
        write_json(folder / mixture.MANIFEST, manifest)


def _source(work: Work, name: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Place one source's shards and its rejected; its manifest entry and samples for the report."""
    tasks = work.of(name)
    written = [read_json(work.path("written", task.number, ".json")) for task in tasks]
    counts = [read_json(work.path("counts", task.number, ".json")) for task in tasks]
    (folder / name).mkdir()
    shards = []
    for split in SPLITS:
        # Grain cannot open a file without records.
        full = [
            (task.number, entry["splits"][split])
            for task, entry in zip(tasks, written, strict=True)
            if entry["splits"][split]["records"]
        ]
        if not full:
            raise InputError(
                f"sources.{name}: no document is left for its {split} split; "
                "change eval_fraction, or remove the source"
            )
        for number, (task_number, entry) in enumerate(full):
            path = f"{name}/{split}-{number:05}-of-{len(full):05}.array_record"
            _place(work.path(split, task_number, ".array_record"), folder / path)
            shards.append({"path": path, "bytes": (folder / path).stat().st_size, **entry})
    tfds_folder.describe(folder / name, name.replace("-", "_").replace(".", "_").lower())

    rejected: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    for entry in written:
        rejected.update(entry["rejected"])
        lengths.update({int(power): count for power, count in entry["lengths"].items()})
    kept = sum(shard["records"] for shard in shards)
    read = sum(count["read"] for count in counts)
    shown = _write_rejected(work, name, folder / "rejected" / f"{name}.jsonl.zst")
    documents = {"read": read, "kept": kept, "rejected": dict(sorted(rejected.items()))}
    if read != kept + rejected.total():
        raise AssertionError(f"sources.{name}: documents were lost: {documents}")
    found = {
        "documents": documents,
        "bytes": sum(entry["bytes"] for entry in written),
        "tokens": sum(shard["tokens"] for shard in shards),
        "lengths": {str(power): count for power, count in sorted(lengths.items())},
        "shards": shards,
    }
    kept_samples = [text for entry in written for text in entry["samples"]][:SAMPLES]
    return found, {"kept": kept_samples, "rejected": shown}


def _place(path: Path, final: Path) -> None:
    """Give a finished file its second name; a copy where the file system has no links."""
    try:
        os.link(path, final)
    except OSError:
        shutil.copyfile(path, final)


def _write_rejected(work: Work, name: str, path: Path) -> dict[str, list[dict[str, Any]]]:
    """Write the rejected documents of a source; returns a few of each reason, with their text."""
    shown: dict[str, list[dict[str, Any]]] = {}
    path.parent.mkdir(exist_ok=True)
    with (
        path.open("wb") as stream,
        zstandard.ZstdCompressor(level=3).stream_writer(stream) as compressed,
        io.TextIOWrapper(compressed, encoding="utf-8") as lines,
    ):
        for line in _rejected(work, name):
            text, _ = line.pop("text"), line.pop("number")
            of_reason = shown.setdefault(line["reason"], [])
            if len(of_reason) < SAMPLES:
                of_reason.append({**line, "text": text})
            entry = {"id": line["id"], "source": name, "reason": line["reason"]}
            for key in ("of", "of_source"):
                if line.get(key) is not None:
                    entry[key] = line[key]
            lines.write(json.dumps(entry, ensure_ascii=False) + "\n")
    return dict(sorted(shown.items()))


def _rejected(work: Work, name: str) -> Iterator[dict[str, Any]]:
    for task in work.of(name):
        with work.path("rejected", task.number, ".jsonl").open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _vocabulary(folder: Path) -> int:
    from data_prep import tokenizer

    return int(tokenizer.load(folder).get_vocab_size())


def _budget(work: Work, sources: dict[str, Any]) -> dict[str, Any]:
    """What the training may draw: tokens until a source ends, passes over each for the budget.

    Grain ends the whole mixture when one source has been read ``num_epoch`` times.
    """
    tokens = {
        name: sum(s["tokens"] for s in training_shards(source)) for name, source in sources.items()
    }
    shares = work.recipe.shares
    once = min(int(tokens[name] / shares[name]) for name in sources)
    budget = work.recipe.token_budget or once
    epochs = {name: budget * shares[name] / tokens[name] for name in sources}
    return {
        "tokens": sum(tokens.values()),
        "sequences": sum(tokens.values()) // work.recipe.sequence_length,
        "tokens_until_a_source_ends": once,
        "token_budget": budget,
        "epochs": {name: round(value, 4) for name, value in epochs.items()},
        "num_epoch": max(1, max(-(-round(1e6 * value) // 10**6) for value in epochs.values())),
    }
