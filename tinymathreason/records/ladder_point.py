"""What was measured of one run of a ladder."""

from typing import Annotated, ClassVar, Literal

import pydantic

from tinymathreason.records.base import Count, Part, Positive, Record, Seconds, Sha256, Share
from tinymathreason.records.provenance import Provenance

Loss = Annotated[float, pydantic.Field(ge=0)]


class HeldOut(Part):
    """The loss on the held-out documents of one source."""

    nats_per_token: Loss
    """Mean over its tokens; the first token of a document is not predicted."""
    tokens: Positive
    """Predicted tokens."""
    bytes: Positive
    """UTF-8 bytes of the documents."""


class SolutionLikelihood(Part):
    """How likely a model finds the gold solutions of a task, given the questions."""

    bits_per_byte: Loss
    """Bits of all solutions divided by their UTF-8 bytes."""
    problems: Positive
    """Problems that fit the model's context."""
    bytes: Positive
    """UTF-8 bytes of the solutions."""
    left_out: Count
    """Problems that did not fit the model's context whole."""


class Likelihood(Record):
    """``likelihood.json``: what a converted model finds likely."""

    writer: ClassVar[str] = "pretrain.ladder.likelihood"
    kind: Literal["ladder.likelihood"] = "ladder.likelihood"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    model: str
    """The model's folder."""
    model_sha256: Sha256
    """Of the model's configuration and weights."""
    sources: dict[str, HeldOut]
    """Held-out losses by source of the mixture."""
    tasks: dict[str, SolutionLikelihood]
    """Gold solutions by task."""
    provenance: Provenance
    """Where it comes from."""


class AnswerCount(Part):
    """Problems of a task that were answered and that were right."""

    correct: Count
    """Right answers."""
    problems: Positive
    """Problems."""


class PointRecord(Record):
    """``point.json`` in the folder of a point; it is written when the point is finished."""

    writer: ClassVar[str] = "pretrain.ladder run"
    kind: Literal["ladder.point"] = "ladder.point"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    name: str
    """Its name in the ladder."""
    group: Literal["law", "rates", "mixtures"]
    """The part of the ladder file that asked for it."""
    status: Literal["finished", "diverged"]
    """``diverged``: a training loss was not finite, or the last ones are above a uniform guess."""
    size: str
    """Name of the size in the ladder file."""
    parameters: Positive
    """All weights."""
    matrices: Positive
    """Weights that multiply every token: all but the norms and the embedding that is read."""
    tokens: Positive
    """Tokens of training."""
    steps: Positive
    """Steps of training."""
    batch_tokens: Positive
    """Tokens of a step."""
    rate: float
    """Peak learning rate."""
    weight_decay: float
    """Of the optimiser."""
    seed: Count
    """Of the initialisation and of the order of the data."""
    weights: dict[str, Share]
    """Share of the tokens drawn from each source."""
    flops: float
    """Operations of the training, by arithmetic."""
    seconds: Seconds
    """Wall time of all commands that finished."""
    cpu_seconds: Seconds
    """Processor time of all commands that finished, over all cores."""
    train_loss: float | None
    """Mean training loss of the last twentieth of the steps; null when it is not finite."""
    loss: Loss | None
    """Held-out loss in nats a token, sources weighted as in the mixture's recipe; null when the run
    diverged."""
    sources: dict[str, HeldOut]
    """Held-out losses by source."""
    tasks: dict[str, SolutionLikelihood]
    """Gold solutions by task."""
    accuracies: dict[str, AnswerCount]
    """Answers by task, where they were measured."""
    provenance: Provenance
    """Where it comes from."""
