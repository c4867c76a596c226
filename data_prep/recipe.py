"""A recipe: which sources, at which weights, become which mixture."""

import json
import math
import re
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

import pydantic

from data_prep.filters import check
from tinymathreason.arithmetic import GENERATORS
from tinymathreason.chatml import SPECIAL_TOKENS
from tinymathreason.config import config, nearest

RESERVED = (
    "tokenizer", "rejected", "mixture.json", "manifest.json", "report.md",
    "tokens.png", "rejected.png", "lengths.png",
)  # fmt: skip
"""What stands in a mixture beside the folders of the sources."""
BYTES = 256
"""Entries of every byte-level vocabulary before its first merge."""


@config
class Source:
    """One named stream of documents."""

    format: Literal["parquet", "jsonl", "hf", "tfds", "text", "generator"]
    """How the documents are stored. ``jsonl`` files may be compressed (.zst, .gz, .bz2), a ``text``
    file is one document, ``hf`` is whatever `datasets.load_dataset` opens, ``tfds`` a folder that
    TensorFlow Datasets prepared with ArrayRecord files."""
    path: str
    """A glob of files, here or remote (``hf://datasets/OWNER/NAME@REVISION/...``, ``gs://...``);
    for ``hf`` a dataset's name or folder, for ``tfds`` a folder, for ``generator`` one of the
    generators of `tinymathreason.arithmetic`."""
    weight: float
    """Share of the mixture's tokens; the weights are normalised to sum to 1."""
    text_field: str = "text"
    """The column or key that holds a document's text."""
    id_field: str | None = None
    """The column or key of a document's id; None names documents by file and row."""
    subset: str | None = None
    """``hf``: the name of the dataset's configuration."""
    revision: str | None = None
    """``hf``: the commit to read."""
    split: str = "train"
    """``hf``, ``tfds``: the split to read."""
    documents: int | None = None
    """Read this many documents; None reads everything. A generator needs it."""
    filters: list[str | dict[str, dict[str, Any]]] = field(default_factory=list)
    """Filters of `data_prep.filters`, in order: a name, or a name with its settings."""

    def __post_init__(self) -> None:
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
                raise ValueError("a generator is endless: say how many documents it gives")


@config
class TokenizerTraining:
    """How to train the tokenizer: on a sample of the sources in proportion to their weights."""

    vocab_size: int
    """Entries in total, special tokens included."""
    sample_bytes: int = 200_000_000
    """UTF-8 bytes of text to learn the merges from."""

    def __post_init__(self) -> None:
        smallest = BYTES + len(SPECIAL_TOKENS)
        if self.vocab_size < smallest:
            raise ValueError(f"vocab_size must be at least {smallest} (got {self.vocab_size})")


@config
class TokenizerSource:
    """Where the tokenizer comes from; exactly one of the two."""

    train: TokenizerTraining | None = None
    """Train one on the sources."""
    path: Path | None = None
    """Take the one in this folder."""

    def __post_init__(self) -> None:
        if (self.train is None) == (self.path is None):
            raise ValueError("give either train or path")


@config
class Executor:
    """Which of datatrove's executors runs the tasks. It never changes a byte of the result."""

    kind: Literal["local", "ray", "slurm"] = "local"
    """Processes of this machine, Ray (the cluster at RAY_ADDRESS, or one made here), or Slurm."""
    workers: int = 2
    """Tasks that run at once."""
    partition: str | None = None
    """Slurm: the partition; it needs one."""
    time: str = "24:00:00"
    """Slurm: the time limit of a task."""
    memory_gb: int = 4
    """Slurm and Ray: memory reserved for a task."""
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
    """The columns or keys that hold questions."""

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("fields must name at least one column")


@config
class Recipe:
    """Everything that decides the bytes of a mixture, and the executor, which does not."""

    output_dir: Path
    """Folder to write; it appears when the build is complete. Relative to the working folder."""
    tokenizer: TokenizerSource
    """The tokenizer to train or to take."""
    sources: dict[str, Source]
    """The documents to read, by the name that their folder and their counts will have. Their order
    is their priority: of two like documents, the one of the earlier source stays."""
    seed: int = 0
    """Seed of the generators and of the split into training and held-out documents."""
    sequence_length: int = 4096
    """Tokens of a training sequence, for counting sequences; documents are never cut."""
    eval_fraction: float = 0.01
    """Share of the documents held out for the evaluation loss, chosen by a hash of their text."""
    near_duplicates: bool = True
    """Whether to reject near-duplicates as well as exact ones."""
    decontaminate: list[BenchmarkQuestions] = field(default_factory=list)
    """Benchmarks whose questions must not be learnt."""
    on_bad_input: Literal["fail", "skip"] = "fail"
    """At an unreadable file or row, or one without text: stop, or count it under a reason."""
    token_budget: int | None = None
    """Tokens that the training will draw; None is one pass of the source that ends first."""
    max_epochs: float = 4
    """Passes over a source up to which the budget is accepted; four cost next to nothing
    (Muennighoff et al. 2023)."""
    executor: Executor = field(default_factory=Executor)
    """What runs the tasks."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources must name at least one source")
        for name in self.sources:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or name in RESERVED:
                raise ValueError(
                    f"a source cannot be named {name!r}: letters, digits, '_', '.' and '-', "
                    f"and none of {', '.join(RESERVED)}"
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
        """What decides the result, as JSON holds it: without the executor."""
        values: dict[str, Any] = json.loads(pydantic.TypeAdapter(Recipe).dump_json(self))
        del values["executor"]
        # JSON keeps no order of keys, and that of the sources decides which duplicate stays.
        values["priority"] = list(self.sources)
        return values
