"""Command: join question sets into one clean, tokenised and masked set of chat examples.

python -m sft.prepare --config sft/configs/NAME.yaml [--sources.gsm8k.path FILE ...]
"""

import dataclasses
import itertools
import json
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft import command
from sft.settings import parse
from tinymathreason import cli, provenance
from tinymathreason.cli import InputError
from tinymathreason.files import new_directory
from tinymathreason.records.base import check_replaceable
from tinymathreason.records.examples import (
    ExampleCounts,
    ExampleData,
    ExampleInputs,
    ExamplesManifest,
    Selected,
)
from tinymathreason.records.mixture import Inputs
from tinymathreason.tables import text_table
from tinymathreason.writes import check_room

if TYPE_CHECKING:
    from sft.config import SftData
    from sft.examples import Example
    from sft.survey import Survey
    from tinymathreason.chat import Chat

FORM = 3
"""Version of the rules of preparation; examples made by an older version are stale."""
NOTES = ".survey"
"""End of the name of the folder in which `sft.survey` keeps what it knows of rows."""
REJECTED = "rejected.jsonl"
"""File with one line per rejected row: an `Example` with the reason."""


def prepare(
    data: "SftData", model: str, max_length: int | None, output: Path, revision: str = "main"
) -> Path:
    """The folder of the prepared examples, which is made again when it is missing or stale.

    Only the tokenizer of the ``model`` is needed. An example of more than ``max_length`` tokens, or
    of more than ``max_example_tokens``, is rejected, never cut. The folder (``data_dir``, or
    ``data`` under ``output``) has a parquet file for each split, the rejected rows, and a manifest
    in which read = kept + rejected for every source. The same inputs give the same examples in the
    same order.

    What was found out about the rows of a source with a selection is kept beside the folder until
    that is complete, for a start after an interruption.

    Raises `InputError` for unreadable input, and when a split is empty.
    """
    from data_prep.mixture import describe
    from sft.dataset import MANIFEST, SPLITS, manifest
    from sft.examples import select
    from sft.model import load_tokenizer
    from sft.survey import Survey
    from tinymathreason.chat import Chat
    from tinymathreason.listing import is_remote

    tokenizer = load_tokenizer(model, data.chat_template, revision, weights=False)
    folder = data.data_dir or output / "data"
    files = (*(f"{split}.parquet" for split in SPLITS), REJECTED)
    check_replaceable(folder, MANIFEST, ExamplesManifest, files)
    before = manifest(folder).inputs if folder.exists() else None
    max_length = min(filter(None, (max_length, data.max_example_tokens)), default=None)
    inputs = _inputs(data, tokenizer, max_length, before.files if before else {})
    if before:
        if not (why := _stale(folder, before, inputs)):
            return folder
        print(f"{folder}: prepared again: {why}", file=sys.stderr)
    check_room(folder)
    chat = Chat(tokenizer, tokenizer.chat_template)
    notes = folder.with_name(f"{folder.name}{NOTES}")
    survey = Survey(chat, max_length, data.data_seed, notes, inputs.model_dump_json())
    here = [file for file in inputs.files if not is_remote(file)]
    with new_directory(folder, replace=True, inputs=here) as aside:
        examples, rejected = select(data, survey.choose)
        counts = _write(aside, examples, rejected, survey, chat, data, max_length)
        ExamplesManifest(
            sources=counts,
            selected=survey.selected,
            inputs=inputs,
            files=[describe(aside, aside / name) for name in files],
            provenance=provenance.record(),
        ).write(aside / MANIFEST)
    shutil.rmtree(notes, ignore_errors=True)
    return folder


def _inputs(
    data: "SftData", tokenizer: Any, max_length: int | None, before: Inputs
) -> ExampleInputs:
    """What determines the examples: the configuration, the files, the tokenizer and the template.

    ``before`` are the inputs of the existing folder; they stand in for a remote place that cannot
    be reached.
    """
    from data_prep import inputs
    from sft.model import tokenizer_hash
    from tinymathreason.listing import UnreachableError, is_remote, list_files

    values = dataclasses.asdict(data)
    for name in ("data_dir", "accuracy", "chat_template"):
        del values[name]
    patterns = {f"sources.{name}.path": source.path for name, source in data.sources.items()}
    patterns |= {f"decontaminate.{k}.path": b.path for k, b in enumerate(data.decontaminate)}
    files: dict[str, Any] = {}
    for name, pattern in patterns.items():
        try:
            files |= inputs.described(list_files(name, pattern) if pattern else [])
        except UnreachableError:
            files |= {file: entry for file, entry in before.items() if is_remote(file)}
            if not any(map(is_remote, files)):
                raise
    return ExampleInputs(
        form=FORM,
        data=ExampleData(**values),
        files=files,
        tokenizer=tokenizer_hash(tokenizer),
        max_length=max_length,
    )


def _stale(folder: Path, before: ExampleInputs, inputs: ExampleInputs) -> str:
    """Why a prepared folder must be made again; empty when it need not."""
    from data_prep.inputs import changes
    from sft.dataset import damage

    if changed := changes(before.files, inputs.files):
        return changed
    # `changes` compared the files, and ignores what a remote place did not report.
    if before.model_copy(update={"files": inputs.files}) != inputs:
        return "the configuration, the tokenizer or the template has changed"
    return damage(folder)


