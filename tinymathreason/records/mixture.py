"""The manifest of a mixture of tokenised documents."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pydantic

from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json
from tinymathreason.records.base import (
    Count,
    Json,
    OpenPart,
    Part,
    Positive,
    Record,
    Seconds,
    Sha256,
    Share,
    validated,
)
from tinymathreason.records.provenance import Provenance

Inputs = dict[
    str,
    Annotated[tuple[Count, int | str | None], pydantic.Field(strict=False)],
]
"""For each file that was read its bytes, and what changes with its content: the nanoseconds of its
last change, a version of its file system, or null where that is not known."""


class Draw(OpenPart):
    """How MaxText draws from a source; it may have other keys of MaxText's."""

    path: str
    """The pattern of its files."""
    weight: Annotated[float, pydantic.Field(gt=0)]
    """Its part of the records that are drawn, beside the other sources' weights."""


class Draws(pydantic.RootModel[dict[str, Draw]]):
    """``mixture.json``, which MaxText reads: its form is MaxText's, without kind and version."""

    model_config = pydantic.ConfigDict(frozen=True, strict=True)

    @classmethod
    def load(cls, path: str | Path) -> "Draws":
        """The sources in a file by name; `InputError` naming the file and the field."""
        value = read_json(path)
        again = f"write it again with {Mixture.writer} or data_prep.reweight"
        if not isinstance(value, dict):
            raise InputError(f"{path}: not a mixture: expected a path for each source; {again}")
        return validated(cls, value, path, again)

    def write(self, path: str | Path) -> None:
        """Write the file; a crash leaves the old content or the new."""
        write_json(path, self.model_dump(mode="json"))


class WrittenFile(Part):
    """A file as it was written."""

    path: str
    """Relative to the folder of the record."""
    bytes: Count
    """Its size."""
    sha256: Sha256
    """Of its content."""


class Shard(WrittenFile):
    """An ArrayRecord file of tokenised documents."""

    records: Positive
    """Documents in it."""
    tokens: Positive
    """Tokens of all of its documents."""


class Documents(Part):
    """How many documents of a source were kept and rejected."""

    read: Count
    """Documents read; the sum of the others."""
    kept: Count
    """Documents written."""
    rejected: dict[str, Count]
    """Documents left out, by reason."""


class Duplicates(Part):
    """Documents of a source that were removed as duplicates of documents that stay."""

    documents: Positive
    """How many."""
    tokens: Positive
    """Their tokens, end tokens included."""


class SourceRecord(Part):
    """A source of a mixture."""

    documents: Documents
    """How many of its documents were kept and rejected."""
    bytes: Count
    """Bytes of the texts that were kept, in UTF-8."""
    tokens: Count
    """Tokens of its shards."""
    duplicates: dict[str, Duplicates] | None = None
    """What was removed as duplicates, by the source of the documents that stay, itself included;
    null in a mixture that was built before this was recorded."""
    lengths: dict[str, Count]
    """Documents by the power of two below their length in tokens."""
    shards: list[Shard]
    """Its files; a name that begins with ``train-`` is of the training split."""


class ClassifierRecord(Part):
    """A classifier that a filter used: its examples, and its figures on those held out."""

    positives: Positive
    """Examples of the kind to keep that it was trained on."""
    negatives: Positive
    """Examples of other kinds that it was trained on."""
    held_out_positives: Count
    """Examples of the kind to keep that measure it."""
    held_out_negatives: Count
    """Examples of other kinds that measure it."""
    precision: Share | None
    """At a probability of 0.5, if there were equally many of both kinds; null if unknown."""
    recall: Share | None
    """Share of the held-out positives at 0.5 or above; null if there are none."""
    false_alarms: Share | None
    """Share of the held-out negatives at 0.5 or above; null if there are none."""


class RecipeSource(OpenPart):
    """A source as the configuration names it.

    Its other keys depend on its format, and data preparation checks them.
    """

    format: str
    """How it is read, such as ``parquet`` or ``generator``."""
    path: str | None
    """Its files, its dataset, or its generator."""
    license: str | None = None
    """The documents' licence, as the hub names it; null if the configuration does not say it."""
    generated_by: list[str] = pydantic.Field(default_factory=list)
    """Models that wrote or rewrote the text, as the configuration names them."""


class WeightedSource(RecipeSource):
    """A source of a mixture as the recipe names it."""

    weight: Annotated[float, pydantic.Field(gt=0)]
    """Its part of the tokens of training, beside the other sources' weights."""


class BenchmarkRecord(OpenPart):
    """A benchmark whose questions were looked for; its other keys say how it is read."""

    path: str
    """Its file."""


class RecipeRecord(OpenPart):
    """The recipe of a mixture; data preparation checks the keys that only it reads."""

    name: str | None = None
    """What it is called; null in a mixture that was built before this was recorded."""
    sources: dict[str, WeightedSource]
    """The sources by name."""
    classifiers: dict[str, Json] = pydantic.Field(default_factory=dict)
    """The classifiers and their examples by name; data preparation checks them."""
    decontaminate: list[BenchmarkRecord]
    """Benchmarks whose questions no document may contain."""
    max_epochs: Annotated[float, pydantic.Field(gt=0)]
    """Most passes over a source that the budget may need."""
    output_dir: str
    """The folder of the mixture."""

    @property
    def shares(self) -> dict[str, float]:
        """Each source's share of the tokens of training; they sum to 1."""
        total = sum(source.weight for source in self.sources.values())
        return {name: source.weight / total for name, source in self.sources.items()}


class EncodingRecord(Part):
    """How documents became token ids."""

    begin: list[Count]
    """The ids before every document; often none."""
    end: Count
    """The id after every document."""
    library: Literal["gigatoken", "tokenizers"]
    """What encoded the text between them."""
    reason: str
    """Why it was not gigatoken; empty if it was."""


class Mixture(Record):
    """``manifest.json`` in the folder of a mixture; it is written last."""

    writer: ClassVar[str] = "data_prep.build"
    kind: Literal["mixture"] = "mixture"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    recipe: RecipeRecord
    """What decided the result."""
    inputs: Inputs
    """Every file that was read."""
    sources: dict[str, SourceRecord]
    """The counts of each source."""
    files: list[WrittenFile]
    """Every other file of the folder, but this one and the report."""
    vocab_size: Positive
    """Entries of the tokenizer."""
    encoding: EncodingRecord | None = None
    """How documents became token ids; null in a mixture that was built before this was recorded."""
    classifiers: dict[str, ClassifierRecord] | None = None
    """The classifiers by name; null in a mixture that was built before there were any."""
    tokens: Count
    """Tokens of training, all sources together."""
    sequences: Count
    """Whole sequences of the recipe's length in them."""
    tokens_until_a_source_ends: Count
    """Tokens of training that can be drawn before one source has been read once."""
    token_budget: Positive
    """Tokens that the training will draw."""
    epochs: dict[str, Annotated[float, pydantic.Field(ge=0)]]
    """Passes over each source for the budget."""
    num_epoch: Positive
    """The least number of epochs with which MaxText reaches the budget."""
    seconds: Seconds
    """From the beginning of the build to its end."""
    provenance: Provenance
    """Where it comes from."""

    @property
    def shards(self) -> list[Shard]:
        """The shards of all sources."""
        return [shard for source in self.sources.values() for shard in source.shards]
