"""The files that stages exchange in the working folder: writer, readers and columns of each.

Stages take paths and schemas from here, and a test checks that the table is true.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
import pyarrow

from data_prep import similarity

NUMBERED = "[0-9]" * 5
"""Matches a number in an artifact's name, but no file that is still being written."""
COLUMN = "text"
"""The one feature of a record; MaxText's default for train_data_columns."""


class DocumentCounts(TypedDict):
    """What the documents stage read and rejected in one task."""

    read: int
    """Documents read."""
    rejected: dict[str, int]
    """Rejected documents by reason."""


class RejectedDocument(TypedDict):
    """One rejected document."""

    number: int
    """How many documents of its task were read before it."""
    id: str
    """Its id."""
    reason: str
    """Why it was rejected."""
    question: NotRequired[str]
    """The benchmark question that it contains, if that is the reason."""
    duplicate_of: NotRequired[str]
    """The id of the document that stays, if it is a duplicate."""
    duplicate_of_source: NotRequired[str]
    """The source of that document."""
    text: str
    """The beginning of its text."""


class Encoding(TypedDict):
    """How documents become token ids."""

    begin: list[int]
    """The ids before every document; often none."""
    end: int
    """The id after every document."""
    library: Literal["gigatoken", "tokenizers"]
    """What encodes the text between them."""
    reason: str
    """Why it is not gigatoken; empty if it is."""


class RecordFile(TypedDict):
    """One ArrayRecord file."""

    records: int
    """Documents in it."""
    tokens: int
    """Tokens in it, end tokens included."""
    sha256: str
    """Hash of the file."""


class Removed(TypedDict):
    """Documents that were removed as duplicates."""

    documents: int
    """How many."""
    tokens: int
    """Their tokens, end tokens included."""


class RecordCounts(TypedDict):
    """What the records stage wrote in one task."""

    splits: dict[str, RecordFile]
    """The file of each split."""
    bytes: int
    """UTF-8 bytes of the text of all documents."""
    lengths: dict[str, int]
    """Documents by the power of two below their number of tokens."""
    rejected: dict[str, int]
    """All rejected documents of the task by reason, those of earlier stages included."""
    duplicates: dict[str, Removed]
    """The removed duplicates, by the source of the document that stays."""
    samples: list[str]
    """The beginnings of a few documents."""


KEY = np.dtype([("key", "<u8"), ("row", "<u4")])
"""A key under which documents meet, and the document's row in its task."""
PAIR = np.dtype([("later", "<u8"), ("earlier", "<u8"), ("kind", "u1")])
"""Two documents, by number, and the kind of duplicate that they are."""
DECISION = np.dtype([("row", "<u4"), ("kind", "u1"), ("duplicate_of", "<u8")])
"""A document to reject: its row in its task, the kind, and the number of the one that stays."""


@dataclass(frozen=True)
class Artifact:
    """Files of one kind that a stage writes and later ones read."""

    name: str
    """Path below the working folder. ``{rank}`` is the number of the task that writes the file,
    ``{part}`` counts the files that one task writes."""
    writer: str
    """The stage that writes it."""
    readers: tuple[str, ...]
    """The stages that read it."""
    columns: Any
    """A `pyarrow.Schema` for Parquet files and records, a dtype for arrays, names and dtypes for
    safetensors, the type of an object for JSON (of each line for JSON lines), str for a
    `StringStore`."""

    def path(self, folder: Path, rank: int = 0, part: int = 0) -> Path:
        """One file of a working folder."""
        return folder / self.name.format(rank=f"{rank:05}", part=f"{part:05}")

    def files(self, folder: Path, rank: int | None = None) -> list[Path]:
        """The files of a working folder that one task wrote, or all tasks, sorted."""
        number = NUMBERED if rank is None else f"{rank:05}"
        return sorted(folder.glob(self.name.format(rank=number, part=NUMBERED)))


CLASSIFIERS = Artifact(
    "classifiers/{rank}.safetensors",
    writer="classifiers",
    readers=("documents", "publish"),
    columns=(("weights", np.dtype("<f4")), ("bias", np.dtype("<f8"))),
)
"""The weights of each classifier of the recipe, in the recipe's order."""

