"""A compiled step and its overlay in; memory, time, days and price of the run out."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pretrain import overlay, run
from pretrain.preflight import roofline
from pretrain.preflight.calibration import constants
from pretrain.preflight.profile import profile
from pretrain.preflight.roofline import Estimate
from pretrain.topology import GIB, Topology

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
    def days(self) -> float:
        """Estimated, for the token budget, without a break."""
        return self.token_budget / self.tokens_per_second / 86_400

    @property
    def chip_hours(self) -> float:
        """Estimated, for the token budget."""
        return self.days * 24 * self.chips

    @property
    def dollars(self) -> float:
        """Estimated, for the token budget; not a number where no price is known."""
        return self.chip_hours * self.price if self.price is not None else float("nan")

    @property
    def write_seconds(self) -> float:
        """Estimated, of one checkpoint, while training goes on."""
        return self.checkpoint_bytes / (self.hosts * HOST_BANDWIDTH)

    @property
    def lost_seconds(self) -> float:
        """Estimated, the most that a preemption costs: a period, a write and a new start."""
        step = self.estimate.seconds if self.estimate else float("nan")
        return self.checkpoint_period * step + self.write_seconds + RESTART

    @property
    def fits(self) -> bool:
        """Whether the step leaves `SPARE` bytes of a chip; true where the chip is not known."""
        if self.out_of_memory:
            return False
        return self.hbm_of_chip is None or self.hbm <= self.hbm_of_chip - SPARE

    def numbers(self) -> dict[str, Any]:
        """Fields and properties for JSON; what is not known is null."""
        names = [name for name, value in vars(Report).items() if isinstance(value, property)]
        derived = {name: getattr(self, name) for name in names}
        if self.estimate:
            derived["seconds"] = self.estimate.seconds
        known = {name: None if value != value else value for name, value in derived.items()}
        return {**dataclasses.asdict(self), **known}


def report(
    path: Path, where: Topology, overrides: Sequence[str] = (), price: float | None = None
) -> Report:
    """Compile (or look up) the step of ``path`` on ``where`` and estimate its run."""
    found = profile(path, where, overrides)
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
        token_budget=steps(config) * found.tokens,
        price=price if price is not None else (chip.price if chip else None),
        chips=where.chips,
        hosts=where.hosts,
        checkpoint_bytes=found.state_bytes,
        checkpoint_period=int(config["checkpoint_period"]),
        out_of_memory=found.out_of_memory,
        largest=found.largest,
    )


def steps(config: dict[str, Any]) -> int:
    """Steps that the run takes: those after the one that it starts from, if it names one."""
    started = re.search(r"/(\d+)/items/?$", str(config["load_full_state_path"]))
    return run.last_step(config) - (int(started.group(1)) if started else -1)
