"""The documents stage: read every row of a source, and keep or reject it for a reason.

Its steps are datatrove's: each takes a stream of documents and passes all of them on. A rejected
document carries its reason, later steps leave it alone, and the last one stores both kinds.
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
from data_prep.classifier import Classifier
from data_prep.clean import is_unicode, normalise
from data_prep.contamination import index
from data_prep.filters import classifier_of, make
from data_prep.readers import read
from data_prep.stages import artifacts, classifiers
from data_prep.stages.artifacts import DocumentCounts, RejectedDocument
from data_prep.stages.step import Documents, Step, running
from data_prep.string_store import StringStore
from data_prep.text_hashing import mix
from data_prep.work import Work
from tinymathreason.files import new_file, write_json
from tinymathreason.rows import Row

DOCUMENTS_PER_RUN = 1 << 17
"""Documents whose keys are sorted together."""
BYTES_PER_GROUP = 1 << 23
"""Text in a row group of the stored documents."""
SAMPLE = 400
"""Characters of a rejected document that the report may show."""


class Read(Step):
    """Read a task's part of its source."""

    name = "read"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Documents:
        """The rows as documents; an unreadable row is one with a reason, or an `InputError`."""
        recipe, task = self.work.recipe, self.work.tasks[rank]
        source = recipe.sources[task.source]
        rows = read(source, recipe.seed, task.files, task.part, task.parts)
        for number, row in enumerate(rows):
            if row.reason is not None and recipe.on_bad_input == "fail":
                raise row.error
            text = row.values[0] if row.values else ""
            identity = row.values[1] if len(row.values) > 1 else f"{row.file}:{row.number}"
            metadata = {
                "number": number,
                "file": row.file,
                "row": row.number,
                "line": row.line,
                "reason": row.reason,
                "question": None,
            }
            yield Document(text, _without_surrogates(identity), metadata=metadata)


def _without_surrogates(text: str) -> str:
    """A text with question marks in place of unpaired surrogates, which UTF-8 cannot encode."""
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
        """Build what a task needs, once."""

    @abstractmethod
    def judge(self, document: Document) -> str | None:
        """The reason to reject ``document``, or None; may change its text."""


class Normalise(Judge):
    """Normalise the text; reject invalid Unicode, and texts that are empty afterwards."""

    name = "normalise"

    def judge(self, document: Document) -> str | None:
        """``invalid_unicode``, ``empty`` or None; an `InputError` if bad input is to fail."""
        reason = "invalid_unicode"
        if not is_unicode(document.text):
            document.text = _without_surrogates(document.text)
        else:
            document.text = normalise(document.text)
            if document.text:
                return None
            reason = "empty"
        if self.work.recipe.on_bad_input == "fail":
            words = {"invalid_unicode": "has an unpaired surrogate", "empty": "is empty"}
            place = document.metadata
            raise Row(place["file"], place["row"], why=words[reason], line=place["line"]).error
        return reason


class Filter(Judge):
    """Apply the source's filters, in order."""

    name = "filter"

    def __init__(self, work: Work, planning: bool = False) -> None:
        super().__init__(work)
        self.planning = planning

    def prepare(self, rank: int) -> None:
        """Build the filters of the task's source; a plan has no trained classifiers yet."""
        source = self.work.recipe.sources[self.work.tasks[rank].source]
        needed = {name for entry in source.filters if (name := classifier_of(entry))}
        if self.planning:
            loaded = dict.fromkeys(needed, Classifier.untrained())
        else:
            loaded = {name: classifiers.load(self.work, name) for name in needed}
        self.filters = [make(entry, loaded) for entry in source.filters]

    def judge(self, document: Document) -> str | None:
        """The reason of the first filter that has one."""
        return next((reason for f in self.filters if (reason := f(document.text))), None)


class Decontaminate(Judge):
    """Reject documents that contain a benchmark question.

    This happens before duplicates are searched, so that no clean document is rejected in favour of
    a contaminated one.
    """

    name = "decontaminate"

    def prepare(self, rank: int) -> None:
        """Index the questions."""
        self.questions = index(tuple(self.work.questions))

    def judge(self, document: Document) -> str | None:
        """``contaminated``, with the question in the document's metadata."""
        document.metadata["question"] = self.questions.found_in(document.text)
        return None if document.metadata["question"] is None else "contaminated"


