"""The attention of packed rows: one that skips other conversations, and the choice of one.

A packed batch is one row of many conversations. A dense mask over it takes memory and time by the
square of its length; variable-length attention computes each conversation by itself.
"""

import contextlib
import importlib.util
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tinymathreason.cli import InputError

AUTO = "auto"
"""The value of ``attn_implementation`` that leaves the choice to `choose`."""
VARLEN = "varlen"
"""The name under which `sft.varlen` is an attention implementation of transformers."""
SPARSE = (VARLEN, "flex_attention", "flash_attention_2", "flash_attention_3", "flash_attention_4")
"""Implementations whose cost grows with the length of a packed batch, not with its square."""
LARGEST_HEAD = 256
"""Widest attention head of torch's flash attention."""


@dataclass(frozen=True)
class Choice:
    """An implementation of attention, and why no other one."""

    name: str | None
    """As transformers takes it; None leaves the choice to transformers."""
    reason: str = ""
    """Why packed rows use a dense mask, in words; empty where they use none."""


def requested(model: Any) -> str | None:
    """The implementation that the user asked for in TRL's ModelConfig; None for `AUTO`."""
    name: str | None = model.attn_implementation
    return None if name == AUTO else name


def choose(training: Any, model: Any, config: Any) -> Choice:
    """The implementation for a run with packed rows.

    ``training`` and ``model`` are TRL's configurations, ``config`` is that of the transformers
    model. Where the user asked for none, or for `AUTO`, it is `VARLEN` if the device and the model
    allow it, else the one that transformers chooses. Raises `InputError` where the user asked for
    `VARLEN` and it does not serve.
    """
    name = requested(model)
    if name not in (None, VARLEN):
        return Choice(name)
    if not training.packing:
        if name == VARLEN:
            raise InputError(f"attn_implementation: {VARLEN} is for packed rows; set packing: true")
        return Choice(None)
    obstacle = _obstacle(training, model, config)
    if obstacle and name == VARLEN:
        raise InputError(f"attn_implementation: {VARLEN}: {obstacle}")
    return Choice(None, obstacle) if obstacle else Choice(VARLEN)


def _obstacle(training: Any, model: Any, config: Any) -> str:
    """Why `VARLEN` does not serve; empty if it does."""
    import torch

    if training.device.type != "cuda" or torch.version.hip is not None:
        return "variable-length attention needs an NVIDIA GPU"
    if torch.cuda.get_device_capability(training.device) < (8, 0):
        return "variable-length attention needs an NVIDIA GPU of Ampere or newer"
    if not (training.bf16 or training.fp16 or model.dtype in ("bfloat16", "float16")):
        return "variable-length attention needs bf16: true"
    if importlib.util.find_spec("torch.nn.attention.varlen") is None or not _grouped():
        return f"torch {torch.__version__} has no variable-length attention of grouped queries"
    return unsupported(config)


def _grouped() -> bool:
    """Whether torch's `varlen_attn` has grouped queries, which it lacked at first."""
    from torch.nn.attention.varlen import varlen_attn

    return "enable_gqa" in inspect.signature(varlen_attn).parameters


def unsupported(config: Any) -> str:
    """Why `VARLEN` does not serve for the transformers model of ``config``; empty if it does."""
    text = config.get_text_config()
    heads = text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    if width > LARGEST_HEAD or width % 8:
        return f"variable-length attention has no heads of width {width}"
    for key in ("sliding_window", "attn_logit_softcapping", "attention_dropout"):
        if getattr(text, key, None) and getattr(text, "use_" + key, True):
            return f"variable-length attention has no {key}"
    return ""


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """Make `VARLEN` an attention implementation of transformers, which serves within the block.

    It has no mask: transformers would make a dense one of the positions, and wait for the device to
    look whether it is needed. In the block cuDNN's attention is switched off, since its plans are
    made for one number of conversations, which differs in every batch; that leaves flash attention.
    """
    import torch
    from transformers import AttentionInterface

    from sft.varlen import varlen

    AttentionInterface.register(VARLEN, varlen)
    cudnn = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(cudnn)


def split(training: Any, rows: int) -> None:
    """Compute ``rows`` packed rows at once, a divisor of those of a micro-batch.

    A step keeps its rows; micro-batches become more and smaller.
    """
    training.gradient_accumulation_steps *= training.per_device_train_batch_size // rows
    training.per_device_train_batch_size = rows
    if training.packing:
        training.per_device_eval_batch_size = min(rows, training.per_device_eval_batch_size)


@contextlib.contextmanager
def plain(model: Any) -> Iterator[None]:
    """In the block, a model of `VARLEN` answers questions: with sdpa, and as it is written.

    Answers are padded batches with a cache, of ever new lengths, which would be compiled again and
    again.
    """
    import torch

    trained = model.config._attn_implementation
    if trained != VARLEN:
        yield
        return
    model.set_attn_implementation("sdpa")
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        model.set_attn_implementation(VARLEN)
