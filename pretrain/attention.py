"""Which attention of MaxText 0.2.5 keeps the documents of a packed row apart, by hardware.

`pretrain.isolation` proves an entry where it runs: it changes one document of a row and looks
whether the logits of another one move.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tinymathreason.cli import InputError
from tinymathreason.config import nearest


class Isolation(Enum):
    """What an attention does with the documents of a packed row."""

    APART = "apart"
    MIXED = "mixed"
    NOT_RUN = "does not run"


class Shown(Enum):
    """How an entry of the table is known."""

    CPU = "test on a CPU"
    KERNEL = "test on a CPU, in Pallas's interpreter"
    SOURCE = "MaxText's source; benchmarks.gpu checks it"
    READ = "MaxText's source"


@dataclass(frozen=True)
class AttentionEntry:
    """What one value of the key ``attention`` does on one kind of hardware, in training."""

    documents: Isolation
    shown: Shown
    how: str
    """What runs, or why it does not."""


_PRODUCT = AttentionEntry(
    Isolation.APART, Shown.CPU, "products with a mask of [rows, 1, length, length]"
)
_PRODUCT_SOURCE = AttentionEntry(Isolation.APART, Shown.SOURCE, _PRODUCT.how)
_SPLASH = AttentionEntry(Isolation.APART, Shown.READ, "Splash attention with segment ids")
_TRITON = AttentionEntry(
    Isolation.APART, Shown.KERNEL, "tokamax's Triton kernel with a mask of causality and segments"
)
_NO_TRITON = AttentionEntry(Isolation.NOT_RUN, Shown.CPU, "tokamax's kernel needs a GPU")
_CUDNN = "cuDNN with a causal mask only; segment ids are ignored without a word"
_NO_CUDNN = AttentionEntry(Isolation.NOT_RUN, Shown.CPU, "cuDNN needs a GPU")
_NO_TE = AttentionEntry(Isolation.NOT_RUN, Shown.CPU, "transformer_engine needs a GPU")

TABLE: dict[str, dict[str, AttentionEntry]] = {
    "cpu": {
        "dot_product": _PRODUCT,
        "autoselected": _PRODUCT,
        "flash": _NO_TRITON,
        "cudnn_flash_te": _NO_TE,
        "cudnn_flash_jax": _NO_CUDNN,
    },
    "gpu": {
        "dot_product": _PRODUCT_SOURCE,
        "autoselected": AttentionEntry(Isolation.APART, Shown.SOURCE, _TRITON.how),
        "flash": _TRITON,
        "cudnn_flash_te": AttentionEntry(
            Isolation.APART,
            Shown.SOURCE,
            "Transformer Engine on packed rows; max_segments_per_seq bounds their documents",
        ),
        "cudnn_flash_jax": AttentionEntry(Isolation.MIXED, Shown.SOURCE, _CUDNN),
    },
    "tpu": {
        "dot_product": AttentionEntry(Isolation.APART, Shown.READ, _PRODUCT.how),
        "autoselected": _SPLASH,
        "flash": _SPLASH,
        "cudnn_flash_te": AttentionEntry(Isolation.NOT_RUN, Shown.READ, _NO_TE.how),
        "cudnn_flash_jax": AttentionEntry(Isolation.NOT_RUN, Shown.READ, _NO_CUDNN.how),
    },
}
"""The entries by hardware, then by the value of ``attention``.

MaxText accepts three more values, `SERVING`, whose kernels are for serving.
"""
SERVING = ("paged", "vllm_rpa", "vllm_batched_rpa")
ONE_CARD = ("flash", "autoselected")
"""Attention that only one GPU can use: MaxText calls tokamax's kernel outside of ``shard_map``, so
that XLA would gather the rows of all cards on each."""


def entry(attention: str, hardware: str) -> AttentionEntry:
    """The entry for a value of ``attention`` and of ``hardware``; `InputError` for an unknown one.

    ``gpu_multiprocess`` is a GPU.
    """
    if attention in SERVING:
        raise InputError(f"attention: {attention} is for serving; {_accepted(hardware)}")
    known = TABLE[_kind(hardware)]
    if attention not in known:
        raise InputError(f"attention: {nearest(attention, known)}")
    return known[attention]


def check(config: dict[str, Any]) -> None:
    """Raise `InputError` when a training's attention would mix documents or cannot run.

    ``config`` is a full configuration (`pretrain.overlay.load`). Rows that are not packed hold one
    document each, which any attention keeps apart.
    """
    attention, hardware = config["attention"], config["hardware"]
    found = entry(attention, hardware)
    where = f"attention: {attention} on {hardware}"
    if found.documents is Isolation.NOT_RUN:
        raise InputError(f"{where}: {found.how}; {_accepted(hardware)}")
    if attention == "cudnn_flash_te" and importlib.util.find_spec("transformer_engine") is None:
        raise InputError(f"{where}: transformer_engine is not installed; {_accepted(hardware)}")
    if not config["packing"]:
        return
    if found.documents is Isolation.MIXED:
        raise InputError(
            f"{where} would attend across the documents of a row: {found.how}; "
            f"{_accepted(hardware)}"
        )
    if attention == "cudnn_flash_te" and config["max_segments_per_seq"] < 1:
        # MaxText asks this itself for one process, but not for hardware: gpu_multiprocess.
        raise InputError(
            f"{where}: max_segments_per_seq must be the most documents that a row may hold "
            f"(got {config['max_segments_per_seq']})"
        )


def check_cards(config: Mapping[str, Any], cards: int, where: str) -> None:
    """Raise `InputError` when a training's attention is for fewer than ``cards`` GPUs."""
    if _kind(config["hardware"]) == "gpu" and cards > 1 and config["attention"] in ONE_CARD:
        raise InputError(
            f"attention: {config['attention']} is for one card, not for {where}; MaxText "
            "would gather the rows of all cards on each: use dot_product or cudnn_flash_te"
        )


def _kind(hardware: str) -> str:
    return hardware.removesuffix("_multiprocess")


def _accepted(hardware: str) -> str:
    apart = [
        name for name, found in TABLE[_kind(hardware)].items() if found.documents is Isolation.APART
    ]
    return f"accepted: {', '.join(apart)}"


def table() -> list[dict[str, str]]:
    """The rows of the documentation's table, one for each value."""
    return [
        {"`attention`": f"`{name}`"}
        | {kind: rows[name].documents.value for kind, rows in TABLE.items()}
        | {"on a GPU": TABLE["gpu"][name].how, "shown by": TABLE["gpu"][name].shown.value}
        for name in TABLE["gpu"]
    ]
