"""Estimate the time of a training step on a chip from the costs of its program.

No TPU is involved: this is an estimate, not a measurement. The time is the sum of three parts:

- fusions: XLA's estimated cycles at the chip's clock, times ``slowdown``. No matrix product is
  taken to be faster than the chip's peak;
- attention: the operations of Splash attention at ``attention_efficiency`` of the peak, because
  XLA estimates no cycles for a kernel;
- collectives: the bytes sent, at ``collective_share`` of the bandwidth of the chip's links.
  Synchronous collectives count in full. Asynchronous ones count in full too or, with ``overlap``,
  only the time by which they outlast the arithmetic.

`pretrain.preflight.calibration` fits ``slowdown`` to one published run and chooses the ``overlap``
that predicts another run better. The other two constants are assumptions: the published runs cannot
separate their effects.
"""

from dataclasses import dataclass

from pretrain.preflight.costs import Costs
from pretrain.topology import Chip


@dataclass(frozen=True, kw_only=True)
class Constants:
    """The constants that turn costs into seconds."""

    slowdown: float = 1.0
    """Measured time of fusions divided by XLA's estimate."""

    attention_efficiency: float = 0.45
    """Share of the peak that Splash attention reaches on the blocks that it computes."""

    overlap: bool = False
    """Whether asynchronous collectives run hidden behind the arithmetic."""

    collective_share: float = 1 / 3
    """Share of the bandwidth of a chip's links that a collective uses: 100 of 300 GB/s on v4."""


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """Estimated seconds of one step, by part, and the lower bounds from the chip's limits."""

    fusions: float
    attention: float
    collectives: float
    arithmetic_bound: float
    """Seconds for all operations of the program at the peak."""

    memory_bound: float
    """Seconds for all memory traffic of the program at full bandwidth."""

    @property
    def seconds(self) -> float:
        """Estimated seconds of the whole step."""
        return self.fusions + self.attention + self.collectives


def estimate(costs: Costs, chip: Chip, constants: Constants) -> StepTime:
    """The estimated time of a step whose program has ``costs`` on every device."""
    peak = chip.peak_flops / chip.devices
    products = costs.matmul_cycles / chip.clock * constants.slowdown
    others = (costs.cycles - costs.matmul_cycles) / chip.clock * constants.slowdown
    fusions = max(products, costs.matmul_flops / peak) + others
    attention = costs.attention_flops / (peak * constants.attention_efficiency)
    bandwidth = chip.interconnect / chip.devices * constants.collective_share
    asynchronous = costs.overlapped_bytes / bandwidth
    if constants.overlap:
        asynchronous = max(0.0, asynchronous - fusions - attention)
    return StepTime(
        fusions=fusions,
        attention=attention,
        collectives=costs.collective_bytes / bandwidth + asynchronous,
        arithmetic_bound=(costs.matmul_flops + costs.attention_flops) / peak,
        memory_bound=costs.hbm_bytes / (chip.hbm_bandwidth / chip.devices),
    )
