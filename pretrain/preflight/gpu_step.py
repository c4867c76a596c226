"""Estimate memory and time of a training step on NVIDIA GPUs from shapes alone.

Nothing is compiled: XLA compiles for a GPU only where one is. The estimate follows MaxText's
trainer: AdamW on float32 weights, bfloat16 products, logits in float32, weights and optimiser state
shared between the cards of a node (FSDP), gradients summed between nodes.

The time is the arithmetic at `SHARE` of the card's peak, plus the traffic of the optimiser and of
attention without a kernel, plus the bytes that the cards send. `SHARE` is what one measured run
reached; `gpu_calibration` compares the estimates with that run and with others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pretrain.gpus import CARDS_PER_NODE, Card
from pretrain.model import Model
from pretrain.preflight import remat
from pretrain.preflight.roofline import StepTime
from tinymathreason.cli import InputError

SHARE = 0.459
"""Share of the peak at which all arithmetic runs, as fitted to the run marked in gpu_runs.yaml."""
TRAFFIC_SHARE = 0.8
"""Assumed share of a bandwidth that the optimiser and the collectives use."""
SCORE_PASSES = 12
"""Assumed times that the scores of ``attention: dot_product`` are read or written in float32."""
CONTEXT = 0.6e9
"""Assumed bytes that CUDA and its libraries take on a card before the first array."""
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of an element."""
MOMENTS = {"adamw": 2, "adam_pax": 2, "muon": 1, "sgd": 0}
"""Copies of the weights that MaxText's optimisers keep."""


@dataclass(frozen=True, kw_only=True)
class CardMemory:
    """Bytes on one card, by what they hold."""

    weights: float
    moments: float
    gradients: float
    summed: float
    """The sum of gradients of a step in several parts; 0 for one part."""
    kept: float
    """Activations from the forward to the backward pass."""
    logits: float
    """Logits of all rows, or of one part of them, and their gradient."""
    working: float
    """Arrays of one layer during its backward pass, and its gathered weights."""

    @property
    def peak(self) -> float:
        """The larger of two moments: the loss, and the backward pass of one layer."""
        always = self.weights + self.moments + self.summed + self.kept + CONTEXT
        return always + max(self.logits, self.gradients + self.working)


@dataclass(frozen=True, kw_only=True)
class GpuStep:
    """One training step on some cards."""

    model: Model
    tokens: int
    """Tokens of one step, over all cards."""
    memory: CardMemory
    matmul_flops: float
    """Operations of matrix products on one card, repeated ones included."""
    repeated_flops: float
    """The part of `matmul_flops` that the backward pass computes again."""
    attention_flops: float
    traffic: float
    """Bytes that the optimiser, sums of gradients and attention's scores move on one card."""
    sent: float
    """Bytes that one card sends to the others of its node."""
    sent_between_nodes: float
    """Bytes that one card sends to another node."""

    def time(self, card: Card, share: float = SHARE) -> StepTime:
        """Estimated seconds on ``card``, whose arithmetic runs at ``share`` of the peak."""
        peak = card.peak_flops
        return StepTime(
            fusions=self.matmul_flops / (peak * share)
            + self.traffic / (card.bandwidth * TRAFFIC_SHARE),
            attention=self.attention_flops / (peak * share),
            collectives=self.sent / (card.link * TRAFFIC_SHARE)
            + self.sent_between_nodes / (card.network * TRAFFIC_SHARE),
            arithmetic_bound=(self.matmul_flops + self.attention_flops) / peak,
            memory_bound=self.traffic / card.bandwidth,
        )

    def mfu(self, card: Card, cards: int, share: float = SHARE) -> float:
        """Estimated share of the peak in operations that the MFU counts."""
        flops = self.tokens / cards * self.model.flops_per_token
        return flops / self.time(card, share).seconds / card.peak_flops


def step(config: Mapping[str, Any], cards: int) -> GpuStep:
    """The step of a full MaxText configuration (`pretrain.overlay.load`) on ``cards`` cards.

    Raises `InputError` for what the estimate does not cover.
    """
    model = Model.from_config(config)
    rows, parts = float(config["per_device_batch_size"]), int(config["gradient_accumulation_steps"])
    if rows < 1 or rows != int(rows) or parts < 1:
        raise InputError(
            "per_device_batch_size and gradient_accumulation_steps: expected whole numbers of at "
            f"least 1 (got {config['per_device_batch_size']} and {parts})"
        )
    if config["opt_type"] not in MOMENTS:
        raise InputError(
            f"opt_type: expected one of {', '.join(MOMENTS)} (got {config['opt_type']!r})"
        )
    layer = remat.layer(model, config)
    tokens = int(rows) * model.context
    shared = min(cards, CARDS_PER_NODE)
    nodes = -(-cards // CARDS_PER_NODE)
    own = model.parameters / shared
    repeated = 2.0 * tokens * model.layers * layer.repeated
    product = model.attention_flops_per_token / remat.USEFUL_PRODUCTS
    outside = (shared - 1) / shared
    scores = 0.0
    if config["attention"] == "dot_product":
        scores = 4.0 * SCORE_PASSES * tokens * model.layers * model.heads * model.context
    return GpuStep(
        model=model,
        tokens=tokens * parts * cards,
        memory=_memory(config, model, layer, tokens, parts, shared),
        matmul_flops=parts * (tokens * model.matmul_flops_per_token + repeated),
        repeated_flops=parts * repeated,
        attention_flops=parts * tokens * product * layer.attention_products,
        # AdamW reads weights, gradients and moments, and writes all but the gradients; a sum of
        # gradients reads two and writes one.
        traffic=own * 4 * (7 + (3 * parts if parts > 1 else 0)) + parts * scores,
        # Weights in bfloat16 forward and again backward; gradients in float32.
        sent=parts * model.parameters * (2 + 2 + 4) * outside,
        sent_between_nodes=parts * 2 * own * 4 * (nodes - 1) / nodes,
    )


def _memory(
    config: Mapping[str, Any],
    model: Model,
    layer: remat.Layer,
    tokens: int,
    parts: int,
    shared: int,
) -> CardMemory:
    own = model.parameters / shared
    width = WIDTHS.get(str(config["weight_dtype"]), 4)
    first = WIDTHS.get(str(config["mu_dtype"]), width)  # only the first moment has its own type
    moments = (0, first, first + width)[MOMENTS[config["opt_type"]]]
    activation = WIDTHS.get(str(config["dtype"]), 4)
    logit = 4 if config["cast_logits_to_fp32"] else activation
    working = float(layer.working * tokens * activation)
    if config["attention"] == "dot_product":
        # The scores of all heads in float32, and their gradient.
        working += 2 * 4 * tokens * model.heads * model.context
    if shared > 1:
        block = (model.matrices - model.vocab * model.hidden) / model.layers
        working += 4 * max(block, model.vocab * model.hidden)
    return CardMemory(
        weights=own * width,
        moments=own * moments,
        gradients=own * width,
        summed=own * width if parts > 1 else 0.0,
        kept=layer.kept * model.layers * tokens * activation,
        logits=2 * logit * tokens * model.vocab / int(config["num_vocab_tiling"]),
        working=working,
    )
