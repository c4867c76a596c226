"""Command: prove a pretraining overlay on a slice that is not there: memory, time, days and price.

python -m pretrain.preflight OVERLAY.yml [--topology v4-32] [--sweep] [--json FILE] [key=value ...]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pretrain import overlay, topology
from pretrain.preflight import sweep
from pretrain.preflight.calibration import expected_error
from pretrain.preflight.forecast import HOST_BANDWIDTH, RESTART, SPARE, Report, report
from pretrain.preflight.profile import needed
from pretrain.preflight.roofline import Estimate
from pretrain.topology import GIB, PRICES_OF
from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.files import write_json


def table(found: Report) -> list[tuple[str, str]]:
    """Rows of the printed table; what is estimated says so."""
    rows = [
        ("parameters", f"{found.parameters:,}"),
        ("tokens a step", f"{found.tokens_per_step:,}"),
    ]
    if found.out_of_memory:
        return [*rows, ("HBM of a chip", f"out of memory: {needed(found.out_of_memory)}")]
    of_chip = f" of {found.hbm_of_chip / GIB:.2f}" if found.hbm_of_chip else ""
    ratio = found.matmul_flops * (1 - found.rematerialised) / found.matmul_flops_analytic
    rows += [
        ("peak memory of a device", f"{found.hbm / GIB:.1f}{of_chip} GiB"),
        ("offloaded to its host", f"{found.host / GIB:.1f} GiB"),
        (
            "matmul FLOPs of a device",
            f"{found.matmul_flops / 1e12:.1f} T, {found.rematerialised:.1%} rematerialised; "
            f"the rest is {ratio:.4f} of the analytic count",
        ),
        ("attention FLOPs of a device", f"{found.attention_flops / 1e12:.1f} T in Splash blocks"),
        ("main memory's traffic", f"{found.hbm_bytes / 1e9:.0f} GB"),
        ("collectives' traffic", f"{found.collective_bytes / 1e9:.1f} GB"),
    ]
    return rows + (_estimates(found, found.estimate) if found.estimate else [])


def _estimates(found: Report, parts: Estimate) -> list[tuple[str, str]]:
    rows = [
        (
            "estimated step",
            f"{parts.seconds:.3f} s = fusions {parts.fusions:.3f} + attention "
            f"{parts.attention:.3f} + collectives {parts.collectives:.3f}",
        ),
        (
            "bounds below it",
            f"arithmetic at the peak {parts.arithmetic_bound:.3f} s, main memory at full "
            f"bandwidth {parts.memory_bound:.3f} s",
        ),
        ("estimated tokens/s", f"{found.tokens_per_second:,.0f}"),
        ("estimated MFU", f"{found.mfu:.1%}"),
        ("token budget", f"{found.token_budget:,}"),
        ("estimated time", f"{found.days:.1f} days, {found.chip_hours:,.0f} chip-hours"),
    ]
    if found.price is not None:
        of = f"{found.price:.2f} a chip-hour"
        rows.append(("estimated price", f"{found.dollars:,.0f} US dollars at {of}"))
    return [
        *rows,
        (
            "checkpoint",
            f"{found.checkpoint_bytes / 1e9:.1f} GB, estimated {found.write_seconds:.0f} s to "
            f"write at {HOST_BANDWIDTH / 1e9:.1f} GB/s a host, while training goes on",
        ),
        (
            "lost to a preemption",
            f"estimated {found.lost_seconds / 60:.0f} minutes at most: {found.checkpoint_period} "
            f"steps, the write and {RESTART / 60:.0f} minutes to start again",
        ),
    ]


def verdict(found: Report, config: dict[str, Any]) -> str:
    """One line: whether it fits, by how much, and otherwise what to change."""
    if found.out_of_memory:
        arrays = ", ".join(f"{shape} {size / 1e9:.0f} GB" for shape, size in found.largest)
        return (
            f"does not fit {found.topology}: {needed(found.out_of_memory)}; the largest arrays, "
            f"over all devices: {arrays}; {advice(config)}"
        )
    if found.hbm_of_chip is None:
        return f"compiles for {found.topology}, where no chip's figures are kept: no estimates"
    spare = (found.hbm_of_chip - found.hbm) / GIB
    if not found.fits:
        return (
            f"too tight for {found.topology}: {spare:.1f} GiB to spare, "
            f"{SPARE / GIB:.0f} wanted; {advice(config)}"
        )
    return f"fits {found.topology} with {spare:.1f} GiB of a chip to spare"


def advice(config: dict[str, Any]) -> str:
    """What to change, cheapest first, among what this configuration has not done yet."""
    changes = []
    if config["num_vocab_tiling"] == 1:
        changes.append("num_vocab_tiling=8 (logits in eighths)")
    batch = int(config["per_device_batch_size"])
    if batch > 1:
        # The sequences of a step stay the same.
        smaller = max(size for size in range(1, batch) if batch % size == 0)
        turns = config["gradient_accumulation_steps"] * batch // smaller
        changes.append(f"per_device_batch_size={smaller} gradient_accumulation_steps={turns}")
    if config["remat_policy"] != "full":
        changes.append("remat_policy=save_qkv_proj or full (computes more again)")
    return "try " + ", or ".join(changes) if changes else "take a larger slice"


def main(argv: Sequence[str]) -> None:
    """Print the table and the verdict; fail when the step does not fit."""
    parser = argparse.ArgumentParser(
        prog="pretrain.preflight", description="Prove an overlay on a slice that is not there."
    )
    parser.add_argument("overlay", type=Path, help="YAML file; maxtext_configs has some")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replace MaxText's value")
    parser.add_argument("--topology", help="v4-32 (from the overlay's name, if it ends so)")
    parser.add_argument("--sweep", action="store_true", help="rank the listed alternatives")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    parser.add_argument("--price", type=float, help=f"dollars a chip-hour (list: {PRICES_OF})")
    arguments = parser.parse_intermixed_args(argv)
    config = overlay.load(arguments.overlay, arguments.overrides)
    name = arguments.topology or topology.of_overlay(arguments.overlay.stem, config["hardware"])
    where = topology.find(name)
    if arguments.price is not None and arguments.price < 0:
        raise InputError(f"--price: expected dollars, at least 0 (got {arguments.price})")
    if arguments.sweep:
        if arguments.price is not None:
            raise InputError("--price: a sweep ranks by speed; give it without --sweep")
        found = sweep.run(arguments.overlay, where, arguments.overrides)
        print(sweep.ranking(found))
        if arguments.json:
            write_json(arguments.json, {k: v.numbers() for k, v in found.items()})
        return
    single = report(arguments.overlay, where, arguments.overrides, arguments.price)
    print(f"{arguments.overlay} on {where.name}, compiled, not run")
    for label, value in table(single):
        print(f"  {label:28s} {value}")
    if single.estimate and where.chip:
        print(f"  {'error to expect':28s} {expected_error(where.chip.name)}")
    if arguments.json:
        write_json(arguments.json, single.numbers())
    line = verdict(single, config)
    if not single.fits:
        raise InputError(line)
    print(line)


if __name__ == "__main__":
    cli.run(main)
