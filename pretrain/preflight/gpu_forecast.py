"""Forecast a run on NVIDIA GPUs, and compare cards and settings, from shapes alone."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pretrain import attention, gpus, topology
from pretrain.gpus import CARDS, CARDS_PER_NODE
from pretrain.preflight import gpu_step
from pretrain.preflight.forecast import Forecast, steps
from pretrain.topology import Topology
from tinymathreason.cli import InputError
from tinymathreason.tables import markdown_table

POLICIES = ("minimal_with_context", "save_qkv_proj", "full")
"""Policies that are tried for the largest batch, from the one that repeats least."""
TILES = (1, 8)
"""Parts of the logits that are tried."""
COUNTS = (1, CARDS_PER_NODE, 2 * CARDS_PER_NODE)
"""Numbers of cards that are compared: one, a node, two nodes."""
SPARE = 0.05
"""Share of a card's memory that a step must leave free, for the error of the estimate."""
WORTH = 0.005
"""A smaller share of the speed than this is not worth more memory."""
ON_NODES = ("dot_product", "cudnn_flash_te")
"""Attention that works on several cards; the second one needs transformer_engine."""
COLUMNS = (
    "cards", "attention", "rows at a time", "parts", "remat_policy", "num_vocab_tiling",
    "peak memory, GB", "estimated tokens/s", "estimated MFU", "days", "dollars", "a card-hour",
)  # fmt: skip


def forecast(
    path: Path, config: Mapping[str, Any], target: Topology, price: float | None = None
) -> Forecast:
    """Estimate the run of an overlay ``path``, resolved to ``config``, on GPUs.

    ``price`` is in dollars per card and hour; by default it is the card's list price.
    """
    card = target.card
    if card is None:
        raise InputError(f"{target.name}: the figures of this card are not known")
    attention.check_cards(config, target.chips, target.name)
    step = gpu_step.step(config, target.chips)
    estimate = step.time(card)
    model = step.model
    return Forecast(
        overlay=str(path),
        topology=target.name,
        parameters=model.parameters,
        tokens_per_step=step.tokens,
        hbm=step.memory.peak,
        hbm_of_device=card.memory,
        host=0.0,
        matmul_flops=step.matmul_flops,
        matmul_flops_analytic=step.tokens / target.chips * model.matmul_flops_per_token,
        attention_flops=step.attention_flops,
        rematerialised=step.repeated_flops / step.matmul_flops,
        hbm_bytes=step.traffic,
        collective_bytes=step.sent + step.sent_between_nodes,
        estimate=estimate,
        mfu=step.mfu(card, target.chips),
        token_budget=steps(dict(config)) * step.tokens,
        price=card.price if price is None else price,
        priced=gpus.PRICES_OF if price is None else "",
        chips=target.chips,
        hosts=target.hosts,
        # Weights and optimiser state, over all cards.
        checkpoint_bytes=(step.memory.weights + step.memory.moments)
        * min(target.chips, CARDS_PER_NODE),
        checkpoint_period=int(config["checkpoint_period"]),
        out_of_memory="",
        largest=[],
        spare=SPARE * card.memory,
    )


def comparison(path: Path, config: Mapping[str, Any], cards: int) -> str:
    """A Markdown table of all cards: the fastest settings that fit, speed, days and price.

    ``cards`` is the number for which the overlay is written: the sequences of a step stay the same.
    """
    rows = [
        _row(_best(path, {**config, "attention": attention}, target, cards), target, attention)
        for card in CARDS.values()
        for count in COUNTS
        if count == 1 or card.link >= gpus.LINKED
        for target in [topology.find(f"{card.name}-{count}")]
        for attention in _attentions(config, count)
    ]
    return markdown_table(COLUMNS, rows)


def _attentions(config: Mapping[str, Any], chips: int) -> tuple[str, ...]:
    """What is compared: the overlay's attention, or on several cards what works there."""
    own = str(config["attention"])
    return ON_NODES if chips > 1 and own in attention.ONE_CARD else (own,)


def _best(
    path: Path, config: Mapping[str, Any], target: Topology, cards: int
) -> tuple[Forecast, dict[str, Any]] | None:
    """The fastest settings that fit, with their forecast.

    Of about equally fast ones, those with the fewest parts of logits, then of the least memory.
    """
    tried = [
        (forecast(path, {**config, **keys}, target), keys)
        for keys in _settings(config, target.chips, cards)
    ]
    fitting = [entry for entry in tried if entry[0].fits]
    enough = (1 - WORTH) * max((entry[0].tokens_per_second for entry in fitting), default=0)
    fast = [entry for entry in fitting if entry[0].tokens_per_second >= enough]
    return min(fast, key=lambda e: (e[1]["num_vocab_tiling"], e[0].hbm), default=None)


def _settings(config: Mapping[str, Any], chips: int, cards: int) -> Iterator[dict[str, Any]]:
    """Batches, policies and tilings with the overlay's number of sequences in a step."""
    sequences = cards * int(config["per_device_batch_size"] * config["gradient_accumulation_steps"])
    if sequences % chips:
        return
    own = sequences // chips
    for policy in dict.fromkeys((str(config["remat_policy"]), *POLICIES)):
        for tiles in sorted({int(config["num_vocab_tiling"]), *TILES}):
            for rows in range(1, own + 1):
                if own % rows == 0 and rows * config["max_target_length"] % tiles == 0:
                    yield {
                        "remat_policy": policy,
                        "num_vocab_tiling": tiles,
                        "per_device_batch_size": rows,
                        "gradient_accumulation_steps": own // rows,
                    }


def _row(
    best: tuple[Forecast, dict[str, Any]] | None, target: Topology, attention: str
) -> list[str]:
    if best is None:
        return [target.name, attention, "does not fit", *[""] * (len(COLUMNS) - 3)]
    figures, keys = best
    return [
        target.name,
        attention,
        str(keys["per_device_batch_size"]),
        str(keys["gradient_accumulation_steps"]),
        keys["remat_policy"],
        str(keys["num_vocab_tiling"]),
        f"{figures.hbm / 1e9:.1f}",
        f"{figures.tokens_per_second:,.0f}",
        f"{figures.mfu:.1%}",
        f"{figures.days:,.1f}" if figures.days >= 10 else f"{figures.days:.2f}",
        f"{figures.dollars:,.0f}",
        f"{figures.price:.2f}",
    ]
