"""Which problems of an evaluation were found in the text that its model was trained on."""

from typing import Annotated, ClassVar, Literal

import pydantic

from tinymathreason.records.base import Count, Part, Positive, Record, Sha256
from tinymathreason.records.evaluation import MetricEstimate
from tinymathreason.records.provenance import Provenance


class SearchedText(Part):
    """A text of training that was searched."""

    stage: Literal["pretraining", "fine-tuning"]
    """The stage that was trained on it."""
    manifest: str
    """The record of its folder."""
    manifest_sha256: Sha256
    """Of that record."""
    documents: Positive
    """Documents or examples to train on, all of which were searched."""
    found: Count
    """Problems that at least one of them contains."""


class Contamination(Record):
    """``contamination.json`` in the folder of an evaluation."""

    writer: ClassVar[str] = "release.contamination"
    kind: Literal["contamination"] = "contamination"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    results_sha256: Sha256
    """Of the evaluation's ``results.json``."""
    texts: Annotated[list[SearchedText], pydantic.Field(min_length=1)]
    """What was searched."""
    rule: str
    """When a document contains a problem, in words."""
    problems: Positive
    """Problems of the evaluation."""
    too_short: Count
    """Problems with too few letters to be searched; they count as not found."""
    found: list[Count]
    """The ids of the problems that were found."""
    metric: str
    """The first metric of the evaluation, of which the estimates are."""
    clean: MetricEstimate | None
    """Of the problems that were not found; null without any."""
    contaminated: MetricEstimate | None
    """Of the problems that were found; null without any."""
    provenance: Provenance
    """Where it comes from."""
