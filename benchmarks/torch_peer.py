"""The PyTorch peer of a pretraining on a GPU: LlamaForCausalLM, compiled layers, fused AdamW.

It trains on the batches of an overlay with float32 weights and moments and bfloat16 products. A
step's rows go through the model in micro-batches of ``per_device_batch_size`` rows, as in MaxText.
"""

import contextlib
import functools
import itertools
import time
from collections.abc import Callable
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

    ``segments`` is (rows, length) with MaxText's numbers of documents.
    """
    import torch

    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    starts = begins.flatten().nonzero().flatten()
    return torch.nn.functional.pad(starts, (0, 1), value=segments.numel()).int()


def mean_loss(logits: Any, targets: Any) -> Any:
    """The mean loss in float32 of the targets that are not -100."""
    import torch

    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def loss(model: Any, mask: str, rows: dict[str, Any], mean: Callable[..., Any] = mean_loss) -> Any:
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
    return mean(logits, targets)


def step(model: Any, objective: Any, mask: str, batch: dict[str, Any], rows: int) -> float:
    """Add the gradients of a step, ``rows`` rows at a time; the mean loss."""
    parts = len(batch["inputs"]) // rows
    total = 0.0
    for part in range(parts):
        some = {key: value[part * rows : (part + 1) * rows] for key, value in batch.items()}
        if mask == "documents":
            some["starts"] = documents(some["inputs_segmentation"])
        mean = objective(model, mask, some) / parts
        mean.backward()
        total = total + mean.detach()
    return float(total)  # waits for the device


def peer(config: str, steps: str, device: str, mask: str, recompute: str, output: str) -> None:
    """Train; writes seconds per step after the first ones, and the losses."""
    from sft import attention

    # The block switches cuDNN's attention off, which the other mask may use.
    with attention.registered() if mask == "documents" else contextlib.nullcontext():
        ends, losses = train(Path(config), int(steps), device, mask, recompute == "recompute")
    if len(ends) < int(steps):
        raise InputError(f"the data ended after {len(ends)} of {steps} steps")
    first = warm(len(ends)) - 1
    seconds = (ends[-1] - ends[first]) / (len(ends) - 1 - first)
    write_json(Path(output), {"seconds": seconds, "losses": losses})


def train(
    config: Path, steps: int, device: str, mask: str, recompute: bool
) -> tuple[list[float], list[float]]:
    """Train as `peer` says; the time at the end of each step, and its loss."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from benchmarks.batches import batches
    from sft.attention import VARLEN
    from sft.compiled import compile_layers

    values = overlay.load(config)
    sizes = Architecture.from_maxtext(values)
    torch.manual_seed(0)
    with torch.device(device):  # a GPU draws the weights in a moment
        model: Any = AutoModelForCausalLM.from_config(
            LlamaConfig(**sizes.hf_config(1, 0, "float32")),
            attn_implementation=VARLEN if mask == "documents" else "sdpa",
        )
    model.train()
    if recompute:
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
    backend = "inductor" if device == "cuda" else "eager"
    # The layers share one program, which takes seconds; one of the whole model takes minutes.
    compile_layers(model, backend)
    objective = functools.partial(loss, mean=torch.compile(mean_loss, backend=backend))
    ends, losses = [], []
    for batch in itertools.islice(batches(config), steps):
        tensors = {key: torch.from_numpy(value).to(device).long() for key, value in batch.items()}
        rows = values["per_device_batch_size"]
        losses.append(step(model, objective, mask, tensors, rows))
        torch.nn.utils.clip_grad_norm_(model.parameters(), values["gradient_clipping_threshold"])
        optimiser.step()
        optimiser.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        ends.append(time.monotonic())
    return ends, losses