DOCUMENTS = Artifact(
    "documents/{rank}.parquet",
    writer="documents",
    readers=("decisions", "tokenizer", "records"),
    columns=pyarrow.schema(
        [
            ("text", pyarrow.string()),
            ("number", pyarrow.int64()),
            ("file", pyarrow.dictionary(pyarrow.int32(), pyarrow.string())),
            ("row", pyarrow.int64()),
        ]
    ),
)
"""Documents that passed the first stage: text, how many were read before it, file and row."""

REJECTED_EARLY = Artifact(
    "rejected_early/{rank}.jsonl",
    writer="documents",
    readers=("records",),
    columns=RejectedDocument,
)
"""Documents that the first stage rejected, in the order they were read."""

DOCUMENT_COUNTS = Artifact(
    "document_counts/{rank}.json",
    writer="documents",
    readers=("publish",),
    columns=DocumentCounts,
)
"""Documents read and rejected."""

FINGERPRINTS = Artifact(
    "fingerprints/{rank}.npy",
    writer="documents",
    readers=("duplicates", "decisions"),
    columns=similarity.RECORD,
)
"""A fingerprint for each stored document."""

IDS = Artifact("ids/{rank}.bin", writer="documents", readers=("records",), columns=str)
"""The id of each stored document, a `StringStore`."""

ID_ENDS = Artifact(
    "ids/{rank}.npy", writer="documents", readers=("records",), columns=np.dtype("<i8")
)
"""Where each id ends in `IDS`, in bytes."""

KEYS = Artifact(
    "keys/{rank}/{part}.npy",
    writer="documents",
    readers=("duplicates",),
    columns=KEY,
)
"""A key for the text, the id and each band of every stored document; each part sorted by key."""

PAIRS = Artifact(
    "pairs/{rank}.npy",
    writer="duplicates",
    readers=("decisions",),
    columns=PAIR,
)
"""All pairs of duplicates that share a key in one range of keys, sorted."""

PAIR_BOUNDS = Artifact(
    "pair_bounds/{rank}.npy",
    writer="duplicates",
    readers=("decisions",),
    columns=np.dtype("<i8"),
)
"""Where each task's pairs begin in `PAIRS`, by the task of the later document; int[tasks + 1]."""

DECISIONS = Artifact(
    "decisions/{part}.npy",
    writer="decisions",
    readers=("tokenizer", "records"),
    columns=DECISION,
)
"""The duplicates to reject; one part for each task of the documents stage."""

TOKENIZER = Artifact(
    "tokenizer/tokenizer.json",
    writer="tokenizer",
    readers=("records", "publish"),
    columns=dict,
)
"""The tokenizer, in the format of Hugging Face's tokenizers."""

TOKENIZER_CONFIG = Artifact(
    "tokenizer/tokenizer_config.json",
    writer="tokenizer",
    readers=("publish",),
    columns=dict,
)
"""What AutoTokenizer needs beside it."""

ENCODING = Artifact(
    "encoding.json", writer="tokenizer", readers=("records", "publish"), columns=Encoding
)
"""How documents become token ids."""

_RECORD = pyarrow.schema([(COLUMN, pyarrow.list_(pyarrow.int64()))])

TRAIN = Artifact(
    "train/{rank}.array_record", writer="records", readers=("publish",), columns=_RECORD
)
"""Token ids of the training documents, an Example each."""

EVAL = Artifact("eval/{rank}.array_record", writer="records", readers=("publish",), columns=_RECORD)
"""Token ids of the documents that are held out for the evaluation loss."""

REJECTED = Artifact(
    "rejected/{rank}.jsonl",
    writer="records",
    readers=("publish",),
    columns=RejectedDocument,
)
"""All rejected documents, in the order they were read."""

RECORD_COUNTS = Artifact(
    "record_counts/{rank}.json",
    writer="records",
    readers=("publish",),
    columns=RecordCounts,
)
"""Records, tokens and rejected documents."""

ARTIFACTS = (
    CLASSIFIERS, DOCUMENTS, REJECTED_EARLY, DOCUMENT_COUNTS, FINGERPRINTS, IDS, ID_ENDS, KEYS,
    PAIRS, PAIR_BOUNDS, DECISIONS, TOKENIZER, TOKENIZER_CONFIG, ENCODING,
    TRAIN, EVAL, REJECTED, RECORD_COUNTS,
)  # fmt: skip
"""The whole table, in the order of the stages."""
