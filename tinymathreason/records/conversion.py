"""The record of a conversion from MaxText to Hugging Face, with its proof."""

from typing import Annotated, ClassVar, Literal

import pydantic

from tinymathreason.records.base import Count, Json, Part, Positive, Record, Sha256, Share
from tinymathreason.records.pretraining import Phase
from tinymathreason.records.provenance import Provenance

_NotNegative = Annotated[float, pydantic.Field(ge=0)]


class ParityRecord(Part):
    """How far the logits of both models are apart, over all positions but the first."""

    max_abs_diff: _NotNegative
    """Largest difference of two float32 logits."""
    scale: _NotNegative
    """The largest absolute logit."""
    mean_kl: float
    """Mean Kullback-Leibler divergence of the next-token distributions, in nats."""
    argmax_agreement: Share
    """Share of positions whose most likely token is the same."""
    positions: Positive
    """Positions compared."""
    tolerance: _NotNegative
    """What ``max_abs_diff`` had to be below, as a share of ``scale``."""
    kl_tolerance: _NotNegative
    """What ``mean_kl`` had to be below, in nats."""

    @property
    def accepted(self) -> bool:
        """Whether the figures are within their tolerances."""
        close = self.max_abs_diff < self.tolerance * self.scale
        return close and self.mean_kl < self.kl_tolerance and self.argmax_agreement == 1


class Conversion(Record):
    """``conversion.json`` in the folder of a converted model."""

    writer: ClassVar[str] = "conversion.to_hf"
    kind: Literal["conversion"] = "conversion"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    checkpoint: str
    """The folder of the step that was converted."""
    checkpoint_sha256: Sha256
    """Of the checkpoint's metadata."""
    config: str
    """The overlay that trained it."""
    tokenizer: str
    """The folder of its tokenizer."""
    tokenizer_sha256: Sha256
    """Of the tokenizer's files."""
    dtype: Literal["float32", "bfloat16", "float16"]
    """The type of the weights."""
    max_shard_bytes: Positive
    """Largest size of a file of weights."""
    allow_nonfinite: bool
    """Whether NaN and infinity were accepted in the weights."""
    sizes: dict[str, Json]
    """The sizes of the model by the overlay."""
    parameters: Positive
    """Weights of the converted model."""
    trimmed_vocabulary_rows: Count
    """Rows of padding that were cut from the vocabulary."""
    model_sha256: Sha256
    """Of the converted model's configuration and weights."""
    parity: ParityRecord | None
    """The proof; null when it was skipped."""
    phases: list[Phase] = pydantic.Field(default_factory=list)
    """The phases of pretraining, oldest first, by the records beside the checkpoint; empty if there
    are none."""
    provenance: Provenance
    """Where it comes from."""


class OpenModel(Record):
    """``to_maxtext.json`` beside a checkpoint that was converted from a Hugging Face model."""

    writer: ClassVar[str] = "conversion.to_maxtext"
    file: ClassVar[str] = "to_maxtext.json"
    """The name of its file."""
    kind: Literal["conversion.open_model"] = "conversion.open_model"
    """Which record it is."""
    version: Literal[1] = 1
    """Of the fields."""
    name: str
    """Its name on the hub, with ``@`` and the commit if it is known; else that of its folder."""
    folder: str
    """The folder that was converted."""
    model_sha256: Sha256
    """Of its configuration and weights."""
    parameters: Positive
    """Its weights."""
    maxtext: dict[str, Json]
    """MaxText's keys that describe it, as in ``overlay.yml``."""
    provenance: Provenance
    """Where the checkpoint comes from."""
