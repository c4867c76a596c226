"""The documents stage: every row of a source is read, and kept or rejected for a reason.

Its steps are datatrove's: each takes a stream of documents and passes all of them on. A document
to reject carries the reason, later steps leave it alone, and the last one stores both kinds.
"""

import hashlib
import json
from abc import abstractmethod
from collections import Counter
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from datatrove.data import Document

from data_prep import similarity
from data_prep.arrays import save_array
from data_prep.clean import is_unicode, normalise
from data_prep.contamination import index
from data_prep.filters import make
from data_prep.readers import read
from data_prep.stages.step import Documents, Step, running
from data_prep.string_store import StringStore
from data_prep.text_hashing import mix
from data_prep.work import Work
from tinymathreason.files import new_file, write_json
from tinymathreason.rows import Row

KEY = np.dtype([("key", "<u8"), ("row", "<u4")])
"""A key under which documents meet, and the row of the document in its task."""
ROWS_A_RUN = 1 << 17
"""Documents whose keys are sorted together."""
BYTES_A_GROUP = 1 << 23
"""Text of a row group of the stored documents."""
SAMPLE = 400
"""Characters of a rejected document that the report may show."""
BAD_INPUT = (
    "unreadable_file", "invalid_json", "missing_text", "missing_id", "not_text",
    "invalid_unicode", "empty",
)  # fmt: skip
"""Reasons that are the input's fault: ``on_bad_input`` decides what happens."""
SCHEMA = pyarrow.schema(
    [
        ("text", pyarrow.string()),
        ("number", pyarrow.int64()),
        ("file", pyarrow.dictionary(pyarrow.int32(), pyarrow.string())),
        ("row", pyarrow.int64()),
    ]
)
"""What is stored of a document: its text, how many were read before it, and where it stood."""


class Read(Step):
    """Read a task's part of its source."""

    name = "read"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Documents:
        """The rows as documents; what cannot be read is one with a reason, or an error."""
        recipe, task = self.work.recipe, self.work.tasks[rank]
        source = recipe.sources[task.source]
        rows = read(source, recipe.seed, task.files, task.part, task.parts)
        for number, row in enumerate(rows):
            place = {"number": number, "file": row.file, "row": row.number, "line": row.line}
            if row.reason is not None and recipe.on_bad_input == "fail":
                raise row.error
            text = row.values[0] if row.values else ""
            identity = row.values[1] if len(row.values) > 1 else f"{row.file}:{row.number}"
            yield Document(
                text, _whole(identity), metadata={**place, "reason": row.reason, "of": None}
            )


def _whole(text: str) -> str:
    """A text with question marks for its halves of characters."""
    return text.encode("utf-8", "replace").decode("utf-8")


class Judge(Step):
    """A step that may find a reason to reject a document that has none."""

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Documents:
        """Pass every document on."""
        self.prepare(rank)
        for document in data:
            if document.metadata["reason"] is None:
                document.metadata["reason"] = self.judge(document)
            yield document

    def prepare(self, rank: int) -> None:
        """Make what a task needs, once."""

    @abstractmethod
    def judge(self, document: Document) -> str | None:
        """The reason to reject ``document``, or None; may change its text."""


class Normalise(Judge):
    """Normalise the text; reject what is no Unicode, and what is empty then."""

    name = "normalise"

    def judge(self, document: Document) -> str | None:
        """See the class."""
        reason = "invalid_unicode"
        if not is_unicode(document.text):
            document.text = _whole(document.text)
        else:
            document.text = normalise(document.text)
            if document.text:
                return None
            reason = "empty"
        if self.work.recipe.on_bad_input == "fail":
            words = {"invalid_unicode": "holds half a character", "empty": "holds no text"}
            place = document.metadata
            raise Row(place["file"], place["row"], why=words[reason], line=place["line"]).error
        return reason


class Filter(Judge):
    """Apply the source's filters, in order."""

    name = "filter"

    def prepare(self, rank: int) -> None:
        """Make the filters of the task's source."""
        source = self.work.recipe.sources[self.work.tasks[rank].source]
        self.filters = [make(entry) for entry in source.filters]

    def judge(self, document: Document) -> str | None:
        """The reason of the first filter that has one."""
        return next((reason for f in self.filters if (reason := f(document.text))), None)


class Decontaminate(Judge):
    """Reject documents that contain a benchmark question.

    Before duplicates are looked for: no clean document makes way for one that goes itself.
    """

    name = "decontaminate"

    def prepare(self, rank: int) -> None:
        """Index the questions."""
        self.questions = index(tuple(self.work.questions))

    def judge(self, document: Document) -> str | None:
        """``contaminated``, with the question beside it."""
        document.metadata["of"] = self.questions.found_in(document.text)
        return None if document.metadata["of"] is None else "contaminated"


