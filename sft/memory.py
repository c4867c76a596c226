"""The memory of a step on a GPU, by arithmetic, and the packed rows that fit into it.

Everything here is an estimate: it counts what is kept by a decoder of the Llama family whose
products are in bfloat16, and leaves a margin for what it does not know.
"""

import os
from dataclasses import dataclass
from typing import Any

from sft.compiled import decoder_layers

MARGIN = 0.9
"""The share of the free memory that an estimate may fill."""
CONTEXT = 1.5e9
"""Bytes of CUDA's context, libraries and workspaces."""
COMPILED = 0.5
"""What compiled layers keep of the activations of plain ones: they compute sums again."""
STATES = {"adafactor": 0.1, "sgd": 0.0, "8bit": 2.0, "4bit": 1.0}
"""Bytes of the optimiser's state for each trained weight, by a part of the optimiser's name; the
others keep two numbers as wide as the weight."""


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes of a step on one card."""

    weights: float
    """Weights, and their copies in bfloat16 beside float32."""
    gradients: float
    """Gradients of the trained weights."""
    states: float
    """The optimiser's states."""
    row: float
    """Activations of one packed row."""
    layer: float
    """The activations of one row that are computed again, if they are."""
    gathered: float = 0.0
    """With several cards: what is gathered of sharded weights and their gradients while it is used,
    or the copies of gradients that are sent."""

    def total(self, rows: int) -> float:
        """Bytes of a step whose micro-batches have ``rows`` packed rows."""
        fixed = self.weights + self.gradients + self.states + self.gathered + CONTEXT
        return fixed + rows * (self.row + self.layer)

    def fits(self, rows: int, free: float) -> bool:
        """Whether such a step fits into ``free`` bytes, with a margin."""
        return self.total(rows) <= MARGIN * free


def estimate(
    config: Any, training: Any, model: Any, compiled: bool, cards: int = 1, sharded: bool = False
) -> MemoryEstimate:
    """The memory of a step for the transformers model of ``config``.

    ``training`` and ``model`` are TRL's configurations, ``compiled`` is whether the layers are
    compiled. Rows have ``training.max_length`` tokens. Of several ``cards`` each has the whole
    model, or a share of it if it is ``sharded`` by FSDP.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    count = sum(parameter.numel() for parameter in empty.parameters())
    linear = {
        name: module
        for name, module in empty.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    matrices = sum(module.weight.numel() for module in linear.values())
    embedding = empty.get_input_embeddings().weight.numel()
    wide = model.dtype not in ("bfloat16", "float16")
    width = 4.0 if wide else 2.0
    stored = width
    if model.load_in_4bit or model.load_in_8bit:
        stored = 0.6 if model.load_in_4bit else 1.1
    trained = _adapter(model, linear) if model.use_peft else count
    own = 4.0 if model.use_peft else width  # PEFT keeps an adapter in float32
    text = config.get_text_config()
    hidden, layers = text.hidden_size, text.num_hidden_layers
    head = getattr(text, "head_dim", None) or hidden // text.num_attention_heads
    keys = head * text.num_key_value_heads
    # Norms keep their input and result in float32 and a copy in bfloat16; attention keeps queries,
    # keys, values and the result in bfloat16; the feed-forward block four of its width.
    kept = 20.0 * hidden + 4.0 * head * text.num_attention_heads + 4.0 * keys
    kept += 8.0 * text.intermediate_size
    if compiled:
        kept *= COMPILED
    again = bool(training.activation_checkpointing)
    tokens = training.max_length
    # The copies of matrices in bfloat16 that autocast makes, and keeps for a step.
    copies = 2.0 * matrices if wide and stored == width else 0.0
    gathered = 0.0
    if cards > 1 and sharded:
        # In bfloat16: the embedding, the head and the norms, a layer and the next one.
        layer = _layer(empty)
        used = count - layers * layer + 2.0 * layer
        gathered, copies = used * (2.0 + (2.0 if trained == count else 0.0)), 0.0
    elif cards > 1:
        gathered = trained * own
    share = cards if sharded else 1
    return MemoryEstimate(
        weights=count * stored / share + copies,
        gradients=trained * own / share,
        states=_states(training, trained, own, 0 if model.use_peft else embedding) / share,
        row=tokens * layers * (4.0 * hidden if again else kept),
        layer=tokens * kept if again else 0.0,
        gathered=gathered,
    )


def _layer(empty: Any) -> int:
    """Weights of a decoder layer."""
    sizes = (
        sum(parameter.numel() for parameter in layer.parameters())
        for layer in decoder_layers(empty)
    )
    return max(sizes, default=0)


def _states(training: Any, trained: int, width: float, embedding: int) -> float:
    """Bytes of the optimiser's states of ``trained`` weights, ``embedding`` of them in it."""
    optimiser = str(getattr(training.optim, "value", training.optim))
    if "paged" in optimiser:
        return 0.0  # they may leave the card
    each = next((size for part, size in STATES.items() if part in optimiser), 2 * width)
    if "8bit" in optimiser and "torch" not in optimiser:
        # transformers keeps the embedding's in float32 with bitsandbytes.
        return (trained - embedding) * each + embedding * 8.0
    return trained * each


def _adapter(model: Any, linear: dict[str, Any]) -> int:
    """Weights of the LoRA adapter."""
    targets = model.lora_target_modules or ["q_proj", "v_proj"]
    targets = [targets] if isinstance(targets, str) else targets
    chosen = [
        module
        for name, module in linear.items()
        if (targets == ["all-linear"] and name != "lm_head") or name.split(".")[-1] in targets
    ]
    rank: int = model.lora_r
    return sum(rank * (module.in_features + module.out_features) for module in chosen)


def sharded(training: Any) -> bool:
    """Whether FSDP shards the model, by the launcher or by TRL's options."""
    return _on("ACCELERATE_USE_FSDP") or bool(training.fsdp)


def unknown() -> bool:
    """Whether DeepSpeed trains, whose stages this module does not know."""
    return _on("ACCELERATE_USE_DEEPSPEED")


def _on(switch: str) -> bool:
    return os.environ.get(switch, "").lower() in ("true", "1")


def free(device: Any, processes: int) -> int:
    """Bytes that are free on a GPU: the least of all processes, which must take as many rows."""
    import torch

    found = torch.tensor(torch.cuda.mem_get_info(device)[0], device=device)
    if processes > 1:
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MIN)
    return int(found)


def fit(memory: MemoryEstimate, rows: int, free: float) -> int:
    """The largest part of ``rows``, halved as often as needed, whose step fits into ``free``."""
    while rows > 1 and rows % 2 == 0 and not memory.fits(rows, free):
        rows //= 2
    return rows


def summary(memory: MemoryEstimate, rows: int, free: float) -> str:
    """The estimate in one line, with what to do if it does not fit."""
    line = (
        f"memory, an estimate: {memory.total(rows) / 1e9:.0f} GB of {free / 1e9:.0f} GB free "
        f"(weights {memory.weights / 1e9:.1f}, gradients {memory.gradients / 1e9:.1f}, optimiser "
        f"{memory.states / 1e9:.1f}, {rows} packed rows {rows * memory.row / 1e9:.1f}"
    )
    if memory.gathered:
        line += f", between cards {memory.gathered / 1e9:.1f}"
    line += ")"
    if memory.total(rows) > free:
        line += "; if it does not fit: activation_checkpointing: true, "
        line += "optim: paged_adamw_8bit, or an adapter (use_peft: true)"
    return line
