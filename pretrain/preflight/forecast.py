"""Forecast a training run: its memory, speed, duration and price, from its compiled step."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pretrain import overlay, run
from pretrain.gpus import GIB
from pretrain.preflight import roofline
from pretrain.preflight.calibration import CONSTANTS
from pretrain.preflight.compiled_step import compiled_step
from pretrain.preflight.roofline import StepTime
from pretrain.topology import Topology

SPARE = 2 * GIB
"""HBM that a step must leave free: for the runtime, fragmentation and the evaluation step."""

HOST_BANDWIDTH = 0.5e9
"""Assumed bytes per second that a host writes to a bucket; all hosts share a checkpoint."""

RESTART = 600.0
"""Assumed seconds of a restart after a preemption: new slice, set-up, restoring, compiling."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forecast:
    """All figures of the table in base units: bytes, seconds, operations, tokens, dollars."""

    overlay: str
    topology: str
    parameters: int
    tokens_per_step: int
    hbm: float
    hbm_of_device: float | None
    host: float
    matmul_flops: float
    matmul_flops_analytic: float
    attention_flops: float
    rematerialised: float
    hbm_bytes: float
    collective_bytes: float
    estimate: StepTime | None
    mfu: float | None
    token_budget: int
    price: float | None
    """Dollars per chip and hour; None where no chip is known."""

    priced: str
    """Year and month of that price, if it is a list price; else empty."""

    chips: int
    hosts: int
    checkpoint_bytes: float
    checkpoint_period: int
    out_of_memory: str
    largest: list[tuple[str, int]]
    spare: float = SPARE
    """Bytes of memory that the step must leave free."""

    @property
    def tokens_per_second(self) -> float:
        """Estimated speed of the whole slice."""
        return self.tokens_per_step / self.estimate.seconds if self.estimate else float("nan")

    @property
    def days(self) -> float:
        """Estimated duration of the token budget without interruptions."""
        return self.token_budget / self.tokens_per_second / 86_400

    @property
    def chip_hours(self) -> float:
        """Estimated chip-hours of the token budget."""
        return self.days * 24 * self.chips

    @property
    def dollars(self) -> float:
        """Estimated price of the token budget; NaN where no price is known."""
        return self.chip_hours * self.price if self.price is not None else float("nan")

    @property
    def write_seconds(self) -> float:
        """Estimated duration of writing one checkpoint, while training continues."""
        return self.checkpoint_bytes / (self.hosts * HOST_BANDWIDTH)

    @property
    def lost_seconds(self) -> float:
        """Estimated maximum loss by a preemption: a checkpoint period, a write and a restart."""
        step = self.estimate.seconds if self.estimate else float("nan")
        return self.checkpoint_period * step + self.write_seconds + RESTART

    @property
    def fits(self) -> bool:
        """Whether the step leaves `spare` bytes of a chip; true where the chip is not known."""
        if self.out_of_memory:
            return False
        return self.hbm_of_device is None or self.hbm <= self.hbm_of_device - self.spare

    def numbers(self) -> dict[str, Any]:
        """Fields and properties for JSON; unknown ones are null."""
        names = [name for name, value in vars(Forecast).items() if isinstance(value, property)]
        derived = {name: getattr(self, name) for name in names}
        if self.estimate:
            derived["seconds"] = self.estimate.seconds
        known = {name: None if value != value else value for name, value in derived.items()}
        return {**dataclasses.asdict(self), **known}


def forecast(
    path: Path, topology: Topology, overrides: Sequence[str] = (), price: float | None = None
) -> Forecast:
    """Compile the step of the overlay ``path`` (or read it from the cache) and estimate its run.

    ``price`` is in dollars per chip and hour; by default it is the chip's list price.
    """
    step = compiled_step(path, topology, overrides)
    config = overlay.load(path, overrides)
    chip = topology.chip
    estimate = None
    mfu = None
    if chip and not step.out_of_memory:
        estimate = roofline.estimate(step.costs, chip, CONSTANTS[chip.name])
        per_chip = step.tokens / topology.chips * step.model.flops_per_token
        mfu = per_chip / estimate.seconds / chip.peak_flops
    executed = step.costs.matmul_flops
    per_token = step.model.matmul_flops_per_token
    if not step.costs.attention_flops:
        # Without the kernel, attention is among the matrix products, masked half included.
        per_token += 2 * step.model.attention_flops_per_token
    return Forecast(
        overlay=str(path),
        topology=topology.name,
        parameters=step.model.parameters,
        tokens_per_step=step.tokens,
        hbm=step.hbm,
        hbm_of_device=chip.hbm / chip.devices if chip else None,
        host=step.host,
        matmul_flops=executed,
        matmul_flops_analytic=per_token * step.tokens / step.devices,
        attention_flops=step.costs.attention_flops,
        rematerialised=step.costs.rematerialised_flops / executed if executed else 0.0,
        hbm_bytes=step.costs.hbm_bytes,
        collective_bytes=step.costs.collective_bytes + step.costs.overlapped_bytes,
        estimate=estimate,
        mfu=mfu,
        token_budget=steps(config) * step.tokens,
        price=price if price is not None else (chip.price if chip else None),
        priced=chip.priced if chip and price is None else "",
        chips=topology.chips,
        hosts=topology.hosts,
        checkpoint_bytes=step.state_bytes,
        checkpoint_period=int(config["checkpoint_period"]),
        out_of_memory=step.out_of_memory,
        largest=step.largest,
    )


def steps(config: dict[str, Any]) -> int:
    """The number of steps of the run, without those before the checkpoint that it starts from."""
    started = re.search(r"/(\d+)/items/?$", str(config["load_full_state_path"]))
    return run.last_step(config) - (int(started.group(1)) if started else -1)
