"""Decoder layers compiled by torch.compile, and packed batches of one length for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sft.attention import VARLEN


def decided(setting: bool | None, attention: str | None, whole: bool) -> bool:
    """Whether the layers are compiled: the user's ``setting``, else where it is known to help.

    That is beside `VARLEN` attention, which torch.compile knows, with ``whole`` weights, neither
    sharded nor quantised.
    """
    return attention == VARLEN and whole if setting is None else setting


def wanted(setting: bool | None, trainer: Any) -> bool:
    """What is `decided` for a trainer."""
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    quantised = getattr(trainer.model, "is_quantized", False)
    attention = trainer.model.config._attn_implementation
    return decided(setting, attention, not (sharded or quantised))


def decoder_layers(model: Any) -> list[Any]:
    """The decoder layers of a transformers model."""
    names = set(model._no_split_modules or ())
    return [layer for layer in model.modules() if type(layer).__name__ in names]


def compile_layers(model: Any, backend: str = "inductor") -> int:
    """Compile each decoder layer in place; returns their number.

    All layers share one program, since they have the same shapes, so it is made once. The rest of
    the model is a few operations, among them TRL's head, whose shapes differ in every batch.
    """
    layers = decoder_layers(model)
    for layer in layers:
        layer.compile(backend=backend)
    return len(layers)


@dataclass
class FixedLength:
    """Fills up packed batches to one length, since a program is made for one length.

    What is filled up is one more conversation, without a target.
    """

    collator: Any
    """TRL's collator of packed rows."""
    length: int
    """Tokens of a full batch."""
    padding: int
    """Id of the padding token."""

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """A batch of the shape (1, length)."""
        import torch

        batch: dict[str, Any] = self.collator(examples)
        length = batch["input_ids"].shape[1]
        missing = self.length - length
        if missing <= 0:
            return batch
        fill = {
            "input_ids": torch.full((1, missing), self.padding),
            "labels": torch.full((1, missing), -100),
            "position_ids": torch.arange(missing)[None],
            "seq_idx": torch.full((1, missing), len(batch["cu_seq_lens_q"]) - 1),
        }
        for key, values in fill.items():
            batch[key] = torch.cat([batch[key], values.to(batch[key].dtype)], dim=1)
        ends = batch["cu_seq_lens_q"]
        ends = torch.cat([ends, torch.tensor([length + missing], dtype=ends.dtype)])
        batch["cu_seq_lens_q"] = batch["cu_seq_lens_k"] = ends
        longest = max(batch["max_length_q"], missing)
        batch["max_length_q"] = batch["max_length_k"] = longest
        return batch
