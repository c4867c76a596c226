"""The memory of a step on a GPU, by arithmetic, and the packed rows that fit into it.

Everything here is an estimate: it counts what is kept by a decoder of the Llama family whose
products are in bfloat16, and leaves a margin for what it does not know.
"""

from dataclasses import dataclass
from typing import Any

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
    """Bytes of a step."""

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

    def total(self, rows: int) -> float:
        """Bytes of a step whose micro-batches have ``rows`` packed rows."""
        fixed = self.weights + self.gradients + self.states + CONTEXT
        return fixed + rows * (self.row + self.layer)


def estimate(config: Any, training: Any, model: Any, compiled: bool) -> MemoryEstimate:
    """The memory of a step for the transformers model of ``config``.

    ``training`` and ``model`` are TRL's configurations, ``compiled`` is whether the layers are
    compiled. Rows have ``training.max_length`` tokens.
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
    wide = model.dtype not in ("bfloat16", "float16")
    width = 4.0 if wide else 2.0
    stored = width
    if model.load_in_4bit or model.load_in_8bit:
        stored = 0.6 if model.load_in_4bit else 1.1
    trained = _adapter(model, linear) if model.use_peft else count
    optimiser = str(getattr(training.optim, "value", training.optim))
    states = next((size for part, size in STATES.items() if part in optimiser), 2 * width)
    if "paged" in optimiser:
        states = 0.0  # they may leave the card
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
    return MemoryEstimate(
        weights=count * stored + (2.0 * matrices if wide and stored == width else 0.0),
        gradients=trained * width,
        states=trained * states,
        row=tokens * layers * (4.0 * hidden if again else kept),
        layer=tokens * kept if again else 0.0,
    )


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


def fit(memory: MemoryEstimate, rows: int, free: float) -> int:
    """The largest part of ``rows``, halved as often as needed, whose step fits into ``free``."""
    while rows > 1 and rows % 2 == 0 and memory.total(rows) > MARGIN * free:
        rows //= 2
    return rows


def summary(memory: MemoryEstimate, rows: int, free: float) -> str:
    """The estimate in one line, with what to do if it does not fit."""
    line = (
        f"memory, an estimate: {memory.total(rows) / 1e9:.0f} GB of {free / 1e9:.0f} GB free "
        f"(weights {memory.weights / 1e9:.1f}, gradients {memory.gradients / 1e9:.1f}, optimiser "
        f"{memory.states / 1e9:.1f}, {rows} packed rows {rows * memory.row / 1e9:.1f})"
    )
    if memory.total(rows) > free:
        line += "; if it does not fit: activation_checkpointing: true, "
        line += "optim: paged_adamw_8bit, or an adapter (use_peft: true)"
    return line
