"""The publish stage: assemble the files of all tasks into a mixture, check it, and publish it."""

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

from data_prep import inputs, mixture, report, tfds_folder, tokenizer
from data_prep.classifier import Classifier
from data_prep.reweight import draws, training_shards
from data_prep.stages import artifacts
from data_prep.stages.artifacts import DocumentCounts, RecordCounts, RejectedDocument
from data_prep.stages.records import SPLITS
from data_prep.stages.step import Documents, Step, running
from data_prep.work import Work
from tinymathreason import provenance
from tinymathreason.cli import InputError
from tinymathreason.files import new_directory, read_json
from tinymathreason.records import mixture as records
from tinymathreason.records.mixture import Draw, Draws, Mixture, Shard, SourceRecord

SAMPLES = 3
"""Documents that the report shows of each source: kept ones, and rejected ones by reason."""


class Publish(Step):
    """Assemble the mixture in a temporary folder, and rename it."""

    name = "publish"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Documents:
        """Write ``recipe.output_dir``; yields no documents."""
        work = self.work
        with running(work, "publish", rank, len(work.recipe.sources)) as progress:
            publish(work, progress)
        yield from ()


def publish(work: Work, progress: Any) -> None:
    """Write ``recipe.output_dir`` from the files of all stages.

    Raises `InputError` when a source has no document left for one of its splits, and
    `AssertionError` when a document was lost, which no input can cause.
    """
    recipe = work.recipe
    started = read_json(work.folder / "started.json")["time"]
    if unknown := inputs.check(recipe, work.inputs):
        raise InputError(f"{unknown}; run the same command again to continue")
    with new_directory(recipe.output_dir) as folder:
        sources, samples = {}, {}
        for name in recipe.sources:
            sources[name], samples[name] = _source(work, name, folder)
            progress.add(sources[name].documents.read, sources[name].bytes, done=1)
        shutil.copytree(work.path(artifacts.TOKENIZER).parent, folder / "tokenizer")
        classifiers = {}
        for number, name in enumerate(recipe.classifiers):
            path = folder / "classifiers" / f"{name}.safetensors"
            path.parent.mkdir(exist_ok=True)
            shutil.copyfile(work.path(artifacts.CLASSIFIERS, number), path)
            training = Classifier.load(path).training
            classifiers[name] = records.ClassifierRecord(**training)
        draws_by_source = {
            name: Draw(
                path=mixture.glob_of(recipe.output_dir, name),
                weight=draws(recipe.shares[name], sources[name]),
            )
            for name in sources
        }
        Draws(draws_by_source).write(folder / "mixture.json")
        shards = {shard.path for source in sources.values() for shard in source.shards}
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        manifest = Mixture(
            recipe=records.RecipeRecord(**recipe.plain()),
            inputs={path: tuple(state) for path, state in work.inputs.items()},
            sources=sources,
            files=[
                mixture.describe(folder, path)
                for path in files
                if path.relative_to(folder).as_posix() not in shards
            ],
            vocab_size=max(tokenizer.load(folder / "tokenizer").get_vocab().values()) + 1,
            encoding=records.EncodingRecord(**read_json(work.path(artifacts.ENCODING))),
            classifiers=classifiers,
            **_budget(work, sources),
            seconds=max(0.0, round(time.time() - started, 1)),
            provenance=provenance.record(),
        )
        report.write(folder, manifest, samples)
        manifest.write(folder / mixture.MANIFEST)


