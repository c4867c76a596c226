"""The PyTorch peer of a pretraining on a GPU: LlamaForCausalLM, compiled, with fused AdamW.

It trains on the batches of an overlay with float32 weights and moments and bfloat16 products. A
step's rows go through the model in micro-batches of ``per_device_batch_size`` rows, as in MaxText.
"""

import itertools
import time
from pathlib import Path
from typing import Any

from conversion.architecture import Architecture
from pretrain import overlay
from tinymathreason.cli import InputError
from tinymathreason.files import write_json

WARM = 10
"""First steps that do not count, in which programs are compiled and memory is allocated."""
MASKS = ("none", "documents")
"""Attention across the documents of a row (sdpa), or within each (`sft.varlen`)."""


def warm(steps: int) -> int:
    """The number of first steps that do not count."""
    return min(WARM, steps // 3)


def documents(segments: Any) -> Any:
    """Where the documents of some rows begin, laid end to end: (documents + 1,) int32 on their
    device, with the number of all tokens at the end.

    ``segments`` is (rows, length) with MaxText's numbers of documents. The end is repeated up to a
    power of two, so that the step is compiled for few lengths; empty documents cost nothing.
    """
    import torch

    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    starts = begins.flatten().nonzero().flatten()
    size = 1 << max(6, int(starts.numel()).bit_length())
    padded = starts.new_full((size + 1,), segments.numel())
    padded[: starts.numel()] = starts
    return padded.int()


def loss(model: Any, mask: str, rows: dict[str, Any]) -> Any:
    """The mean loss of some rows, whose values are (rows, length) int64 tensors."""
    import torch

    inputs = {"input_ids": rows["inputs"]}
    if mask == "documents":
        length = rows["inputs"].shape[1]
        inputs = {
            "input_ids": rows["inputs"].reshape(1, -1),
            "position_ids": rows["inputs_position"].reshape(1, -1),
            "cu_seq_lens_q": rows["starts"],
            "max_length_q": length,
        }
    with torch.autocast(rows["inputs"].device.type, dtype=torch.bfloat16):
        logits = model(**inputs, use_cache=False).logits
    targets = rows["targets"].masked_fill(rows["targets_segmentation"] == 0, -100)
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def step(model: Any, compiled: Any, mask: str, batch: dict[str, Any], rows: int) -> float:
    """Add the gradients of a step, ``rows`` rows at a time; the mean loss."""
    parts = len(batch["inputs"]) // rows
    total = 0.0
    for part in range(parts):
        some = {key: value[part * rows : (part + 1) * rows] for key, value in batch.items()}
        if mask == "documents":
            some["starts"] = documents(some["inputs_segmentation"])
        mean = compiled(model, mask, some) / parts
        mean.backward()
        total = total + mean.detach()
    return float(total)  # waits for the device


def peer(config: str, steps: str, device: str, mask: str, recompute: str, output: str) -> None:
    """Train; writes seconds per step after the first ones, the losses, and the peak memory."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from benchmarks.batches import batches
    from sft import attention

    values = overlay.load(config)
    sizes = Architecture.from_maxtext(values)
    torch.manual_seed(0)
    if mask == "documents":
        attention.register()  # it switches cuDNN's attention off, which the other mask may use
    model: Any = AutoModelForCausalLM.from_config(
        LlamaConfig(**sizes.hf_config(1, 0, "float32")),
        attn_implementation=attention.VARLEN if mask == "documents" else "sdpa",
    )
    model.to(device).train()
    if recompute == "recompute":
        model.gradient_checkpointing_enable()
    optimiser = torch.optim.AdamW(
        model.parameters(),
        lr=values["learning_rate"],
        betas=(values["adam_b1"], values["adam_b2"]),
        eps=values["adam_eps"],
        weight_decay=values["adam_weight_decay"],
        fused=True,
    )
    # A CPU, which only tests the script, may have no C++ compiler.
    compiled = torch.compile(loss, backend="inductor" if device == "cuda" else "eager")
    ends, losses = [], []
    for batch in itertools.islice(batches(Path(config)), int(steps)):
        tensors = {key: torch.from_numpy(value).to(device).long() for key, value in batch.items()}
        rows = values["per_device_batch_size"]
        losses.append(step(model, compiled, mask, tensors, rows))
        torch.nn.utils.clip_grad_norm_(model.parameters(), values["gradient_clipping_threshold"])
        optimiser.step()
        optimiser.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        ends.append(time.monotonic())
    if len(ends) < int(steps):
        raise InputError(f"the data ended after {len(ends)} of {steps} steps")
    first = warm(len(ends)) - 1
    seconds = (ends[-1] - ends[first]) / (len(ends) - 1 - first)
    write_json(Path(output), {"seconds": seconds, "losses": losses})
