"""A recipe: which sources, at which weights, become which mixture."""

from pathlib import Path
from typing import Literal

from data_prep.arithmetic import GENERATORS
from tinymathreason.chatml import SPECIAL_TOKENS
from tinymathreason.config import config, nearest

BYTES = 256
"""Entries of every byte-level vocabulary before its first merge."""


@config
class Source:
    """One named stream of documents."""

    format: Literal["parquet", "jsonl", "generator"]
    """How the documents are stored; ``jsonl`` files may be compressed: .zst, .gz, .bz2."""
    path: str
    """A glob of files, or, for ``generator``, one of the generators of `data_prep.arithmetic`."""
    weight: float
    """Share of the mixture's tokens; the weights are normalised to sum to 1."""
    text_field: str = "text"
    """The column or key that holds a document's text."""
    documents: int | None = None
    """Read this many documents; None reads everything. A generator needs it."""

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ValueError(f"weight must be above 0 (got {self.weight})")
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
class TrainTokenizer:
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

    train: TrainTokenizer | None = None
    """Train one on the sources."""
    path: Path | None = None
    """Take the one in this folder."""

    def __post_init__(self) -> None:
        if (self.train is None) == (self.path is None):
            raise ValueError("give either train or path")


@config
class Recipe:
    """Everything that decides the bytes of a mixture."""

    output_dir: Path
    """Folder to write; it appears when the build is complete. Relative to the working folder."""
    tokenizer: TokenizerSource
    """The tokenizer to train or to take."""
    sources: dict[str, Source]
    """The documents to read, by the name that their folder and their counts will have."""
    seed: int = 0
    """Seed of the generators and of the split into training and held-out documents."""
    eval_fraction: float = 0.01
    """Share of the documents held out for the evaluation loss, chosen by a hash of their text."""
    shards: int = 1
    """ArrayRecord files a source is written to."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources must name at least one source")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be between 0 and 2**64 - 1 (got {self.seed})")
        if not 0 < self.eval_fraction < 1:
            raise ValueError(f"eval_fraction must be between 0 and 1 (got {self.eval_fraction})")
        if self.shards < 1:
            raise ValueError(f"shards must be at least 1 (got {self.shards})")
