"""The reversible map between MaxText's weights and those of transformers' LlamaForCausalLM.

MaxText keeps a kernel as (inputs..., outputs...), Hugging Face as (outputs, inputs): a transpose
after flattening. MaxText folds the 1/sqrt(head_dim) of attention into the query kernel, Hugging
Face divides in the forward pass: the kernel is multiplied by sqrt(head_dim). Both rotate halves of
a head under default RoPE, so that, unlike Meta's original weights, q and k are NOT permuted; under
MaxText's llama3.1 RoPE neighbours are rotated, and there the rows of q and k are reordered.

Both directions go through `Weight.view`: Hugging Face's tensor seen with MaxText's axes, without a
copy. To convert is to assign to the view, to convert back is to read it.

Qwen2's biases and Qwen3's norms of q and k are rows of the same map. MaxText's blocks for these
divide by sqrt(head_dim) in the forward pass too, so that nothing is multiplied.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from conversion.architecture import Architecture
from conversion.weight import Array, Region, Weight
from tinymathreason.cli import InputError

DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
}
"""Types of weights that both formats hold, by the name that both give them."""
SCAN_AXIS = 1
"""Axis on which a scan over layers stacks their weights (MaxText's param_scan_axis)."""

_ATTENTION = "decoder.layers.self_attention"
_MLP = "decoder.layers.mlp"
_NORM = "decoder.layers.{}_self_attention_layer_norm.scale"
_LAYER = "model.layers.{layer}"
EMBEDDING = Weight("model.embed_tokens.weight", "token_embedder.embedding", (), ("vocab", "hidden"))
LAYER = (
    Weight(
        f"{_LAYER}.self_attn.q_proj.weight",
        f"{_ATTENTION}.query.kernel",
        ("hidden",),
        ("heads", "head_dim"),
        scale="query_scale",
        rotary=True,
    ),
    Weight(
        f"{_LAYER}.self_attn.q_proj.bias",
        f"{_ATTENTION}.query.bias",
        (),
        ("heads", "head_dim"),
        only="qkv_bias",
        flat=True,
        scale="query_scale",
        rotary=True,
    ),
    Weight(
        f"{_LAYER}.self_attn.k_proj.weight",
        f"{_ATTENTION}.key.kernel",
        ("hidden",),
        ("kv_heads", "head_dim"),
        rotary=True,
    ),
    Weight(
        f"{_LAYER}.self_attn.k_proj.bias",
        f"{_ATTENTION}.key.bias",
        (),
        ("kv_heads", "head_dim"),
        only="qkv_bias",
        flat=True,
        rotary=True,
    ),
    Weight(
        f"{_LAYER}.self_attn.v_proj.weight",
        f"{_ATTENTION}.value.kernel",
        ("hidden",),
        ("kv_heads", "head_dim"),
    ),
    Weight(
        f"{_LAYER}.self_attn.v_proj.bias",
        f"{_ATTENTION}.value.bias",
        (),
        ("kv_heads", "head_dim"),
        only="qkv_bias",
        flat=True,
    ),
    Weight(
        f"{_LAYER}.self_attn.o_proj.weight",
        f"{_ATTENTION}.out.kernel",
        ("heads", "head_dim"),
        ("hidden",),
    ),
    Weight(
        f"{_LAYER}.self_attn.q_norm.weight",
        f"{_ATTENTION}.query_norm.scale",
        (),
        ("head_dim",),
        only="qk_norm",
        rotary=True,
    ),
    Weight(
        f"{_LAYER}.self_attn.k_norm.weight",
        f"{_ATTENTION}.key_norm.scale",
        (),
        ("head_dim",),
        only="qk_norm",
        rotary=True,
    ),
    Weight(f"{_LAYER}.mlp.gate_proj.weight", f"{_MLP}.wi_0.kernel", ("hidden",), ("mlp",)),
    Weight(f"{_LAYER}.mlp.up_proj.weight", f"{_MLP}.wi_1.kernel", ("hidden",), ("mlp",)),
    Weight(f"{_LAYER}.mlp.down_proj.weight", f"{_MLP}.wo.kernel", ("mlp",), ("hidden",)),
    Weight(f"{_LAYER}.input_layernorm.weight", _NORM.format("pre"), (), ("hidden",)),
    Weight(f"{_LAYER}.post_attention_layernorm.weight", _NORM.format("post"), (), ("hidden",)),
)
NORM = Weight(
    "model.norm.weight", "decoder.decoder_norm.scale", (), ("hidden",), scale="norm_scale"
)
HEAD = Weight("lm_head.weight", "decoder.logits_dense.kernel", ("hidden",), ("vocab",))


def weights(sizes: Architecture) -> tuple[Weight, ...]:
    """Every kind of weight that a model of these sizes has, in the order of its forward pass."""
    return (EMBEDDING, *_layer(sizes), NORM, *(() if sizes.tied else (HEAD,)))


def _layer(sizes: Architecture) -> list[Weight]:
    """Every kind of weight of a layer."""
    return [weight for weight in LAYER if weight.only is None or getattr(sizes, weight.only)]


@dataclass(frozen=True)
class Stored:
    """One array of a MaxText checkpoint and the weights in it."""

    path: str
    shape: tuple[int, ...]
    weight: Weight
    layers: range
    """Layers whose weights are stacked in it; of length one, without an axis, otherwise."""
    stacked: bool
    """Whether there is an axis of layers."""

    @property
    def names(self) -> list[str]:
        """Hugging Face's names of its weights."""
        return [self.weight.hf.format(layer=layer) for layer in self.layers]

    def split(self, block: Array, region: Region) -> Iterator[tuple[int, Array, Region]]:
        """A block by layer: the index in `names`, the layer's part, and where it lies there."""
        if not self.stacked:
            yield 0, block, region
            return
        inner = (*region[:SCAN_AXIS], *region[SCAN_AXIS + 1 :])
        scan = region[SCAN_AXIS]
        for layer in range(scan.start, scan.stop):
            yield layer, block[(*[slice(None)] * SCAN_AXIS, layer - scan.start)], inner


def stored(sizes: Architecture, scanned: bool) -> dict[str, Stored]:
    """Every parameter array that a MaxText checkpoint of these sizes holds, by path."""
    arrays = []
    for weight in weights(sizes):
        shape = weight.shape(sizes)
        if not weight.per_layer:
            arrays.append(Stored(weight.maxtext, shape, weight, range(1), False))
        elif scanned:
            stacked = (*shape[:SCAN_AXIS], sizes.layers, *shape[SCAN_AXIS:])
            arrays.append(Stored(weight.maxtext, stacked, weight, range(sizes.layers), True))
        else:
            for layer in range(sizes.layers):
                path = weight.maxtext.replace("decoder.layers.", f"decoder.layers_{layer}.")
                arrays.append(Stored(path, shape, weight, range(layer, layer + 1), False))
    return {array.path: array for array in arrays}


def sizes_of(shapes: Mapping[str, tuple[int, ...]]) -> Architecture:
    """The sizes that follow from a MaxText checkpoint's shapes; not context, rope and norm.

    Raises `InputError` when no array has an axis that is needed.
    """
    kinds = {weight.maxtext: weight for weight in (EMBEDDING, *LAYER, NORM, HEAD)}
    sizes: dict[str, Any] = {}
    options: dict[str, Any] = {weight.only: False for weight in LAYER if weight.only}
    for path, shape in sorted(shapes.items()):
        layer = re.search(r"layers_(\d+)", path)
        weight = kinds.get(path.replace(layer[0], "layers") if layer else path)
        if weight is None:
            continue
        if weight.only:
            options[weight.only] = True
        layers = int(layer[1]) + 1 if layer else 1
        if weight.per_layer and not layer:
            if len(shape) <= SCAN_AXIS:
                continue
            layers, shape = shape[SCAN_AXIS], (*shape[:SCAN_AXIS], *shape[SCAN_AXIS + 1 :])
        if weight.per_layer:
            sizes["layers"] = max(layers, sizes.get("layers", 0))
        for axis, size in zip(weight.inputs + weight.outputs, shape, strict=False):
            sizes.setdefault(axis, size)
    axes = {"layers", *(axis for kind in kinds.values() for axis in kind.inputs + kind.outputs)}
    if unknown := axes - sizes.keys():
        raise InputError(f"no array tells {' and '.join(sorted(unknown))}: name the config")
    tied = HEAD.maxtext not in shapes
    return Architecture(**sizes, **options, tied=tied, context=1, rope_theta=1.0, norm_epsilon=1.0)


def hf_tensors(sizes: Architecture) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of LlamaForCausalLM, in the order of its state dict."""
    shapes = {EMBEDDING.hf: EMBEDDING.hf_shape(sizes)}
    for layer in range(sizes.layers):
        shapes.update({w.hf.format(layer=layer): w.hf_shape(sizes) for w in _layer(sizes)})
    shapes[NORM.hf] = NORM.hf_shape(sizes)
    if not sizes.tied:
        shapes[HEAD.hf] = HEAD.hf_shape(sizes)
    return shapes


def check_types(where: str | Path, dtypes: Mapping[str, str]) -> None:
    """Raise `InputError` for the first weight whose type, by name, is none of `DTYPES`."""
    for name, dtype in dtypes.items():
        if dtype not in DTYPES:
            raise InputError(f"{where}: {name} holds {dtype}; expected {' or '.join(DTYPES)}")


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """The first entries in which two mappings differ, side by side; empty when they are equal."""
    wrong = [
        f"{key} expected {expected.get(key, 'none')} found {found.get(key, 'none')}"
        for key in sorted(expected.keys() | found.keys())
        if expected.get(key) != found.get(key)
    ]
    more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return "; ".join(wrong[:3]) + more
