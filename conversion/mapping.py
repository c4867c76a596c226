"""The reversible map between MaxText's weights and LlamaForCausalLM's.

MaxText keeps a kernel as (inputs..., outputs...), Hugging Face as (outputs, inputs): a transpose
after flattening. MaxText folds the 1/sqrt(head_dim) of attention into the query kernel, Hugging
Face divides in the forward pass: the kernel is multiplied by sqrt(head_dim). Both rotate halves of
a head under default RoPE, so that, unlike Meta's original weights, q and k are NOT permuted.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from conversion.architecture import Architecture

Array = npt.NDArray[np.float32]
SCAN_AXIS = 1
"""Axis on which a scan over layers stacks their weights (MaxText's param_scan_axis)."""


@dataclass(frozen=True)
class Weight:
    """One kind of weight: its two names, its axes, and whether it carries the query's scale."""

    hf: str
    """Name in LlamaForCausalLM; ``{layer}`` stands for the layer's index."""
    maxtext: str
    """Path in MaxText's parameters; a layer's weight is stacked when scanned."""
    inputs: tuple[str, ...]
    """`Architecture` fields that size the input axes; empty for vectors and the embedding."""
    outputs: tuple[str, ...]
    """`Architecture` fields that size the output axes."""
    scaled: bool = False
    """Whether Hugging Face's weight is sqrt(head_dim) times MaxText's."""

    @property
    def per_layer(self) -> bool:
        """Whether every layer has one."""
        return "{layer}" in self.hf

    def shape(self, sizes: Architecture) -> tuple[int, ...]:
        """MaxText's shape of one layer's weight."""
        return tuple(getattr(sizes, axis) for axis in self.inputs + self.outputs)

    def hf_shape(self, sizes: Architecture) -> tuple[int, ...]:
        """Hugging Face's shape."""
        shape = self.shape(sizes)
        if not self.inputs:
            return shape
        inputs = math.prod(shape[: len(self.inputs)])
        return math.prod(shape) // inputs, inputs

    def to_hf(self, array: Array, sizes: Architecture) -> Array:
        """MaxText's array of one layer as Hugging Face's; float32 in, float32 out."""
        if self.inputs:
            array = array.reshape(self.hf_shape(sizes)[::-1]).T
        if self.scaled:
            array = array * np.float32(math.sqrt(sizes.head_dim))
        return np.ascontiguousarray(array)

    def to_maxtext(self, array: Array, sizes: Architecture) -> Array:
        """Hugging Face's array as MaxText's of one layer; float32 in, float32 out."""
        if self.scaled:
            array = array / np.float32(math.sqrt(sizes.head_dim))
        if self.inputs:
            array = array.T
        return np.ascontiguousarray(array).reshape(self.shape(sizes))


_ATTENTION = "decoder.layers.self_attention"
_LAYER = "model.layers.{layer}"
WEIGHTS = (
    Weight("model.embed_tokens.weight", "token_embedder.embedding", (), ("vocab", "hidden")),
    Weight(
        f"{_LAYER}.input_layernorm.weight",
        "decoder.layers.pre_self_attention_layer_norm.scale",
        (),
        ("hidden",),
    ),
    Weight(
        f"{_LAYER}.self_attn.q_proj.weight",
        f"{_ATTENTION}.query.kernel",
        ("hidden",),
        ("heads", "head_dim"),
        scaled=True,
    ),
    Weight(
        f"{_LAYER}.self_attn.k_proj.weight",
        f"{_ATTENTION}.key.kernel",
        ("hidden",),
        ("kv_heads", "head_dim"),
    ),
    Weight(
        f"{_LAYER}.self_attn.v_proj.weight",
        f"{_ATTENTION}.value.kernel",
        ("hidden",),
        ("kv_heads", "head_dim"),
    ),
    Weight(
        f"{_LAYER}.self_attn.o_proj.weight",
        f"{_ATTENTION}.out.kernel",
        ("heads", "head_dim"),
        ("hidden",),
    ),
    Weight(
        f"{_LAYER}.post_attention_layernorm.weight",
        "decoder.layers.post_self_attention_layer_norm.scale",
        (),
        ("hidden",),
    ),
    Weight(
        f"{_LAYER}.mlp.gate_proj.weight", "decoder.layers.mlp.wi_0.kernel", ("hidden",), ("mlp",)
    ),
    Weight(f"{_LAYER}.mlp.up_proj.weight", "decoder.layers.mlp.wi_1.kernel", ("hidden",), ("mlp",)),
    Weight(f"{_LAYER}.mlp.down_proj.weight", "decoder.layers.mlp.wo.kernel", ("mlp",), ("hidden",)),
    Weight("model.norm.weight", "decoder.decoder_norm.scale", (), ("hidden",)),
    Weight("lm_head.weight", "decoder.logits_dense.kernel", ("hidden",), ("vocab",)),
)


def stored(sizes: Architecture, scanned: bool) -> dict[str, tuple[int, ...]]:
    """Path and shape of every parameter array that a MaxText checkpoint of these sizes holds."""
    found: dict[str, tuple[int, ...]] = {}
    for weight in WEIGHTS:
        shape = weight.shape(sizes)
        if not weight.per_layer:
            found[weight.maxtext] = shape
        elif scanned:
            found[weight.maxtext] = (*shape[:SCAN_AXIS], sizes.layers, *shape[SCAN_AXIS:])
        else:
            for layer in range(sizes.layers):
                found[unscanned(weight.maxtext, layer)] = shape
    return found


def unscanned(path: str, layer: int) -> str:
    """The path of one layer's weight in a checkpoint that keeps layers apart."""
    return path.replace("decoder.layers.", f"decoder.layers_{layer}.")


def hf_tensors(sizes: Architecture) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of LlamaForCausalLM at these sizes."""
    return {
        weight.hf.format(layer=layer): weight.hf_shape(sizes)
        for weight in WEIGHTS
        for layer in range(sizes.layers if weight.per_layer else 1)
    }
