"""The report of a pipeline's run: the figures of all of its records."""

import operator
from typing import Annotated, ClassVar, Literal

import pydantic

from tinymathreason.records.base import Count, Part, Positive, Record, Seconds
from tinymathreason.records.contamination import Contamination
from tinymathreason.records.conversion import ParityRecord
from tinymathreason.records.evaluation import Form, MetricEstimate, PairedDifference
from tinymathreason.records.mixture import Documents
from tinymathreason.records.provenance import Provenance

Point = Annotated[tuple[Count, float], pydantic.Field(strict=False)]
"""A step, and a loss in nats a token."""


class StageSummary(Part):
    """What a stage was run by and took."""

    command: str
    """The command as a shell reads it."""
    commit: str | None
    """The git commit; null outside a checkout."""
    seconds: Seconds
    """Time of all attempts."""
    peak_bytes: Count
    """Largest resident memory of a process."""


class SourceSummary(Part):
    """The counts of a source of data."""

    tokens: Count
    """Tokens kept."""
    weight: float | None
    """Its weight in the recipe; null in fine-tuning, which has none."""
    documents: Documents
    """How many of its documents or examples were kept and rejected."""


class Tokens(Part):
    """Tokens by stage."""

    data: Count | None
    """Tokens of the mixtures that there is a record of; null without any."""
    pretrain: Count
    """Tokens pretrained on, without padding."""
    sft: Count
    """Tokens tuned on, without padding."""


class Ends(Part):
    """The ends of a curve, in nats a token."""

    first: float
    """The first loss."""
    last: float
    """The last loss."""


class SplitEnds(Part):
    """The ends of both curves of a stage."""

    train: Ends
    """Of the training loss."""
    eval: Ends
    """Of the held-out loss."""


class SplitCurves(Part):
    """Both curves of a stage."""

    train: list[Point]
    """The training loss by step."""
    eval: list[Point]
    """The held-out loss by step."""


class ReportAccuracy(MetricEstimate):
    """The first metric of an evaluation, how the model was asked, and all metrics."""

    task: str
    """The benchmark's name."""
    metric: str
    """The first metric's name."""
    shots: Count
    """Worked examples before each problem."""
    form: Form
    """Whether prompts were in the chat template or plain text."""
    interval: str
    """The method of all intervals."""
    metrics: dict[str, MetricEstimate]
    """Every metric."""
    groups: dict[str, dict[str, MetricEstimate]] = pydantic.Field(default_factory=dict)
    """The first metric by each column that groups the problems, and its value."""
    differences: dict[str, PairedDifference] = pydantic.Field(default_factory=dict)
    """Of each kind of variant."""


class ReportAnswer(Part):
    """A problem, and the tuned model's answers to it."""

    question: str
    """The problem's text."""
    completions: Annotated[list[str], pydantic.Field(min_length=1)]
    """What the model wrote."""
    expected: str
    """The right answer."""
    correct: bool
    """Whether the first answer is right."""


class PhaseSummary(Part):
    """A phase of pretraining."""

    recipe: str | None
    """The name of its mixture's recipe."""
    weights: str | None
    """The file with other weights than the recipe's, if it drew by one."""
    last_step: Count
    """Its last step."""


class RecipeSummary(Part):
    """The recipes that a model was made by."""

    pretraining: list[PhaseSummary]
    """The phases, oldest first; empty if no record tells them."""
    tuning: list[str]
    """The configurations of fine-tuning, the first one first."""


class Report(Record):
    """``report.json`` in the folder of a run."""

    writer: ClassVar[str] = "release.report"
    kind: Literal["report"] = "report"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    run: str
    """The folder of the run."""
    recipes: RecipeSummary | None = None
    """The recipes; null in reports that were made before they were recorded."""
    stages: dict[str, StageSummary]
    """Every stage."""
    data: dict[str, SourceSummary]
    """The sources of pretraining; of its last phase if there are earlier ones."""
    earlier_data: dict[str, dict[str, SourceSummary] | None] = pydantic.Field(
        default_factory=dict, exclude_if=operator.not_
    )
    """The sources of each earlier phase, by its recipe; null where its mixture was not named. Left
    out without earlier phases."""
    sft_data: dict[str, SourceSummary] | None
    """The sources of fine-tuning; null when their manifest is gone."""
    seconds: dict[str, Seconds]
    """The time of each stage."""
    peak_bytes: dict[str, Count]
    """The memory of each stage's largest process."""
    tokens: Tokens
    """Tokens by stage."""
    parameters: Positive
    """Weights of the model."""
    parity: ParityRecord
    """The proof of the conversion."""
    loss: dict[str, SplitEnds]
    """The ends of the curves of both trainings."""
    curves: dict[str, SplitCurves]
    """The curves of both trainings."""
    accuracy: dict[str, ReportAccuracy]
    """The evaluations, by the name of the model."""
    contamination: dict[str, Contamination] = pydantic.Field(default_factory=dict)
    """Of those evaluations whose problems were searched in the training text."""
    samples: list[ReportAnswer]
    """The tuned model's first right and first wrong answers."""
    provenance: Provenance
    """Where it comes from."""
