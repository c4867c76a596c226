"""Describe a forecast to the user: its table, whether the step fits, and what to change if not."""

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from pretrain.gpus import GIB
from pretrain.preflight import gpu_calibration
from pretrain.preflight.calibration import expected_error
from pretrain.preflight.compiled_step import needed
from pretrain.preflight.forecast import HOST_BANDWIDTH, RESTART, Forecast
from pretrain.preflight.roofline import StepTime
from pretrain.topology import Topology
from tinymathreason.units import duration, size


def table(forecast: Forecast, topology: Topology, more: Sequence[tuple[str, str]] = ()) -> str:
    """The printed table, which ends with the rows ``more``; every estimate is named as one."""
    rows = [
        ("parameters", f"{forecast.parameters:,}"),
        ("tokens per step", f"{forecast.tokens_per_step:,}"),
    ]
    if topology.card:
        rows += _card_counts(forecast)
    elif forecast.out_of_memory:
        rows.append(("HBM of a chip", f"out of memory: {needed(forecast.out_of_memory)}"))
    else:
        rows += _counts(forecast)
    if forecast.estimate and topology.chip:
        rows += _estimates(forecast, forecast.estimate, "chip")
        rows.append(("expected error", expected_error(topology.chip.name)))
    if forecast.estimate and topology.card:
        rows += _estimates(forecast, forecast.estimate, "card")
        rows.append(("expected error", gpu_calibration.expected_error(topology.card.name)))
    return tabulate([*rows, *more], tablefmt="plain", disable_numparse=True)


def _counts(forecast: Forecast) -> list[tuple[str, str]]:
    of_chip = f" of {forecast.hbm_of_device / GIB:.2f}" if forecast.hbm_of_device else ""
    ratio = forecast.matmul_flops * (1 - forecast.rematerialised) / forecast.matmul_flops_analytic
    return [
        ("peak memory of a device", f"{forecast.hbm / GIB:.1f}{of_chip} GiB"),
        ("offloaded to its host", f"{forecast.host / GIB:.1f} GiB"),
        (
            "matmul FLOPs of a device",
            f"{forecast.matmul_flops / 1e12:.1f} T, {forecast.rematerialised:.1%} rematerialised; "
            f"the rest is {ratio:.4f} of the analytic count",
        ),
        (
            "attention FLOPs of a device",
            f"{forecast.attention_flops / 1e12:.1f} T in Splash blocks",
        ),
        ("main memory traffic", size(forecast.hbm_bytes)),
        ("collective traffic", size(forecast.collective_bytes)),
    ]


def _card_counts(forecast: Forecast) -> list[tuple[str, str]]:
    of_card = f"{(forecast.hbm_of_device or 0) / 1e9:.1f}"
    return [
        ("estimated peak memory of a card", f"{forecast.hbm / 1e9:.1f} of {of_card} GB"),
        (
            "matmul FLOPs of a card",
            f"{forecast.matmul_flops / 1e12:.1f} T, {forecast.rematerialised:.1%} rematerialised",
        ),
        ("attention FLOPs of a card", f"{forecast.attention_flops / 1e12:.1f} T in the kernel"),
        ("sent by a card", size(forecast.collective_bytes)),
    ]


def _estimates(forecast: Forecast, step: StepTime, unit: str) -> list[tuple[str, str]]:
    rows = [
        (
            "estimated step",
            f"{step.seconds:.3f} s = {'fusions' if unit == 'chip' else 'products'} "
            f"{step.fusions:.3f} + attention "
            f"{step.attention:.3f} + collectives {step.collectives:.3f}",
        ),
        (
            "lower bounds",
            f"arithmetic at the peak {step.arithmetic_bound:.3f} s, main memory at full "
            f"bandwidth {step.memory_bound:.3f} s",
        ),
        ("estimated tokens/s", f"{forecast.tokens_per_second:,.0f}"),
        ("estimated MFU", f"{forecast.mfu:.1%}"),
        ("token budget", f"{forecast.token_budget:,}"),
        ("estimated time", f"{forecast.days:.1f} days, {forecast.chip_hours:,.0f} {unit}-hours"),
    ]
    if forecast.price is not None:
        at = f"{forecast.price:.2f} a {unit}-hour"
        of = f", the list price of {forecast.priced}" if forecast.priced else ""
        rows.append(("estimated price", f"{forecast.dollars:,.0f} US dollars at {at}{of}"))
    return [
        *rows,
        (
            "checkpoint",
            f"{size(forecast.checkpoint_bytes)}, estimated {duration(forecast.write_seconds)} to "
            f"write at {size(HOST_BANDWIDTH)}/s a host, while training continues",
        ),
        (
            "lost to a preemption",
            f"estimated {duration(forecast.lost_seconds)} at most: {forecast.checkpoint_period} "
            f"steps, the write and {duration(RESTART)} to restart",
        ),
    ]


def verdict(forecast: Forecast, config: dict[str, Any]) -> str:
    """One line: whether the step fits and with how much to spare, or what to change."""
    name = forecast.topology
    if forecast.out_of_memory:
        arrays = ", ".join(f"{shape} {length / 1e9:.0f} GB" for shape, length in forecast.largest)
        return (
            f"does not fit {name}: {needed(forecast.out_of_memory)}; the largest arrays, over all "
            f"devices: {arrays}; {advice(config)}"
        )
    if forecast.hbm_of_device is None:
        return f"compiles for {name}; no estimates, because the figures of its chip are not known"
    spare = (forecast.hbm_of_device - forecast.hbm) / GIB
    if not forecast.fits:
        return (
            f"too tight for {name}: {spare:.1f} GiB to spare, {forecast.spare / GIB:.0f} required; "
            f"{advice(config)}"
        )
    return f"fits {name} with {spare:.1f} GiB of each device to spare"


def advice(config: dict[str, Any]) -> str:
    """What to change to save memory, cheapest first, without what the configuration has already."""
    changes = []
    if config["num_vocab_tiling"] == 1:
        changes.append("num_vocab_tiling=8 (computes the logits in 8 parts)")
    batch = int(config["per_device_batch_size"])
    if batch > 1:
        # The number of sequences per step stays the same.
        smaller = max(size for size in range(1, batch) if batch % size == 0)
        accumulation = config["gradient_accumulation_steps"] * batch // smaller
        changes.append(
            f"per_device_batch_size={smaller} gradient_accumulation_steps={accumulation}"
        )
    if config["remat_policy"] != "full":
        changes.append("remat_policy=save_qkv_proj or full (recomputes more)")
    return "try " + ", or ".join(changes) if changes else "use more or larger devices"