def _write(
    folder: Path,
    examples: list["Example"],
    rejected: list["Example"],
    survey: "Survey",
    chat: "Chat",
    data: "SftData",
    max_length: int | None,
) -> dict[str, ExampleCounts]:
    """Write the splits and the rejected rows; returns the counts by source."""
    import pyarrow
    import pyarrow.parquet
    from tqdm import tqdm

    from data_prep.clean import is_held_out
    from sft.dataset import SCHEMA, SPLITS
    from sft.encoding import BATCH, encode

    kept = {name: Counter[str]() for name in data.sources}
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(
                pyarrow.parquet.ParquetWriter(
                    folder.absolute() / f"{split}.parquet",
                    SCHEMA,
                    compression="zstd",
                    write_page_checksum=True,
                )
            )
            for split in SPLITS
        }
        progress = stack.enter_context(tqdm(total=len(examples), desc="tokens", unit=" examples"))
        for batch in itertools.batched(examples, BATCH):
            columns: dict[str, dict[str, list[Any]]] = {
                split: {name: [] for name in SCHEMA.names} for split in SPLITS
            }
            turns = [data.sources[example.source].turns for example in batch]
            for example, encoded in zip(batch, encode(chat, batch, turns, max_length), strict=True):
                if encoded is None:
                    rejected.append(example)
                    continue
                split = SPLITS[is_held_out(example.group, data.eval_fraction, data.data_seed)]
                row = (encoded.ids, encoded.labels, example.messages, example.source)
                for name, value in zip(SCHEMA.names, row, strict=True):
                    columns[split][name].append(value)
                kept[example.source].update({split: 1, "tokens": len(encoded.ids)})
            for split, writer in writers.items():
                writer.write_table(pyarrow.table(columns[split], schema=SCHEMA))
            progress.update(len(batch))
    reasons = {name: Counter(survey.rejected[name]) for name in data.sources}
    with (folder / REJECTED).open("w", encoding="utf-8") as lines:
        for example in rejected:
            reasons[example.source][str(example.reason)] += 1
            lines.write(json.dumps(dataclasses.asdict(example)) + "\n")
        survey.write_rejected(lines)
    counts = {}
    for name in data.sources:
        total = kept[name]["train"] + kept[name]["eval"]
        counts[name] = ExampleCounts(
            read=total + reasons[name].total(),
            kept=total,
            rejected=dict(sorted(reasons[name].items())),
            train=kept[name]["train"],
            eval=kept[name]["eval"],
            tokens=kept[name]["tokens"],
        )
    _check(counts, rejected)
    return counts


def _check(counts: dict[str, ExampleCounts], rejected: Sequence["Example"]) -> None:
    """Raise `InputError` when a source gives nothing, or a split is empty."""
    for name, entry in counts.items():
        # All of a source may be contained in earlier ones.
        elsewhere = sum(n for why, n in entry.rejected.items() if "duplicate" in why)
        if not entry.kept and not elsewhere:
            words = (example.why for example in rejected if example.source == name and example.why)
            why = next(words, "")
            raise InputError(
                f"sources.{name}: no example is left: {_reasons(entry)}{why and f'; {why}'}"
            )
    train = sum(entry.train for entry in counts.values())
    held_out = sum(entry.eval for entry in counts.values())
    if not train or not held_out:
        raise InputError(
            f"sources: {train} examples to train on, {held_out} held out; "
            "both are needed: add examples or change eval_fraction"
        )


def _reasons(entry: ExampleCounts) -> str:
    reasons = ", ".join(f"{count:,} {why}" for why, count in entry.rejected.items())
    return f"{entry.read:,} read, {reasons or 'none rejected'}"


def summary(counts: dict[str, ExampleCounts]) -> str:
    """A table for a user: the rows of every source that were kept and rejected."""
    rows = []
    for name, entry in counts.items():
        reasons = ", ".join(f"{count:,} {why}" for why, count in entry.rejected.items())
        numbers = (f"{number:,}" for number in (entry.read, entry.kept, entry.tokens))
        rows.append([name, *numbers, reasons or "none"])
    return text_table(["source", "read", "kept", "tokens", "rejected"], rows)


def selection_summary(selected: dict[str, Selected]) -> str:
    """A table for a user: the levels of every source with a selection, by class of difficulty."""
    rows = []
    for name, record in selected.items():
        for stratum in record.strata:
            numbers = (stratum.difficulty, stratum.longest, stratum.candidates, stratum.chosen)
            rows.append([name, stratum.level or "all", *(f"{number:,}" for number in numbers)])
    head = ["source", "level", "difficulty", "longest answer", "examples", "chosen"]
    return text_table(head, rows)


def main(argv: Sequence[str]) -> None:
    """Parse the command line, prepare the examples and print their counts."""
    description = "Join question sets into one clean, tokenised and masked set of examples."
    path, rest = command.command_line(
        argv, "sft.prepare", description, "sources.gsm8k.path=FILE", "SFTConfig"
    )

    from sft.config import SftData
    from sft.dataset import manifest

    # The configuration may be for a GPU that this machine does not have.
    settings = parse(path, [*rest, "--use_cpu", "true"], SftData)
    model, length = settings.model, settings.training.max_length
    folder = prepare(
        settings.data, model.model_name_or_path, length, settings.output, model.model_revision
    )
    record = manifest(folder)
    print(summary(record.sources))
    if record.selected:
        print(selection_summary(record.selected))
    print(f"{folder} is ready")


if __name__ == "__main__":
    cli.run(main)
