"""A stand-in on the CPU for the kernels under torch's `varlen_attn`, which exist for CUDA only.

Everything above the kernels is torch's own: the checks of the arguments, the choice of the kernel,
the gradient's formula and what torch.compile knows of it.
"""

import itertools
from typing import Any

import torch
from torch.nn.attention import varlen

calls: list[dict[str, Any]] = []
"""The arguments of each forward call."""


def attend(query, key, value, starts, causal: bool, scale, mask: bool = True, grad=None):
    """(tokens, heads, width), each conversation by itself.

    With ``grad``, the gradient of the output, returns the gradients of query, key and value.
    """
    groups = query.shape[1] // key.shape[1]
    found = [], [], []
    for start, end in itertools.pairwise(starts.tolist() if mask else [0, len(query)]):
        q = query[start:end].float().unflatten(1, (-1, groups))
        k, v = key[start:end].float(), value[start:end].float()
        scores = torch.einsum("qngd,knd->ngqk", q, k) * scale
        if causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        weights = scores.softmax(-1)
        output = torch.einsum("ngqk,knd->qngd", weights, v)
        if grad is None:
            found[0].append(output.flatten(1, 2))
            continue
        above = grad[start:end].float().unflatten(1, (-1, groups))
        shared = (above * output).sum(-1).permute(1, 2, 0)[..., None]
        slopes = scale * weights * (torch.einsum("qngd,knd->ngqk", above, v) - shared)
        found[0].append(torch.einsum("ngqk,knd->qngd", slopes, k).flatten(1, 2))
        found[1].append(torch.einsum("ngqk,qngd->knd", slopes, q))
        found[2].append(torch.einsum("ngqk,qngd->knd", weights, above))
    made = [torch.cat(parts).to(query.dtype) for parts in found if parts]
    return made[0] if grad is None else tuple(made)


def install(leaky: bool = False) -> None:
    """Let `varlen_attn` run on the CPU; with ``leaky``, conversations see those before them."""

    def forward(
        query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal, scale, window, gqa, *rest
    ):
        calls.append(
            {"starts": cu_seq_q.tolist(), "same": torch.equal(cu_seq_q, cu_seq_k), "max": max_q,
             "causal": is_causal, "scale": scale, "window": window, "gqa": gqa,
             "dtype": query.dtype, "shapes": (tuple(query.shape), tuple(key.shape))}
        )  # fmt: skip
        output = attend(query, key, value, cu_seq_q, is_causal, scale, not leaky).contiguous()
        normaliser = query.new_zeros(query.shape[1], len(query), dtype=torch.float32)
        return output, normaliser, torch.zeros(2, dtype=torch.uint64)

    def backward(
        grad, query, key, value, out, lse, cu_seq_q, cu_seq_k, max_q, max_k, is_causal, state,
        scale, *rest,
    ):  # fmt: skip
        return attend(query, key, value, cu_seq_q, is_causal, scale, not leaky, grad)

    varlen._varlen_attn.register_kernel("cpu")(forward)
    varlen._varlen_attn_backward.register_kernel("cpu")(backward)
