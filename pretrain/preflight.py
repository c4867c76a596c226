"""Command: prove a pretraining overlay on a slice that is not there: memory, time, days and price.

python -m pretrain.preflight OVERLAY.yml [--topology v4-32] [--sweep] [--json FILE] [key=value ...]
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pretrain import overlay, roofline, sweep, topology
from pretrain.calibration import constants, expected_error
from pretrain.profile import Profile, needed, profile
from pretrain.roofline import Estimate
from pretrain.topology import GIB, PRICES_OF, Topology
from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.files import write_json

SPARE = 2 * GIB
"""HBM that a step must leave: for the runtime, fragmentation and the evaluation's step."""

HOST_BANDWIDTH = 0.5e9
"""Bytes per second that a host is taken to write to a bucket; a checkpoint is shared by all."""

RESTART = 600.0
"""Seconds that a restart after a preemption is taken to need: a slice, set-up, restore, compile."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """All that the table shows, in base units: bytes, seconds, operations, tokens, dollars."""

    overlay: str
    topology: str
    parameters: int
    tokens_per_step: int
    hbm: float
    hbm_of_chip: float | None
    host: float
    matmul_flops: float
    matmul_flops_analytic: float
    attention_flops: float
    rematerialised: float
    hbm_bytes: float
    collective_bytes: float
    estimate: Estimate | None
    mfu: float | None
    token_budget: int
    price: float | None
    """Dollars per chip and hour."""

    chips: int
    hosts: int
    checkpoint_bytes: float
    checkpoint_period: int
    out_of_memory: str
    largest: list[tuple[str, int]]

    @property
    def tokens_per_second(self) -> float:
        """Estimated, of the whole slice."""
        return self.tokens_per_step / self.estimate.seconds if self.estimate else float("nan")

    @property
    def fits(self) -> bool:
        """Whether the step leaves `SPARE` bytes of a chip; true where the chip is not known."""
        if self.out_of_memory:
            return False
        return self.hbm_of_chip is None or self.hbm <= self.hbm_of_chip - SPARE


def report(
    path: Path, where: Topology, overrides: Sequence[str] = (), price: float | None = None
) -> Report:
    """Compile (or look up) the step of ``path`` on ``where`` and estimate its run."""
    return summary(path, where, overrides, profile(path, where, overrides), price)


def summary(
    path: Path, where: Topology, overrides: Sequence[str], found: Profile, price: float | None
) -> Report:
    """What a compiled step says about the run of the overlay it belongs to."""
    config = overlay.load(path, overrides)
    chip = where.chip
    estimate = None
    mfu = None
    if chip and not found.out_of_memory:
        estimate = roofline.estimate(found.costs, chip, constants(chip.name))
        per_chip = found.tokens / found.devices * found.model.flops_per_token
        mfu = per_chip / estimate.seconds / chip.peak_flops
    executed = found.costs.matmul_flops
    per_token = found.model.matmul_flops_per_token
    if not found.costs.attention_flops:
        # Without the kernel attention is products like any other, the mask's half among them.
        per_token += 2 * found.model.attention_flops_per_token
    analytic = per_token * found.tokens / found.devices
    return Report(
        overlay=str(path),
        topology=where.name,
        parameters=found.model.parameters,
        tokens_per_step=found.tokens,
        hbm=found.hbm,
        hbm_of_chip=chip.hbm if chip else None,
        host=found.host,
        matmul_flops=executed,
        matmul_flops_analytic=analytic,
        attention_flops=found.costs.attention_flops,
        rematerialised=found.costs.rematerialised_flops / executed if executed else 0.0,
        hbm_bytes=found.costs.hbm_bytes,
        collective_bytes=found.costs.collective_bytes,
        estimate=estimate,
        mfu=mfu,
        token_budget=int(config["steps"]) * found.tokens,
        price=price if price is not None else (chip.price if chip else None),
        chips=where.chips,
        hosts=where.hosts,
        checkpoint_bytes=found.state_bytes,
        checkpoint_period=int(config["checkpoint_period"]),
        out_of_memory=found.out_of_memory,
        largest=found.largest,
    )


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
    days = found.token_budget / found.tokens_per_second / 86_400
    hours = days * 24 * found.chips
    write = found.checkpoint_bytes / (found.hosts * HOST_BANDWIDTH)
    lost = found.checkpoint_period * parts.seconds + write + RESTART
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
        ("estimated time", f"{days:.1f} days, {hours:,.0f} chip-hours"),
    ]
    if found.price is not None:
        of = f"{found.price:.2f} a chip-hour"
        rows.append(("estimated price", f"{hours * found.price:,.0f} US dollars at {of}"))
    return [
        *rows,
        (
            "checkpoint",
            f"{found.checkpoint_bytes / 1e9:.1f} GB, estimated {write:.0f} s to write at "
            f"{HOST_BANDWIDTH / 1e9:.1f} GB/s a host, while training goes on",
        ),
        (
            "lost to a preemption",
            f"estimated {lost / 60:.0f} minutes at most: {found.checkpoint_period} steps, the "
            f"write and {RESTART / 60:.0f} minutes to start again",
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
    batch = config["per_device_batch_size"]
    if batch > 1:
        half = int(batch) // 2
        changes.append(
            f"per_device_batch_size={half} "
            f"gradient_accumulation_steps={config['gradient_accumulation_steps'] * 2}"
        )
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
        found = sweep.run(arguments.overlay, where, arguments.overrides, report)
        print(sweep.ranking(found))
        if arguments.json:
            write_json(arguments.json, {k: dataclasses.asdict(v) for k, v in found.items()})
        return
    single = report(arguments.overlay, where, arguments.overrides, arguments.price)
    print(f"{arguments.overlay} on {where.name}, compiled, not run")
    for label, value in table(single):
        print(f"  {label:28s} {value}")
    if single.estimate and where.chip:
        print(f"  {'error to expect':28s} {expected_error(where.chip.name)}")
    if arguments.json:
        write_json(arguments.json, dataclasses.asdict(single))
    line = verdict(single, config)
    if not single.fits:
        raise InputError(line)
    print(line)


if __name__ == "__main__":
    cli.run(main)
