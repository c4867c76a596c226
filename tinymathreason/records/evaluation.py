"""The results of an evaluation, and its samples."""

from typing import Annotated, ClassVar, Literal

import pydantic

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
)
from tinymathreason.records.provenance import Provenance

Form = Literal["chat", "plain"]


class MetricEstimate(Part):
    """A metric with its 95 % interval."""

    value: Share
    """The mean over all problems."""
    low: Share
    """Lower bound of the interval."""
    high: Share
    """Upper bound of the interval."""
    n: Positive
    """Problems."""


class PairedDifference(Part):
    """The accuracy on variants minus that on their originals, by the first answers."""

    n: Positive
    """Pairs of an original and its variant."""
    original: Share
    """The accuracy on the originals."""
    variant: Share
    """The accuracy on the variants."""
    difference: Annotated[float, pydantic.Field(ge=-1, le=1)]
    """The variants' accuracy minus the originals'."""
    low: Annotated[float, pydantic.Field(ge=-1, le=1)]
    """Lower bound of its 95 % interval: Newcombe's for pairs."""
    high: Annotated[float, pydantic.Field(ge=-1, le=1)]
    """Upper bound of its 95 % interval."""
    won: Count
    """Pairs of which only the variant was answered rightly."""
    lost: Count
    """Pairs of which only the original was answered rightly."""


class EvalRequest(Part):
    """What was to be measured, as the command line gave it."""

    task: str
    """A name of the catalogue."""
    data: str | None
    """A file of its problems, or a folder laid out as on the hub; null for the hub."""
    limit: Positive | None
    """The first so many problems of each lm-eval task; null for all."""
    form: Form | None
    """The form of the prompts; null for that of the model."""
    shots: Count | None
    """Worked examples before each problem; null for the task's own number."""
    samples: Positive
    """Answers to each problem."""
    temperature: float
    """Of the drawing; unused with one sample."""
    max_new_tokens: Positive | None
    """Longest answer in tokens; null for the task's own."""
    backend: str
    """``transformers`` or ``vllm``."""
    batch_size: Positive | None
    """Prompts that are answered at once; null for as many as the device takes."""
    seed: Count
    """Of the drawing."""


class Dataset(Part):
    """The problems."""

    path: str | None
    """Their file or folder, or the hub's name of the dataset; null for generated ones."""
    name: str | None
    """The subset of the dataset; null without one."""
    sha256: Sha256
    """Of the problems."""


class Decoding(OpenPart):
    """How answers were produced; the other keys are lm-eval's settings of generation."""

    by: Literal["generation", "likelihood"]
    """Whether an answer is written, or chosen among those that the task gives."""
    samples: Positive
    """Answers to each problem."""
    seed: Count
    """Of the drawing."""
    batch_size: Positive
    """Most prompts that were to be answered at once."""
    backend: str
    """``transformers`` or ``vllm``."""
    dtype: str
    """The type that the model computes in."""
    do_sample: bool | None = None
    """Whether answers were drawn by chance; null for a choice by likelihood."""
    temperature: float | None = None
    """Of the drawing; null where nothing was drawn."""
    max_gen_toks: Positive | None = None
    """Longest answer in tokens; null for a choice by likelihood."""


class Results(Record):
    """``results.json`` in the folder of an evaluation."""

    writer: ClassVar[str] = "evaluation.run"
    kind: Literal["evaluation"] = "evaluation"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    task: str
    """The benchmark's name."""
    metric: str
    """The first of the metrics: the one that the benchmark is known by."""
    value: Share
    """Of the first metric: the mean over all problems."""
    low: Share
    """Of the first metric: lower bound of the 95 % interval."""
    high: Share
    """Of the first metric: upper bound of the 95 % interval."""
    n: Positive
    """Problems."""
    interval: str
    """The method of all intervals, such as ``Wilson``."""
    metrics: dict[str, MetricEstimate]
    """Every metric, the first included."""
    groups: dict[str, dict[str, MetricEstimate]] = pydantic.Field(default_factory=dict)
    """The first metric by each column that groups the problems, such as the level, and its value;
    empty for a benchmark without such columns."""
    differences: dict[str, PairedDifference] = pydantic.Field(default_factory=dict)
    """Of each kind of variant; empty for a benchmark without variants."""
    form: Form
    """Whether prompts were in the chat template or plain text."""
    shots: Count
    """Worked examples before each problem."""
    prompt_version: str
    """Of the task's prompts, with lm-eval's version."""
    template_sha256: Sha256 | None
    """Of the chat template; null in plain form."""
    dataset: Dataset
    """The problems."""
    decoding: Decoding
    """How answers were produced."""
    ignored_settings: dict[str, Json]
    """Settings of the model's generation configuration that were not obeyed."""
    cut_prompts: Count
    """Prompts that were longer than the model's context."""
    seconds: Seconds
    """The evaluation's time."""
    request: EvalRequest
    """What was to be measured."""
    model: str
    """The model's folder, or its name on the hub."""
    model_sha256: Sha256
    """Of the model's configuration and weights."""
    asking_sha256: Sha256
    """Of its tokenizer, templates and generation configuration."""
    task_sha256: Sha256
    """Of what the task is made from."""
    provenance: Provenance
    """Where it comes from."""


class SampleRecord(Record):
    """One line of ``samples.jsonl``: a problem, and the answers to it."""

    writer: ClassVar[str] = "evaluation.run"
    kind: Literal["evaluation.sample"] = "evaluation.sample"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    id: Count
    """The number of the problem."""
    subtask: str
    """The lm-eval task that it belongs to."""
    groups: dict[str, str] = pydantic.Field(default_factory=dict)
    """Its value of each column that groups the problems."""
    original: Count | None = None
    """The number of the problem, or of its first version, that it is a variant of; else null."""
    question: str
    """The problem's own text."""
    prompt: str
    """The whole text that the model was given."""
    expected: str
    """The right answer."""
    answer: str | None
    """What was read from the first completion; null when nothing could be."""
    correct: bool
    """Whether the first answer is right."""
    metrics: dict[str, float]
    """Every metric; of several completions, the mean."""
    completions: Annotated[list[str], pydantic.Field(min_length=1)]
    """What the model wrote, or chose."""
    all_answers: list[str | None]
    """What was read from each completion."""
    all_correct: list[bool]
    """Whether each answer is right."""
