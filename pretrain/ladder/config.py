"""What a ladder file holds: sizes, tokens, rates, mixtures, and what is measured."""

import math
from dataclasses import field
from pathlib import Path
from typing import Any

from pretrain import gpus, topology
from tinymathreason.config import config, nearest

TASKS = ("arithmetic", "gsm8k", "math500")
"""Tasks whose gold solutions can be measured."""
KNOWN: dict[str, gpus.Card | topology.Chip] = {**gpus.CARDS, **topology.CHIPS}
"""Devices whose peak and list price preflight knows."""


def _positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be above 0 (got {value})")


@config
class Size:
    """A model with the 1B model's block: an MLP of 2.75 times the width, four query heads to one
    key-value head."""

    width: int
    """Width of the model; a multiple of ``heads`` and of 4."""
    layers: int
    """Number of layers."""
    heads: int
    """Query heads; a multiple of 4."""
    keys: dict[str, Any] = field(default_factory=dict)
    """Other MaxText keys of this size, such as ``per_device_batch_size``."""

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1 (got {getattr(self, name)})")
        if self.heads % 4 or self.width % self.heads or self.width % 4:
            raise ValueError(
                f"heads must be a multiple of 4 and divide a width that is a multiple of 4 "
                f"(got heads {self.heads}, width {self.width})"
            )
        if self.width // self.heads % 2:
            raise ValueError(
                f"width / heads must be even for RoPE (got {self.width // self.heads})"
            )


@config
class Rate:
    """The peak learning rate of a size: ``peak * (weights / parameters) ** exponent``."""

    peak: float
    """The rate at ``parameters``."""
    parameters: float
    """The number of weights at which it is ``peak``."""
    exponent: float = 0.0
    """The power of the number of weights; negative, as larger models need smaller rates."""

    def __post_init__(self) -> None:
        _positive("peak", self.peak)
        _positive("parameters", self.parameters)

    def of(self, parameters: int) -> float:
        """The rate of a model with so many weights, to three digits, as a file shows it."""
        return float(f"{self.peak * (parameters / self.parameters) ** self.exponent:.3g}")


@config
class LawGrid:
    """The runs of the law: every size on every number of tokens a parameter."""

    tokens_per_parameter: list[float]
    """Training tokens for each weight; at least two, so that the law has two variables."""
    least_tokens: float = 0
    """Runs of fewer tokens are left out."""
    most_tokens: float = math.inf
    """Runs of more tokens are left out."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """Seeds of the initialisation and of the order of the data."""
    sizes: list[str] | None = None
    """Names of the sizes; None takes all."""
    repeated: list[str] = field(default_factory=list)
    """Sizes that are run with every seed; the others with the first one. Empty repeats all."""

    def __post_init__(self) -> None:
        if not self.tokens_per_parameter or not self.seeds:
            raise ValueError("tokens_per_parameter and seeds must name at least one value")
        for value in self.tokens_per_parameter:
            _positive("tokens_per_parameter", value)


@config
class RateGrid:
    """The runs that look for the best rate of a size."""

    peaks: dict[str, list[float]]
    """The peak rates to try by the name of the size; three or more sizes show how the best rate
    depends on it."""
    tokens_per_parameter: float | None = None
    """Training tokens for each weight; set this or ``tokens``."""
    tokens: float | None = None
    """Training tokens of every run."""
    weight_decays: list[float] = field(default_factory=list)
    """Weight decays that are tried at the ladder's rate of each size; empty tries the base's
    only."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """Seeds of the initialisation and of the order of the data."""

    def __post_init__(self) -> None:
        if (self.tokens_per_parameter is None) == (self.tokens is None):
            raise ValueError("set either tokens_per_parameter or tokens")
        for value in (self.tokens_per_parameter, self.tokens):
            if value is not None:
                _positive("tokens", value)
        for values in self.peaks.values():
            for value in values:
                _positive("peaks", value)


@config
class MixtureGrid:
    """The proxies: runs of one size on other weights of the mixture's sources."""

    size: str
    """Name of the size."""
    tokens: float
    """Training tokens of every proxy."""
    count: int
    """Number of proxies; the design needs some for each source."""
    target: str | dict[str, float]
    """What is to be as small as possible: a column of the results, such as ``loss/open-web-math``
    or ``bits/gsm8k``, or a weight for each of several columns."""
    recipe: Path
    """The recipe of the large run, whose ``token_budget`` and ``max_epochs`` bound the weights."""
    available: dict[str, float] = field(default_factory=dict)
    """Tokens of each source of ``recipe``, by its publisher's count; a source without one is not
    bounded."""
    seed: int = 0
    """Seed of the design and of every proxy."""

    def __post_init__(self) -> None:
        _positive("tokens", self.tokens)
        if self.count < 2:
            raise ValueError(f"count must be at least 2 (got {self.count})")


