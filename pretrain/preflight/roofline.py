"""The costs of a step and a chip in; an estimated time, its parts and the bounds below it out.

An estimate, not a measurement: no TPU was used. It has three parts, taken one after the other:

- XLA's own cycles for every fusion at the chip's clock, times ``slowdown``, but no product faster
  than the peak;
- Splash attention's operations at ``attention_efficiency`` of the peak, since XLA gives a kernel no
  cycles;
- collectives at ``collective_share`` of the chip's links: those that XLA starts and waits for at
  once in full, asynchronous ones too or as far as they outlast the arithmetic (``overlap``).

`pretrain.calibration` fits ``slowdown`` on a published run and takes the ``overlap`` that foretells
another one better; the other two are assumptions, which the published runs cannot tell apart.
"""

from dataclasses import dataclass

from pretrain.preflight.costs import Costs
from pretrain.topology import Chip


@dataclass(frozen=True, kw_only=True)
class Constants:
    """What turns counts into seconds."""

    slowdown: float = 1.0
    """Measured time of fusions over XLA's estimate."""

    attention_efficiency: float = 0.45
    """Share of the peak that Splash attention reaches on the blocks it visits."""

    overlap: bool = False
    """Whether asynchronous collectives are hidden behind arithmetic."""

    collective_share: float = 1 / 3
    """Share of a chip's links that a collective keeps busy: 100 GB/s of v4's 300."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Seconds of one step, by part, and the least that each of the chip's limits allows."""

    fusions: float
    attention: float
    collectives: float
    arithmetic_bound: float
    """All operations of the program at the peak."""

    memory_bound: float
    """All bytes of the program at the memory's full bandwidth."""

    @property
    def seconds(self) -> float:
        """The step's estimated time."""
        return self.fusions + self.attention + self.collectives


def estimate(costs: Costs, chip: Chip, constants: Constants) -> Estimate:
    """The time of one step of a program with ``costs`` on every chip."""
    products = costs.matmul_cycles / chip.clock * constants.slowdown
    others = (costs.cycles - costs.matmul_cycles) / chip.clock * constants.slowdown
    fusions = max(products, costs.matmul_flops / chip.peak_flops) + others
    attention = costs.attention_flops / (chip.peak_flops * constants.attention_efficiency)
    bandwidth = chip.interconnect * constants.collective_share
    asynchronous = costs.overlapped_bytes / bandwidth
    if constants.overlap:
        asynchronous = max(0.0, asynchronous - fusions - attention)
    return Estimate(
        fusions=fusions,
        attention=attention,
        collectives=costs.collective_bytes / bandwidth + asynchronous,
        arithmetic_bound=(costs.matmul_flops + costs.attention_flops) / chip.peak_flops,
        memory_bound=costs.hbm_bytes / chip.hbm_bandwidth,
    )
