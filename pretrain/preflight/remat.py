"""What a layer of MaxText keeps for its backward pass on a GPU, and what it computes again.

``remat_policy`` names the arrays that are kept (``get_remat_policy`` in MaxText's
``layers/nnx_decoders.py``). Of those, only arrays that the backward pass reads take memory: a
layer's result (``mlpwo``) is the next layer's input, which is always kept.

Sizes are elements a token in one layer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pretrain.model import Model
from tinymathreason.cli import InputError

_QKV = frozenset({"query_proj", "key_proj", "value_proj"})
_MLP = frozenset({"mlpwi", "mlpwi_0", "mlpwi_1"})
KEPT = {
    "minimal_with_context": _QKV | _MLP | {"out_proj", "context"},
    "minimal_flash": _QKV | _MLP | {"out_proj", "context"},
    "minimal_with_context_and_quantization": _QKV | _MLP | {"out_proj", "context"},
    "minimal": _QKV | _MLP | {"out_proj"},
    "minimal_with_quantization": _QKV | _MLP | {"out_proj"},
    "save_dot_with_context_except_mlp": _QKV | {"out_proj", "context"},
    "save_dot_except_mlpwi": _QKV | {"out_proj"},
    "save_dot_except_mlp": _QKV | {"out_proj"},
    "save_qkv_proj": _QKV,
    "save_out_proj": frozenset({"out_proj"}),
    "qkv_proj_offloaded": frozenset(),
    "minimal_offloaded": frozenset(),
    "full": frozenset(),
}
"""The arrays that each policy keeps on the device."""
OFFLOADED = {
    "qkv_proj_offloaded": _QKV,
    "minimal_offloaded": _QKV | _MLP | {"out_proj"},
}
"""The arrays that each policy keeps in the host's memory."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """The matrix products of an attention kernel, in products of queries with keys or the like."""

    forward: int
    backward: int
    skips: bool
    """Whether it leaves out the half that the causal mask hides."""
    named: bool
    """Whether its result is called ``context``, so that a policy can keep it."""


KERNELS = {
    # tokamax's Pallas-Triton kernel: two kernels backward, one of four products and one of three.
    "flash": Kernel(forward=2, backward=7, skips=True, named=False),
    "autoselected": Kernel(forward=2, backward=7, skips=True, named=False),
    "cudnn_flash_te": Kernel(forward=2, backward=5, skips=True, named=True),
    "cudnn_flash_jax": Kernel(forward=2, backward=5, skips=True, named=True),
    "dot_product": Kernel(forward=2, backward=4, skips=False, named=False),
}
"""The kernels that MaxText runs on a GPU, by its key ``attention``."""
USEFUL_PRODUCTS = 6
"""Products of attention that the MFU counts: two forward and four backward, each causal."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer in training: what it keeps and what it repeats."""

    kept: int
    """Elements a token that stay on the device from the forward to the backward pass."""
    working: int
    """Elements a token of all other arrays of the layer, and of their gradients."""
    repeated: int
    """Weights whose products the backward pass computes again."""
    attention_products: float
    """Products of attention that the layer computes, as multiples of a causal one."""


def layer(model: Model, config: Mapping[str, Any]) -> Layer:
    """What one layer of ``model`` does under MaxText's ``config``.

    Raises `InputError` for an attention or a policy that is not known on a GPU.
    """
    attention, policy = str(config["attention"]), str(config["remat_policy"])
    if attention not in KERNELS:
        raise InputError(f"attention: expected one of {', '.join(KERNELS)} (got {attention!r})")
    kernel = KERNELS[attention]
    sizes, weights = _sizes(model, config)
    if policy == "none":
        device, offloaded = frozenset(sizes), frozenset[str]()
    elif policy == "custom":
        device = frozenset(name for name in sizes if config[name] == "device")
        offloaded = frozenset(name for name in sizes if config[name] == "offload")
    elif policy in KEPT:
        device, offloaded = KEPT[policy], OFFLOADED.get(policy, frozenset())
    else:
        accepted = ", ".join([*KEPT, "custom", "none"])
        raise InputError(f"remat_policy: expected one of {accepted} (got {policy!r})")
    if not kernel.named and policy != "none":
        device, offloaded = device - {"context"}, offloaded - {"context"}
    kept = sum(size for name, size in sizes.items() if name in device)
    # Besides the named arrays: two normalised inputs, the sum between the blocks, the activation.
    unnamed = 3 * model.hidden + model.mlp
    again = attention_again = policy != "none" and "context" not in device | offloaded
    products = kernel.forward * (1 + attention_again) + kernel.backward
    return Layer(
        kept=model.hidden + kept + (0 if again or policy != "none" else unnamed),
        working=2 * (sum(sizes.values()) + unnamed) - kept,
        repeated=sum(weight for name, weight in weights.items() if name not in device | offloaded),
        attention_products=products * (1 if kernel.skips else 2),
    )


def _sizes(model: Model, config: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """Elements a token of each named array that the backward pass reads, and its weights.

    ``context`` comes from no weights.
    """
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    widths = {"query_proj": queries, "key_proj": keys, "value_proj": keys}
    gates = model.mlp_matrices - 1
    if gates == 1 or config["fused_mlp"]:
        widths["mlpwi"] = gates * model.mlp
    else:
        widths |= {f"mlpwi_{number}": model.mlp for number in range(gates)}
    weights = {name: model.hidden * width for name, width in widths.items()}
    weights["out_proj"] = queries * model.hidden
    return {**widths, "out_proj": model.hidden, "context": queries}, weights
