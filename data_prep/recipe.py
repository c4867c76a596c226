"""The recipe of a mixture: its sources, their weights, and how to build it."""

import json
import math
import re
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

import pydantic

from data_prep.filters import check, classifier_of
from tinymathreason.arithmetic import GENERATORS
from tinymathreason.chatml import SPECIAL_TOKENS
from tinymathreason.config import config, nearest

RESERVED = (
    "tokenizer", "classifiers", "rejected", "mixture.json", "manifest.json", "report.md",
    "tokens.png", "rejected.png", "lengths.png",
)  # fmt: skip
"""Names in a mixture's folder that no source may have."""
TERMS = ("license", "generated_by")
"""Keys of a source that only say what its documents may be used for."""
BYTES = 256
"""Entries of a byte-level vocabulary before its first merge."""


def check_license(name: str | None) -> None:
    """Raise `ValueError` for a name that no licence can have on the hub."""
    if name is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", name):
        raise ValueError(
            f"license must be a name of the hub, such as odc-by, or various (got {name!r})"
        )


def decisive(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe, as JSON, without its name and terms, which decide no byte of the documents."""
    sources = {
        name: {key: value for key, value in source.items() if key not in TERMS}
        for name, source in recipe["sources"].items()
    }
    return {**recipe, "name": None, "sources": sources}


@config
class Source:
    """One named stream of documents."""

    format: Literal["parquet", "jsonl", "hf", "tfds", "text", "generator"]
    """How the documents are stored. ``jsonl`` files may be compressed (.zst, .gz, .bz2), a ``text``
    file is one document, ``hf`` is anything that `datasets.load_dataset` opens, and ``tfds`` a
    folder that TensorFlow Datasets prepared with ArrayRecord files."""
    path: str
    """A glob of files, here or remote (``hf://datasets/OWNER/NAME@REVISION/...``, ``gs://...``);
    for ``hf`` a dataset's name or folder, for ``tfds`` a folder, for ``generator`` the name of a
    generator of `tinymathreason.arithmetic`."""
    weight: float
    """Share of the mixture's tokens; the weights are normalised to sum to 1."""
    text_field: str = "text"
    """The column or key of a document's text."""
    id_field: str | None = None
    """The column or key of a document's id; without it, documents are named by file and row."""
    subset: str | None = None
    """``hf``: the name of the dataset's configuration."""
    revision: str | None = None
    """``hf``: the commit to read."""
    split: str = "train"
    """``hf``, ``tfds``: the split to read."""
    documents: int | None = None
    """Read at most this many documents; None reads all. A generator needs a number."""
    filters: list[str | dict[str, Any]] = field(default_factory=list)
    """Filters of `data_prep.filters`, in order: a name, or a name with its settings."""
    license: str | None = None
    """The documents' licence as the hub names it, such as ``odc-by``; ``various`` if each document
    has its own. It is recorded and shown in the card, and decides nothing."""
    generated_by: list[str] = field(default_factory=list)
    """Models that wrote the documents or rewrote them, by their names on the hub. Such a model's
    licence can bind a model that learns from its text. Recorded and shown like ``license``."""

    def __post_init__(self) -> None:
        check_license(self.license)
        if not self.weight > 0 or self.weight == math.inf:
            raise ValueError(f"weight must be above 0 (got {self.weight})")
        for entry in self.filters:
            check(entry)
        if self.documents is not None and self.documents < 1:
            raise ValueError(f"documents must be at least 1 (got {self.documents})")
        if self.format == "generator":
            if self.path not in GENERATORS:
                raise ValueError(
                    f"unknown generator {self.path!r}; {nearest(self.path, GENERATORS)}"
                )
            if self.documents is None:
                raise ValueError("documents must be set for a generator, which is endless")


@config
class TokenizerTraining:
    """How to train the tokenizer, on a sample of the sources in proportion to their weights."""

    vocab_size: int
    """Number of entries, special tokens included."""
    sample_bytes: int = 200_000_000
    """UTF-8 bytes of text to train on."""

    def __post_init__(self) -> None:
        smallest = BYTES + len(SPECIAL_TOKENS)
        if self.vocab_size < smallest:
            raise ValueError(f"vocab_size must be at least {smallest} (got {self.vocab_size})")


@config
class TokenizerSource:
    """Where the tokenizer comes from: exactly one of the two."""

    train: TokenizerTraining | None = None
    """Train a new one on the sources."""
    path: Path | None = None
    """Use the one in this folder: of an open model, or of another mixture."""
    end_of_text: str | None = None
    """``path``: the special token that ends a document. None chooses the tokenizer's end-of-text
    token, which is not always its ``eos_token``: a chat model's may be the end of a turn."""

    def __post_init__(self) -> None:
        if (self.train is None) == (self.path is None):
            raise ValueError("set either train or path")
        if self.end_of_text is not None and self.path is None:
            raise ValueError("end_of_text needs path; a trained tokenizer has its own")


@config
class Executor:
    """Which of datatrove's executors runs the tasks; the result does not depend on it."""

    kind: Literal["local", "ray", "slurm"] = "local"
    """Processes of this machine, Ray (the cluster at RAY_ADDRESS, else a local one), or Slurm."""
    workers: int = 2
    """Tasks that run at the same time."""
    partition: str | None = None
    """Slurm: the partition (required)."""
    time: str = "24:00:00"
    """Slurm: the time limit of a task."""
    memory_gb: int = 4
    """Slurm and Ray: memory reserved for a task, in GB."""
    setup: str | None = None
    """Slurm: a shell command that activates the environment on a node."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1 (got {self.workers})")
        if self.memory_gb < 1:
            raise ValueError(f"memory_gb must be at least 1 (got {self.memory_gb})")
        if self.kind == "slurm" and not self.partition:
            raise ValueError("slurm needs a partition")


@config
class BenchmarkQuestions:
    """Questions that no training document may contain."""

    path: str
    """A glob of .parquet, .jsonl or .json files, here or remote."""
    fields: list[str]
    """The columns or keys of the questions."""

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("fields must name at least one column")


@config
class ExampleTexts:
    """Texts that a classifier learns from."""

    format: Literal["parquet", "jsonl", "text"]
    """How they are stored, as in a source."""
    path: str
    """A glob of files, here or remote; they are read in the order of their names."""
    text_field: str = "text"
    """The column or key of a text."""
    documents: int = 20_000
    """Read at most this many texts."""

    def __post_init__(self) -> None:
        if self.documents < 2:
            raise ValueError(f"documents must be at least 2 (got {self.documents})")


@config
class ClassifierTraining:
    """What a classifier learns from; `data_prep.classifier` describes the model."""

    positives: list[ExampleTexts]
    """Texts of the kind to keep."""
    negatives: list[ExampleTexts]
    """Texts of other kinds."""

    def __post_init__(self) -> None:
        if not (self.positives and self.negatives):
            raise ValueError("positives and negatives must each name at least one set of texts")


@config
class Recipe:
    """Everything that decides the content of a mixture, and the executor, which does not."""

    output_dir: Path
    """Folder to write, relative to the current folder; it appears when the build is complete."""
    name: str | None = None
    """What the records and the card call this recipe; None is the name of its file."""
    tokenizer: TokenizerSource
    """The tokenizer to train or to use."""
    sources: dict[str, Source]
    """The documents to read, by the name of the source. The order of the sources is their
    priority: of two duplicates, the one from the earlier source stays."""
    seed: int = 0
    """Seed of the generators and of the split into training and held-out documents."""
    sequence_length: int = 4096
    """Tokens in a training sequence, used to count sequences; documents are not cut."""
    eval_fraction: float = 0.01
    """Share of the documents held out for the evaluation loss, selected by a hash of their text."""
    near_duplicates: bool = True
    """Whether to reject near-duplicates as well as exact duplicates."""
    decontaminate: list[BenchmarkQuestions] = field(default_factory=list)
    """Benchmark questions that no training document may contain."""
    on_bad_input: Literal["fail", "skip"] = "fail"
    """At an unreadable file or row, or one without text: fail, or reject and count it."""
    classifiers: dict[str, ClassifierTraining] = field(default_factory=dict)
    """Classifiers to train before anything else, by name, for the filter ``classifier``."""
    token_budget: int | None = None
    """Tokens that training will draw; by default one pass over the source that ends first."""
    max_epochs: float = 4
    """Most passes over a source that the budget may need; four are almost as good as new data
    (Muennighoff et al. 2023)."""
    executor: Executor = field(default_factory=Executor)
    """How to run the tasks."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources must name at least one source")
        for name in self.sources:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or name in RESERVED:
                raise ValueError(
                    f"a source cannot be named {name!r}: use letters, digits, '_', '.' and '-', "
                    f"but none of {', '.join(RESERVED)}"
                )
        for name in self.classifiers:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(
                    f"a classifier cannot be named {name!r}: use small letters, digits and '_'"
                )
        for source_name, source in self.sources.items():
            for needed in filter(None, map(classifier_of, source.filters)):
                if needed not in self.classifiers:
                    raise ValueError(
                        f"sources.{source_name}.filters: no classifier {needed!r}; "
                        f"{nearest(needed, self.classifiers)}"
                    )
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be between 0 and 2**64 - 1 (got {self.seed})")
        if not 0 < self.eval_fraction < 1:
            raise ValueError(f"eval_fraction must be between 0 and 1 (got {self.eval_fraction})")
        if self.sequence_length < 1:
            raise ValueError(f"sequence_length must be at least 1 (got {self.sequence_length})")
        if self.token_budget is not None and self.token_budget < 1:
            raise ValueError(f"token_budget must be at least 1 (got {self.token_budget})")
        if self.max_epochs <= 0:
            raise ValueError(f"max_epochs must be above 0 (got {self.max_epochs})")

    @property
    def shares(self) -> dict[str, float]:
        """Each source's share of the mixture's tokens; they sum to 1."""
        total = sum(source.weight for source in self.sources.values())
        return {name: source.weight / total for name, source in self.sources.items()}

    def plain(self) -> dict[str, Any]:
        """The recipe as JSON without the executor, which does not affect the result."""
        values: dict[str, Any] = json.loads(pydantic.TypeAdapter(Recipe).dump_json(self))
        del values["executor"]
        # Our JSON files sort keys, but the order of the sources decides which duplicate stays.
        values["priority"] = list(self.sources)
        return values