def _source(work: Work, name: str, folder: Path) -> tuple[SourceRecord, dict[str, Any]]:
    """Write one source's files; returns its manifest entry, and samples for the report."""
    tasks = work.tasks_of(name)
    record_counts: list[RecordCounts] = [
        read_json(work.path(artifacts.RECORD_COUNTS, task.number)) for task in tasks
    ]
    document_counts: list[DocumentCounts] = [
        read_json(work.path(artifacts.DOCUMENT_COUNTS, task.number)) for task in tasks
    ]
    (folder / name).mkdir()
    shards: list[Shard] = []
    for split, artifact in SPLITS.items():
        # Grain cannot open a file without records.
        files = [
            (task.number, counts["splits"][split])
            for task, counts in zip(tasks, record_counts, strict=True)
            if counts["splits"][split]["records"]
        ]
        if not files:
            raise InputError(
                f"sources.{name}: no document is left for its {split} split; "
                "change eval_fraction, or remove the source"
            )
        for number, (task_number, record_file) in enumerate(files):
            path = f"{name}/{split}-{number:05}-of-{len(files):05}.array_record"
            _link(work.path(artifact, task_number), folder / path)
            size = (folder / path).stat().st_size
            shards.append(Shard(path=path, bytes=size, **record_file))
    tfds_folder.describe(folder / name, name.replace("-", "_").replace(".", "_").lower())

    rejected: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    for counts in record_counts:
        rejected.update(counts["rejected"])
        lengths.update({int(power): count for power, count in counts["lengths"].items()})
    kept = sum(shard.records for shard in shards)
    read = sum(counts["read"] for counts in document_counts)
    rejected_samples = _write_rejected(work, name, folder / "rejected" / f"{name}.jsonl.zst")
    documents = records.Documents(read=read, kept=kept, rejected=dict(sorted(rejected.items())))
    if read != kept + rejected.total():
        raise AssertionError(f"sources.{name}: documents were lost: {documents}")
    entry = SourceRecord(
        documents=documents,
        bytes=sum(counts["bytes"] for counts in record_counts),
        tokens=sum(shard.tokens for shard in shards),
        duplicates=_duplicates(record_counts),
        lengths={str(power): count for power, count in sorted(lengths.items())},
        shards=shards,
    )
    kept_samples = [text for counts in record_counts for text in counts["samples"]][:SAMPLES]
    return entry, {"kept": kept_samples, "rejected": rejected_samples}


def _duplicates(counts: list[RecordCounts]) -> dict[str, records.Duplicates]:
    """What the tasks of a source removed as duplicates, by the source of those that stay."""
    removed: dict[str, Counter[str]] = {}
    for task in counts:
        for source, each in task["duplicates"].items():
            removed.setdefault(source, Counter()).update(each)
    return {source: records.Duplicates(**total) for source, total in sorted(removed.items())}


def _link(path: Path, final: Path) -> None:
    """Give a finished file a second name, or copy it where the file system has no hard links."""
    try:
        os.link(path, final)
    except OSError:
        shutil.copyfile(path, final)


def _write_rejected(work: Work, name: str, path: Path) -> dict[str, list[RejectedDocument]]:
    """Write the rejected documents of a source; returns a few for each reason."""
    samples: dict[str, list[RejectedDocument]] = {}
    path.parent.mkdir(exist_ok=True)
    with (
        path.open("wb") as stream,
        zstandard.ZstdCompressor(level=3).stream_writer(stream) as compressed,
        io.TextIOWrapper(compressed, encoding="utf-8") as lines,
    ):
        for line in _rejected(work, name):
            of_reason = samples.setdefault(line["reason"], [])
            if len(of_reason) < SAMPLES:
                of_reason.append(line)
            entry: dict[str, Any] = {
                "id": line["id"],
                "source": name,
                "reason": line["reason"],
            }
            why = ("question", "duplicate_of", "duplicate_of_source")
            entry |= {key: value for key, value in line.items() if key in why}
            lines.write(json.dumps(entry, ensure_ascii=False) + "\n")
    return dict(sorted(samples.items()))


def _rejected(work: Work, name: str) -> Iterator[RejectedDocument]:
    for task in work.tasks_of(name):
        with work.path(artifacts.REJECTED, task.number).open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _budget(work: Work, sources: dict[str, SourceRecord]) -> dict[str, Any]:
    """The manifest's fields about training: available tokens, budget, and passes over each source.

    Grain ends the whole mixture when one source has been read ``num_epoch`` times.
    """
    tokens = {
        name: sum(s.tokens for s in training_shards(source)) for name, source in sources.items()
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
