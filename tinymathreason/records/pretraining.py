"""The two records in the folder of a pretraining run."""

from typing import Annotated, ClassVar, Literal

import pydantic

from tinymathreason.records.base import Count, Json, OpenPart, Part, Positive, Record, Sha256, Time
from tinymathreason.records.provenance import Provenance


class MixtureHash(Part):
    """Which mixture was trained on."""

    manifest_sha256: Sha256 | None
    """Of its manifest; null for a mixture without one."""
    content_sha256: Sha256
    """Of the names, weights and records that training reads."""
    recipe: str | None = None
    """The name of the recipe that it was built by; null if its manifest has none."""
    file: str | None = None
    """The file that was read, such as ``mixture.json``; `data_prep.reweight` writes others. Null in
    runs that were started before it was recorded."""


class Phase(Part):
    """A phase of pretraining: a run, and the mixture that it drew from."""

    run: str
    """The name of its run."""
    recipe: str | None
    """As in `MixtureHash`."""
    file: str | None
    """As in `MixtureHash`."""
    last_step: Count
    """Step of its checkpoint that was used."""


class StartWeights(Part):
    """The weights that a training began with."""

    path: str
    """Where they are: ``load_parameters_path``."""
    checkpoint_sha256: Sha256
    """Of the checkpoint's metadata."""
    model: str | None
    """The open model's name; null for weights that `conversion.to_maxtext` did not write."""
    model_folder: str | None
    """The folder that was converted; null like the name."""
    model_sha256: Sha256 | None
    """Of the open model's configuration and weights; null like the name."""


class StartRecord(Part):
    """One start of the training."""

    provenance: Provenance
    """Where it comes from; its time is that of the start."""
    hosts: Positive
    """Hosts that trained together."""
    devices: Positive
    """Devices of all hosts together."""
    device: str
    """The kind of device, such as ``cpu`` or ``TPU v4``."""
    arithmetic: str
    """The type that the model computes in."""
    changed: dict[str, Json]
    """Keys of the configuration that differ from ``config.json``, with their values."""
    mixture: MixtureHash | None
    """Which mixture was trained on; null without one."""
    tokenizer_sha256: Sha256 | None
    """Of tokenizer.json; null without one."""
    weights: StartWeights | None = None
    """The weights that it began with; null for random ones, and for a start that resumed."""
    earlier: list[Phase] = pydantic.Field(default_factory=list)
    """The phases before this run, oldest first, by the records beside the checkpoint that it began
    with."""
    resumed_from: Count | None
    """Step of the checkpoint that it continued; null at the first start."""
    end: Time | None
    """When it ended; null while it runs and after it was killed."""
    outcome: str | None
    """How it ended; null while it runs and after it was killed."""
    step: Count | None
    """Step of the last checkpoint at its end; null without one."""


class Starts(Record):
    """``provenance.json``: every start of the run, in order."""

    writer: ClassVar[str] = "maxtext.train"
    kind: Literal["pretraining.starts"] = "pretraining.starts"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    starts: Annotated[list[StartRecord], pydantic.Field(min_length=1)]
    """Every start, in order."""


class Configuration(Record, OpenPart):
    """``config.json``: MaxText's resolved configuration at the first start.

    It has MaxText's own keys, some 800 of them; those that other rooms read are checked here.
    """

    writer: ClassVar[str] = "maxtext.train"
    kind: Literal["pretraining.configuration"] = "pretraining.configuration"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    base_emb_dim: Positive
    """Width of the model."""
    base_num_decoder_layers: Positive
    """Layers of the model."""
    per_device_batch_size: Annotated[float, pydantic.Field(gt=0)]
    """Sequences of a device in a micro-batch."""
    gradient_accumulation_steps: Positive
    """Micro-batches of a step."""
    max_target_length: Positive
    """Tokens of a sequence."""
    opt_type: str
    """The optimiser."""
    adam_b1: float
    """AdamW's decay of the mean of the gradients."""
    adam_b2: float
    """AdamW's decay of the mean of their squares."""
    adam_eps: float
    """AdamW's epsilon."""
    adam_weight_decay: float
    """AdamW's decay of the weights."""
    gradient_clipping_threshold: float
    """Largest norm of the gradients; 0 for no limit."""
    learning_rate: float
    """The peak."""
    lr_schedule_type: str
    """The schedule's name."""
    learning_rate_final_fraction: float
    """The last learning rate, as a share of the peak."""
    warmup_steps_fraction: float
    """Share of the steps in which the learning rate rises."""
    dtype: str
    """The type that the model computes in."""
    weight_dtype: str
    """The type of the weights."""

    def maxtext(self) -> dict[str, Json]:
        """MaxText's keys and values: all but the record's own two."""
        return {k: v for k, v in self.as_json().items() if k not in ("kind", "version")}
