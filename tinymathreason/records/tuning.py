"""The records of fine-tuning: whose run a folder is, and the finished model."""

from typing import Any, ClassVar, Literal

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
    plain,
)
from tinymathreason.records.examples import ExampleCounts
from tinymathreason.records.pretraining import Phase
from tinymathreason.records.provenance import Provenance


class TuningRun(Record):
    """``inputs.json`` in the folder of a run of fine-tuning: what tells it from another run."""

    writer: ClassVar[str] = "sft.run, sft.dpo or sft.grpo"
    kind: Literal["tuning.run"] = "tuning.run"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    values: dict[str, Json]
    """The configuration as the user gave it."""
    arguments: dict[str, Json]
    """The options of the command line."""
    base: str
    """As in `Tuned`."""
    data: dict[str, Sha256]
    """As in `Tuned`."""
    tokenizer: Sha256
    """As in `Tuned`."""
    processes: Positive
    """As in `Tuned`."""
    accuracy: Sha256 | None
    """As in `Tuned`."""


class TrainerArguments(OpenPart):
    """The trainer's configuration; the other keys are TRL's too."""

    per_device_train_batch_size: Positive
    """Examples of a device in a micro-batch."""
    gradient_accumulation_steps: Positive
    """Micro-batches of a step."""
    learning_rate: float
    """The peak."""
    lr_scheduler_type: str
    """The schedule's name."""
    warmup_steps: float
    """Steps in which the learning rate rises; below 1, a share of all steps."""
    optim: str
    """The optimiser."""
    use_cpu: bool
    """Whether the user asked for the CPU."""


class LogEntry(OpenPart):
    """What the trainer logged at a step; the other keys are TRL's. Null is no finite number."""

    step: Count
    """The step."""
    epoch: float | None = None
    """Passes over the examples so far."""
    loss: float | None = None
    """Mean loss of the last steps, in nats a token."""
    eval_loss: float | None = None
    """Loss of the held-out examples, in nats a token."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _finite(cls, value: Any) -> Any:
        return plain(value)


class Speed(Part):
    """The time of a training: what came before the steady rate, and that rate."""

    startup_seconds: Seconds
    """From the last start to the first step: reading examples, loading the model, the checks."""
    first_step_seconds: Seconds
    """The first step, in which kernels are compiled."""
    steady_steps: Count
    """Steps that were timed: not the first ones, and none beside an evaluation or a checkpoint."""
    steady_seconds: Seconds
    """Their time."""
    steady_tokens: Count
    """Their tokens, without padding."""

    @property
    def tokens_per_second(self) -> float | None:
        """The steady rate; None when no step was timed."""
        return self.steady_tokens / self.steady_seconds if self.steady_seconds else None


class Tuned(Record):
    """The common part of the records in the folder of a finished model, of any algorithm."""

    base: str
    """SHA-256 of the model that it began with; of one on the hub, its commit."""
    data: dict[str, Sha256]
    """SHA-256 of what was trained on, by name."""
    tokenizer: Sha256
    """Of the tokenizer and its template."""
    processes: Positive
    """Processes that trained together."""
    accuracy: Sha256 | None
    """Of the problems that the accuracy was measured on; null when it was not."""
    model_name_or_path: str
    """The folder of the model that it began with, or its name on the hub."""
    model_sha256: Sha256
    """Of the finished model's configuration and weights."""
    history: list[LogEntry]
    """What the trainer logged, in order."""
    tokens: Count
    """Tokens that the model was given, without padding."""
    steps: Count
    """Steps of the optimiser."""
    arguments: TrainerArguments
    """The trainer's configuration."""
    device: str
    """The kind of device, such as ``cpu`` or ``cuda``."""
    arithmetic: str
    """The type that the model computed in."""
    weights: str
    """The type of the weights in training."""
    seconds: Seconds
    """From the last start to the end."""
    speed: Speed | None = None
    """The time of the last start's steps; null in models that were tuned before it was measured."""
    phases: list[Phase] = pydantic.Field(default_factory=list)
    """The phases of pretraining of the model that it began with, by that model's own record."""
    provenance: Provenance
    """Where it comes from."""


class SftRecord(Tuned):
    """``sft.json``: a model that was tuned on examples."""

    writer: ClassVar[str] = "sft.run"
    kind: Literal["sft"] = "sft"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    counts: dict[str, ExampleCounts]
    """The counts of each source of the examples."""
    manifest: Sha256
    """Of the manifest of the examples."""


class PreferenceCounts(Part):
    """Problems and samples by outcome, and the number of pairs."""

    problems: dict[str, Count]
    """Problems by what their samples were."""
    left_out: dict[str, Count]
    """Problems that were not sampled, by reason."""
    samples: dict[str, Count]
    """Samples by verdict; and again by whether they can be in a pair."""
    pairs: dict[str, Count]
    """Pairs written."""


class DpoRecord(Tuned):
    """``dpo.json``: a model that was tuned on pairs."""

    writer: ClassVar[str] = "sft.dpo"
    kind: Literal["dpo"] = "dpo"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    counts: PreferenceCounts
    """Problems and samples by outcome."""


class GrpoRecord(Tuned):
    """``grpo.json``: a model that was tuned by rewards."""

    writer: ClassVar[str] = "sft.grpo"
    kind: Literal["grpo"] = "grpo"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    counts: dict[str, dict[str, Count]]
    """The rows of each source by outcome."""
    problems: Positive
    """Problems trained on."""
    rewards: dict[str, float]
    """Weights of the rewards, by name."""
    unjudged: dict[str, Count]
    """Answers that math-verify could not judge, by reason."""


class SamplingInputs(Part):
    """What decided the pairs."""

    problems: Sha256
    """Of the problems with their answers."""
    tokenizer: Sha256
    """Of the tokenizer and its template."""
    model: Sha256
    """Of the model's configuration and weights."""
    asking: Sha256
    """Of its tokenizer, templates and generation configuration."""
    sampling: dict[str, Json]
    """The configuration of the sampling."""


class Preferences(Record):
    """``manifest.json`` in the folder of pairs of a right and a wrong answer."""

    writer: ClassVar[str] = "sft.preferences"
    kind: Literal["preferences"] = "preferences"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    counts: PreferenceCounts
    """Problems and samples by outcome."""
    sources: dict[str, dict[str, Count]]
    """The rows of each source by outcome."""
    inputs: SamplingInputs
    """What decided the samples."""
    pairs_per_problem: Positive
    """Most pairs of a problem."""
    model: str
    """The folder of the model that was sampled."""
    pairs_sha256: Sha256
    """Of pairs.jsonl."""
    provenance: Provenance
    """Where it comes from."""
