"""The manifest of prepared examples: what was read, chosen and rejected."""

from typing import ClassVar, Literal

import pydantic

from tinymathreason.records.base import Count, OpenPart, Part, Positive, Record, Sha256
from tinymathreason.records.mixture import BenchmarkRecord, Inputs, RecipeSource, WrittenFile
from tinymathreason.records.provenance import Provenance


class ExampleCounts(Part):
    """How many rows of a source were kept and rejected."""

    read: Count
    """Rows read; the sum of those kept and rejected."""
    kept: Count
    """Examples written."""
    rejected: dict[str, Count]
    """Rows left out, by reason."""
    train: Count
    """Examples to train on."""
    eval: Count
    """Examples held out."""
    tokens: Count
    """Tokens of the examples written."""


class Spread(Part):
    """How some examples of a source are distributed."""

    examples: Count
    """Their number."""
    questions: Count
    """Different questions."""
    clusters: Count
    """Sets of questions of like wording: `sft.selection`."""
    tokens: list[Count]
    """The tenth, the half and nine tenths of the answers have at most so many tokens."""


class Stratum(Part):
    """A class of difficulty of a level."""

    level: str
    """The level; empty if the source has none."""
    difficulty: Positive
    """The class, 1 for that of the shortest answers."""
    longest: Count
    """Tokens of its longest answer."""
    candidates: Count
    """Examples to choose from."""
    chosen: Count
    """Examples that were chosen."""


class Selected(Part):
    """What a selection had to choose from, and what it chose.

    A chosen example can still be rejected, for a question that an earlier source has.
    """

    candidates: Spread
    """The examples to choose from."""
    chosen: Spread
    """Those that were chosen."""
    strata: list[Stratum]
    """The classes of difficulty of each level."""


class ExampleData(OpenPart):
    """The configuration of the examples; fine-tuning checks the keys that only it reads."""

    sources: dict[str, RecipeSource]
    """The sources by name."""
    decontaminate: list[BenchmarkRecord]
    """Benchmarks whose questions no example may contain."""


class ExampleInputs(Part):
    """What decided the examples."""

    form: Positive
    """Of the folder; another one is made anew."""
    data: ExampleData
    """The configuration."""
    files: Inputs
    """Every file that was read."""
    tokenizer: Sha256
    """Of the tokenizer and its template."""
    max_length: Positive | None
    """Longest example in tokens; null for no limit."""


class ExamplesManifest(Record):
    """``manifest.json`` in the folder of prepared examples."""

    writer: ClassVar[str] = "sft.prepare"
    kind: Literal["examples"] = "examples"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    sources: dict[str, ExampleCounts]
    """The counts of each source."""
    selected: dict[str, Selected] = pydantic.Field(default_factory=dict)
    """What was selected, by source; only of those that have a selection."""
    inputs: ExampleInputs
    """What decided the examples."""
    files: list[WrittenFile]
    """The files of the folder."""
    provenance: Provenance
    """Where it comes from."""