class Store(Step):
    """Store a task's kept documents, their fingerprints and keys, and a line for each rejected."""

    name = "store"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Documents:
        """Consume the documents; yields none."""
        work, task = self.work, self.work.tasks[rank]
        known = work.recipe.sources[task.source].id_field is not None
        rejected: Counter[str] = Counter()
        read = 0
        blocks: list[Any] = []
        ids: list[str] = []
        records: list[Any] = []
        keys: list[Any] = []
        with (
            running(work, "documents", rank, work.expected(task)) as progress,
            new_file(work.path("documents", rank, ".parquet")) as parquet,
            new_file(work.path("early", rank, ".jsonl")) as lines,
            lines.open("w", encoding="utf-8") as early,
            # Absolute: Arrow takes a relative ~ for someone's home.
            pyarrow.parquet.ParquetWriter(
                parquet.absolute(),
                SCHEMA,
                compression="zstd",
                compression_level=1,
                write_page_checksum=True,
            ) as writer,
        ):
            group = Group(writer)
            for document in data:
                read += 1
                place = document.metadata
                progress.add(1, len(document.text))
                if place["reason"] is not None:
                    rejected[place["reason"]] += 1
                    line = {"number": place["number"], "id": document.id}
                    line |= {"reason": place["reason"], "of": place["of"]}
                    early.write(json.dumps({**line, "text": document.text[:SAMPLE]}) + "\n")
                    continue
                record, found = _fingerprint(document, known, work.recipe.near_duplicates)
                keys.append(np.array([(k, len(ids)) for k in found.tolist()], dtype=KEY))
                records.append(record)
                ids.append(document.id)
                group.add(document.text, place)
                if len(keys) == ROWS_A_RUN:
                    self._save_keys(rank, len(blocks), keys)
                    blocks.append(np.array(records, dtype=similarity.RECORD))
                    records.clear()
            group.flush()
            if keys:
                self._save_keys(rank, len(blocks), keys)
            blocks.append(np.array(records, dtype=similarity.RECORD))
            save_array(work.path("fingerprints", rank, ".npy"), np.concatenate(blocks))
            StringStore.save(work.path("ids", rank, ".bin"), ids)
            counts = {"read": read, "rejected": dict(rejected)}
            write_json(work.path("counts", rank, ".json"), counts)
        yield from ()

    def _save_keys(self, rank: int, run: int, keys: list[Any]) -> None:
        array = np.concatenate(keys)
        array = array[np.argsort(array["key"], kind="stable")]
        save_array(self.work.path(f"keys/{rank:05}", run, ".npy"), array)
        keys.clear()


class Group:
    """Gathers documents into row groups of bounded size."""

    def __init__(self, writer: pyarrow.parquet.ParquetWriter) -> None:
        self._writer = writer
        self._columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
        self._size = 0

    def add(self, text: str, place: dict[str, Any]) -> None:
        """Append a document; writes the group when it is full."""
        self._columns["text"].append(text)
        for name in ("number", "file", "row"):
            self._columns[name].append(place[name])
        self._size += len(text)
        if self._size >= BYTES_A_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what is gathered."""
        if self._columns["text"]:
            self._writer.write_table(pyarrow.table(self._columns, schema=SCHEMA))
        for column in self._columns.values():
            column.clear()
        self._size = 0


def _fingerprint(document: Document, known: bool, near: bool) -> tuple[Any, Any]:
    """The record of a document and the keys under which it meets its like."""
    digest = hashlib.blake2b(document.text.encode("utf-8"), digest_size=16).digest()
    if near:
        record, found = similarity.fingerprint(document.text)
    else:
        record, found = np.zeros((), dtype=similarity.RECORD), np.zeros(0, dtype=np.uint64)
    record["digest"] = np.frombuffer(digest, dtype="<u8")
    special = [record["digest"][:1]]
    if known:
        digest = hashlib.blake2b(document.id.encode("utf-8"), digest_size=8).digest()
        identity = np.frombuffer(digest, dtype="<u8")
        record["id"] = identity[0]
        special.append(mix(identity ^ np.uint64(1)))  # of an array: of a scalar numpy would warn
    return record, np.concatenate([*special, found])


def pipeline(work: Work) -> list[Step]:
    """The steps of the documents stage."""
    steps = [Read(work), Normalise(work), Filter(work), Decontaminate(work), Store(work)]
    return [step for step in steps if work.questions or not isinstance(step, Decontaminate)]
