"""Token ids in; ArrayRecord files of serialised tf.train.Example out, as MaxText reads them."""

import heapq
import json
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from array_record.python import array_record_module
from maxtext.input_pipeline.protos import example_pb2

from data_prep.clean import is_held_out
from data_prep.stages.documents import SAMPLE
from data_prep.stages.duplicates import REASONS
from data_prep.stages.step import Documents, Step, running, stored
from data_prep.string_store import StringStore
from data_prep.tokenizer import Encoder
from data_prep.work import Work
from tinymathreason.chatml import EOS, SPECIAL_TOKENS
from tinymathreason.files import new_file, write_json
from tinymathreason.provenance import file_hash

COLUMN = "text"
"""Name of the one feature; MaxText's default for train_data_columns."""
SPLITS = ("train", "eval")
"""Training documents, and those held out for the evaluation loss."""
IDS_AT_ONCE = 1 << 16
"""Ids of a long document that are Python's integers together, at 36 bytes each."""
KEPT_SAMPLES = 2
"""Documents of a task that the report may show."""


def encode(ids: npt.NDArray[Any] | list[int]) -> bytes:
    """One document's token ids as a serialised Example with one int64 list."""
    example = example_pb2.Example()
    values = example.features.feature[COLUMN].int64_list.value
    for start in range(0, len(ids), IDS_AT_ONCE):
        values.extend(np.asarray(ids[start : start + IDS_AT_ONCE]).tolist())
    return bytes(example.SerializeToString(deterministic=True))


def decode(record: bytes) -> npt.NDArray[np.int64]:
    """The token ids of one record, int64[length]."""
    example = example_pb2.Example.FromString(record)
    return np.array(example.features.feature[COLUMN].int64_list.value, dtype=np.int64)


def writer(path: Path) -> Any:
    """A writer of one ArrayRecord file; close it, the file is unreadable before.

    One record a group: Grain reads at random, and a group is decompressed whole.
    """
    return array_record_module.ArrayRecordWriter(str(path), "group_size:1,zstd:1")


class WriteRecords(Step):
    """Tokenise what is left of a task, and write its records, its counts and its rejected."""

    name = "records"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Documents:
        """Write ``train`` and ``eval`` records of the task; yields no documents."""
        work, recipe = self.work, self.work.recipe
        decisions = {
            row: (kind, of)
            for row, kind, of in np.load(work.path("decisions", rank, ".npy")).tolist()
        }
        file = work.folder / "tokenizer" / "tokenizer.json"
        encoder = _encoder(file.parent, file.stat().st_mtime_ns)
        ids = StringStore(work.path("ids", rank, ".bin"))
        eos = SPECIAL_TOKENS.index(EOS)
        counts = {split: Counter[str]() for split in SPLITS}
        lengths: Counter[int] = Counter()
        late: list[dict[str, Any]] = []
        samples: list[str] = []
        size = 0
        stored_size = work.path("documents", rank, ".parquet").stat().st_size
        with running(work, "records", rank, stored_size) as progress:
            with (
                new_file(work.path("train", rank, ".array_record")) as train,
                new_file(work.path("eval", rank, ".array_record")) as held_out,
            ):
                writers = {"train": writer(train), "eval": writer(held_out)}
                row = 0
                for columns, share in _groups(work, rank, stored_size):
                    texts = []
                    for text, number in zip(columns["text"], columns["number"], strict=True):
                        if row in decisions:
                            line = {"number": number, "id": ids[row]}
                            line |= {**self._why(*decisions[row]), "text": text[:SAMPLE]}
                            late.append(line)
                        else:
                            texts.append(text)
                        row += 1
                    for text, tokens in zip(texts, encoder(texts), strict=True):
                        split = SPLITS[is_held_out(text, recipe.eval_fraction, recipe.seed)]
                        writers[split].write(encode(np.append(tokens, eos)))
                        length = len(tokens) + 1
                        counts[split].update(records=1, tokens=length)
                        lengths[length.bit_length() - 1] += 1
                        size += len(text.encode("utf-8"))
                    samples += [text[:SAMPLE] for text in texts[: KEPT_SAMPLES - len(samples)]]
                    progress.add(len(columns["text"]), sum(map(len, texts)), done=share)
                for each in writers.values():
                    each.close()
            rejected = self._rejected(rank, late)
            splits = {split: self._described(split, rank, counts[split]) for split in SPLITS}
            write_json(
                work.path("written", rank, ".json"),
                {
                    "splits": splits,
                    "bytes": size,
                    "lengths": {str(power): count for power, count in sorted(lengths.items())},
                    "rejected": rejected,
                    "samples": samples,
                },
            )
        yield from ()

    def _described(self, split: str, rank: int, counts: Counter[str]) -> dict[str, Any]:
        sha256 = file_hash(self.work.path(split, rank, ".array_record"))
        return {"records": counts["records"], "tokens": counts["tokens"], "sha256": sha256}

    def _why(self, kind: int, of: int) -> dict[str, Any]:
        task = self.work.tasks[of >> 32]
        kept = _ids(self.work.path("ids", task.number, ".bin"))[of & (2**32 - 1)]
        return {"reason": REASONS[kind], "of": kept, "of_source": task.source}

    def _rejected(self, rank: int, late: list[dict[str, Any]]) -> dict[str, int]:
        """Write all rejected documents of a task in the order they were read; count the reasons."""
        reasons: Counter[str] = Counter()
        with (
            self.work.path("early", rank, ".jsonl").open(encoding="utf-8") as early,
            new_file(self.work.path("rejected", rank, ".jsonl")) as path,
            path.open("w", encoding="utf-8") as lines,
        ):
            for line in heapq.merge(map(json.loads, early), late, key=lambda line: line["number"]):
                reasons[line["reason"]] += 1
                lines.write(json.dumps(line) + "\n")
        return dict(sorted(reasons.items()))


@lru_cache(maxsize=64)
def _ids(path: Path) -> StringStore:
    """The ids of a task's documents; few are kept open, as each is an open file."""
    return StringStore(path)


@lru_cache(maxsize=1)
def _encoder(folder: Path, changed: int) -> Encoder:
    """The encoder of a folder, loaded once in a process however many tasks it does."""
    return Encoder(folder)


def _groups(work: Work, task: int, size: int) -> Iterator[tuple[dict[str, list[Any]], int]]:
    """The stored documents, a row group at a time, and its part of the file's ``size``."""
    table = stored(work, task)
    count = table.num_row_groups
    for group in range(count):
        columns = table.read_row_group(group, columns=["text", "number"]).to_pydict()
        yield columns, size // count