class Store(Step):
    """Store the kept documents with their fingerprints and keys, and the rejected ones."""

    name = "store"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Documents:
        """Consume the documents; yields none."""
        work, task = self.work, self.work.tasks[rank]
        has_ids = work.recipe.sources[task.source].id_field is not None
        rejected: Counter[str] = Counter()
        read = 0
        blocks: list[Any] = []
        ids: list[str] = []
        fingerprints: list[Any] = []
        keys: list[Any] = []
        with (
            running(work, "documents", rank, work.expected_bytes(task)) as progress,
            new_file(work.path(artifacts.DOCUMENTS, rank)) as parquet,
            new_file(work.path(artifacts.REJECTED_EARLY, rank)) as lines,
            lines.open("w", encoding="utf-8") as rejected_lines,
            # Absolute, since Arrow takes a relative ~ for someone's home.
            pyarrow.parquet.ParquetWriter(
                parquet.absolute(),
                artifacts.DOCUMENTS.columns,
                compression="zstd",
                compression_level=1,
                write_page_checksum=True,
            ) as writer,
        ):
            group = RowGroup(writer)
            for document in data:
                read += 1
                progress.add(1, len(document.text))
                if document.metadata["reason"] is not None:
                    rejected[document.metadata["reason"]] += 1
                    rejected_lines.write(json.dumps(_rejected(document)) + "\n")
                    continue
                record, of_document = _fingerprint(document, has_ids, work.recipe.near_duplicates)
                entries = [(key, len(ids)) for key in of_document.tolist()]
                keys.append(np.array(entries, dtype=artifacts.KEY))
                fingerprints.append(record)
                ids.append(document.id)
                group.add(document)
                if len(keys) == DOCUMENTS_PER_RUN:
                    self._save_keys(rank, len(blocks), keys)
                    blocks.append(np.array(fingerprints, dtype=similarity.RECORD))
                    fingerprints.clear()
            group.flush()
            if keys:
                self._save_keys(rank, len(blocks), keys)
            blocks.append(np.array(fingerprints, dtype=similarity.RECORD))
            save_array(work.path(artifacts.FINGERPRINTS, rank), np.concatenate(blocks))
            StringStore.save(work.path(artifacts.IDS, rank), ids)
            counts: DocumentCounts = {"read": read, "rejected": dict(rejected)}
            write_json(work.path(artifacts.DOCUMENT_COUNTS, rank), counts)
        yield from ()

    def _save_keys(self, rank: int, run: int, keys: list[Any]) -> None:
        array = np.concatenate(keys)
        array = array[np.argsort(array["key"], kind="stable")]
        save_array(self.work.path(artifacts.KEYS, rank, run), array)
        keys.clear()


def _rejected(document: Document) -> RejectedDocument:
    line: RejectedDocument = {
        "number": document.metadata["number"],
        "id": document.id,
        "reason": document.metadata["reason"],
        "text": document.text[:SAMPLE],
    }
    if document.metadata["question"] is not None:
        line["question"] = document.metadata["question"]
    return line


class RowGroup:
    """Collects documents into row groups of bounded size."""

    def __init__(self, writer: pyarrow.parquet.ParquetWriter) -> None:
        self._writer = writer
        self._columns: dict[str, list[Any]] = {name: [] for name in writer.schema.names}
        self._size = 0

    def add(self, document: Document) -> None:
        """Append a document; writes the group when it is full."""
        self._columns["text"].append(document.text)
        for name in ("number", "file", "row"):
            self._columns[name].append(document.metadata[name])
        self._size += len(document.text)
        if self._size >= BYTES_PER_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write the documents collected so far."""
        if self._columns["text"]:
            self._writer.write_table(pyarrow.table(self._columns, schema=self._writer.schema))
        for column in self._columns.values():
            column.clear()
        self._size = 0


def _fingerprint(document: Document, has_id: bool, near: bool) -> tuple[Any, Any]:
    """A document's `similarity.RECORD`, and the keys under which it meets similar documents."""
    digest = hashlib.blake2b(document.text.encode("utf-8"), digest_size=16).digest()
    if near:
        record, band_keys = similarity.fingerprint(document.text)
    else:
        record, band_keys = np.zeros((), dtype=similarity.RECORD), np.zeros(0, dtype=np.uint64)
    record["digest"] = np.frombuffer(digest, dtype="<u8")
    keys = [record["digest"][:1]]
    if has_id:
        digest = hashlib.blake2b(document.id.encode("utf-8"), digest_size=8).digest()
        identity = np.frombuffer(digest, dtype="<u8")
        record["id"] = identity[0]
        keys.append(mix(identity ^ np.uint64(1)))  # an array, as numpy warns of scalar overflow
    return record, np.concatenate([*keys, band_keys])


def pipeline(work: Work, planning: bool = False) -> list[Step]:
    """The steps of the documents stage; for a plan, classifiers only take their time."""
    steps = [Read(work), Normalise(work), Filter(work, planning), Decontaminate(work), Store(work)]
    return [step for step in steps if work.questions or not isinstance(step, Decontaminate)]