@config
class GoldTask:
    """Problems whose gold solutions a model should find likely."""

    data: str | None = None
    """A file of the problems, or a folder laid out as on the hub; None reads the hub. Not for
    ``arithmetic``, which generates its own."""
    problems: int = 200
    """The first so many problems, of which the solutions' likelihood is measured."""
    answered: int = 0
    """The first so many problems that are answered for an accuracy; 0 measures none."""


@config
class Measure:
    """What is measured of every finished run."""

    held_out_tokens: int = 100_000
    """Most held-out tokens of each source for its loss."""
    tasks: dict[str, GoldTask] = field(default_factory=dict)
    """Tasks by name: arithmetic, gsm8k, math500."""

    def __post_init__(self) -> None:
        for name in self.tasks:
            if name not in TASKS:
                raise ValueError(f"tasks: unknown {name!r}; {nearest(name, TASKS)}")


@config
class Device:
    """What the ladder runs on, for the plan's hours and price, which are estimates."""

    name: str
    """A card or a chip that preflight knows, such as h100 or v5e; or any other name, with
    ``tflops``."""
    count: int = 1
    """Devices that one run uses."""
    tflops: float | None = None
    """Sustained TFLOP/s of one device; None takes ``share`` of the peak that is known."""
    share: float = 0.25
    """Share of the peak that small models reach; a guess, replaced by ``tflops``."""
    dollars_per_hour: float | None = None
    """Price of one device; None takes preflight's list price, or 0 for a device of its own name."""
    overhead_seconds: float = 60.0
    """Seconds of a run that are not training: starting, compiling, converting, measuring."""

    def __post_init__(self) -> None:
        if self.name not in KNOWN and self.tflops is None:
            raise ValueError(f"set tflops for device {self.name!r}, or {nearest(self.name, KNOWN)}")

    @property
    def flops(self) -> float:
        """Sustained operations per second of all devices."""
        if self.tflops is not None:
            return self.count * self.tflops * 1e12
        return self.count * self.share * KNOWN[self.name].peak_flops

    @property
    def price(self) -> float:
        """Dollars per hour of all devices."""
        if self.dollars_per_hour is not None:
            return self.count * self.dollars_per_hour
        known = KNOWN.get(self.name)
        return self.count * ((known.price if known else None) or 0.0)


@config
class Ladder:
    """A table of small runs, what is measured of them, and where they are kept."""

    run: Path
    """Folder of everything that the ladder writes; no other ladder may use it."""
    base: Path
    """Overlay that all runs share: vocabulary, context, batch, optimiser and hardware."""
    mixture: Path
    """Folder of the mixture, built with data_prep."""
    sizes: dict[str, Size]
    """The models by name."""
    rate: Rate
    """The peak learning rate by size."""
    device: Device
    """What the runs are planned for."""
    measure: Measure = field(default_factory=Measure)
    """What is measured of every run."""
    law: LawGrid | None = None
    """The runs of the law; None fits none."""
    rates: RateGrid | None = None
    """The runs that look for the best rate; None for none."""
    mixtures: MixtureGrid | None = None
    """The proxies of other mixtures; None for none."""

    def __post_init__(self) -> None:
        named = {
            "law.sizes": (self.law and self.law.sizes) or [],
            "law.repeated": self.law.repeated if self.law else [],
            "rates.peaks": list(self.rates.peaks) if self.rates else [],
            "mixtures.size": [self.mixtures.size] if self.mixtures else [],
        }
        for key, names in named.items():
            for name in names:
                if name not in self.sizes:
                    raise ValueError(f"{key}: no size {name!r}; {nearest(name, self.sizes)}")
        if not (self.law or self.rates or self.mixtures):
            raise ValueError("set at least one of law, rates and mixtures")
