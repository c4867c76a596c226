"""The records stage: tokenise documents and write ArrayRecord files, as MaxText reads them."""

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

from data_prep import encoding
from data_prep.clean import is_held_out
from data_prep.stages import artifacts
from data_prep.stages.artifacts import (
    COLUMN,
    Encoding,
    RecordCounts,
    RecordFile,
    RejectedDocument,
    Removed,
)
from data_prep.stages.documents import SAMPLE
from data_prep.stages.duplicates import REASONS
from data_prep.stages.step import Documents, Step, running, stored_documents
from data_prep.string_store import StringStore
from data_prep.work import Work
from tinymathreason.files import new_file, read_json, write_json
from tinymathreason.provenance import file_hash

SPLITS = {"train": artifacts.TRAIN, "eval": artifacts.EVAL}
"""Training documents, and those held out for the evaluation loss."""
IDS_PER_BATCH = 1 << 16
"""Token ids that are Python integers at the same time, at 36 bytes each."""
SAMPLES = 2
"""Documents of a task that the report may show."""


def encode(ids: npt.NDArray[Any] | list[int]) -> bytes:
    """One document's token ids as a serialised tf.train.Example with one int64 list."""
    example = example_pb2.Example()
    values = example.features.feature[COLUMN].int64_list.value
    for start in range(0, len(ids), IDS_PER_BATCH):
        values.extend(np.asarray(ids[start : start + IDS_PER_BATCH]).tolist())
    return bytes(example.SerializeToString(deterministic=True))


def decode(record: bytes) -> npt.NDArray[np.int64]:
    """The token ids of one record, int64[length]."""
    example = example_pb2.Example.FromString(record)
    return np.array(example.features.feature[COLUMN].int64_list.value, dtype=np.int64)


def writer(path: Path) -> Any:
    """A writer of one ArrayRecord file, which is unreadable until the writer is closed.

    One record per group, since Grain reads at random and decompresses whole groups.
    """
    return array_record_module.ArrayRecordWriter(str(path), "group_size:1,zstd:1")


class WriteRecords(Step):
    """Tokenise a task's remaining documents; write their records, counts and all rejected ones."""

    name = "records"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Documents:
        """Write the records of both splits; yields no documents."""
        work, recipe = self.work, self.work.recipe
        decisions = {
            row: (kind, duplicate_of)
            for row, kind, duplicate_of in np.load(
                work.path(artifacts.DECISIONS, part=rank)
            ).tolist()
        }
        tokenizer = work.path(artifacts.TOKENIZER)
        chosen: Encoding = read_json(work.path(artifacts.ENCODING))
        encoder = _encoder(tokenizer.parent, tokenizer.stat().st_mtime_ns, chosen["library"])
        ids = StringStore(work.path(artifacts.IDS, rank))
        counts = {split: Counter[str]() for split in SPLITS}
        lengths: Counter[int] = Counter()
        duplicates: list[RejectedDocument] = []
        removed: dict[str, Removed] = {}
        samples: list[str] = []
        size = 0
        stored_size = work.path(artifacts.DOCUMENTS, rank).stat().st_size
        with running(work, "records", rank, stored_size) as progress:
            with (
                new_file(work.path(artifacts.TRAIN, rank)) as train,
                new_file(work.path(artifacts.EVAL, rank)) as held_out,
            ):
                writers = {"train": writer(train), "eval": writer(held_out)}
                first = 0
                for columns, share in _row_groups(work, rank, stored_size):
                    texts = []
                    rows = zip(
                        columns["text"], columns["number"], encoder(columns["text"]), strict=True
                    )
                    for row, (text, number, tokens) in enumerate(rows, first):
                        document = np.concatenate((chosen["begin"], tokens, [chosen["end"]]))
                        length = len(document)
                        if row in decisions:
                            line = self._duplicate(*decisions[row], number, ids[row], text)
                            duplicates.append(line)
                            of = line["duplicate_of_source"]
                            count = removed.setdefault(of, {"documents": 0, "tokens": 0})
                            count["documents"] += 1
                            count["tokens"] += length
                            continue
                        texts.append(text)
                        is_eval = is_held_out(text, recipe.eval_fraction, recipe.seed)
                        split = "eval" if is_eval else "train"
                        writers[split].write(encode(document.astype(np.int64)))
                        counts[split].update(records=1, tokens=length)
                        lengths[length.bit_length() - 1] += 1
                        size += len(text.encode("utf-8"))
                    first += len(columns["text"])
                    samples += [text[:SAMPLE] for text in texts[: SAMPLES - len(samples)]]
                    progress.add(len(columns["text"]), sum(map(len, texts)), done=share)
                for each in writers.values():
                    each.close()
            record_counts: RecordCounts = {
                "splits": {
                    split: self._record_file(split, rank, counts[split]) for split in SPLITS
                },
                "bytes": size,
                "lengths": {str(power): count for power, count in sorted(lengths.items())},
                "rejected": self._write_rejected(rank, duplicates),
                "duplicates": removed,
                "samples": samples,
            }
            write_json(work.path(artifacts.RECORD_COUNTS, rank), record_counts)
        yield from ()

    def _record_file(self, split: str, rank: int, counts: Counter[str]) -> RecordFile:
        sha256 = file_hash(self.work.path(SPLITS[split], rank))
        return {"records": counts["records"], "tokens": counts["tokens"], "sha256": sha256}

    def _duplicate(
        self, kind: int, duplicate_of: int, number: int, identity: str, text: str
    ) -> RejectedDocument:
        """The line of a document that is a duplicate of the one numbered ``duplicate_of``."""
        task = self.work.tasks[duplicate_of >> 32]
        kept = _ids(self.work.path(artifacts.IDS, task.number))[duplicate_of & (2**32 - 1)]
        return {
            "number": number,
            "id": identity,
            "reason": REASONS[kind],
            "duplicate_of": kept,
            "duplicate_of_source": task.source,
            "text": text[:SAMPLE],
        }

    def _write_rejected(self, rank: int, duplicates: list[RejectedDocument]) -> dict[str, int]:
        """Write all rejected documents of a task in the order they were read; count the reasons."""
        reasons: Counter[str] = Counter()
        with (
            self.work.path(artifacts.REJECTED_EARLY, rank).open(encoding="utf-8") as early,
            new_file(self.work.path(artifacts.REJECTED, rank)) as path,
            path.open("w", encoding="utf-8") as lines,
        ):
            all_lines = heapq.merge(
                map(json.loads, early), duplicates, key=lambda line: line["number"]
            )
            for line in all_lines:
                reasons[line["reason"]] += 1
                lines.write(json.dumps(line) + "\n")
        return dict(sorted(reasons.items()))


@lru_cache(maxsize=64)
def _ids(path: Path) -> StringStore:
    """The ids of a task's documents; only a few stores are kept, as each is an open file."""
    return StringStore(path)


@lru_cache(maxsize=1)
def _encoder(folder: Path, changed: int, library: str) -> encoding.Encode:
    """The encoder of a folder, loaded once per process; ``changed`` is its tokenizer's time."""
    return encoding.encoder(folder, library)


def _row_groups(work: Work, task: int, size: int) -> Iterator[tuple[dict[str, list[Any]], int]]:
    """The stored documents by row groups, each with its part of the file's ``size``."""
    table = stored_documents(work, task)
    count = table.num_row_groups
    for group in range(count):
        columns = table.read_row_group(group, columns=["text", "number"]).to_pydict()
        yield columns, size // count
