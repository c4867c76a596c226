"""Attention within each conversation of a packed batch, as transformers calls it."""

from typing import Any

import torch
from torch.nn.attention.varlen import varlen_attn


def varlen(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: Any = None,
    max_length_q: int = 0,
    **kwargs: Any,
) -> tuple[Any, None]:
    """Causal attention within each conversation of a packed batch, by torch's `varlen_attn`.

    ``query`` has the shape (1, heads, tokens, head width), ``key`` and ``value`` may have fewer
    heads. ``cu_seq_lens_q``, (conversations + 1,) int32, has the first token of each conversation
    and the number of all tokens, and ``max_length_q`` is the length of the longest; TRL's collator
    makes both. Returns (1, tokens, heads, head width) in bfloat16 or float16.

    Raises `ValueError` for a batch that is not packed, and for what it cannot compute.
    """
    if cu_seq_lens_q is None or attention_mask is not None or query.shape[0] != 1:
        raise ValueError("varlen attention takes packed rows; use sdpa for others")
    if dropout or kwargs.get("sliding_window") or kwargs.get("softcap"):
        raise ValueError("varlen attention has no dropout, window or soft cap; use sdpa")
    dtype = value.dtype
    if torch.is_autocast_enabled(query.device.type):
        dtype = torch.get_autocast_dtype(query.device.type)
    # Rotary positions are in float32, and so is what they are applied to.
    query, key, value = (tensor[0].transpose(0, 1).to(dtype) for tensor in (query, key, value))
    output = varlen_attn(
        query,
        key,
        value,
        cu_seq_lens_q,
        cu_seq_lens_q,
        max_length_q,
        max_length_q,
        scale=scaling,
        window_size=(-1, 0),  # causal
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return output[None], None
