"""TPU slices and NVIDIA GPUs by name; of the TPUs' chips, the published figures and prices."""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from pretrain.gpus import CARDS, CARDS_PER_NODE, GIB, Card
from tinymathreason.cli import InputError
from tinymathreason.config import nearest


@dataclass(frozen=True, kw_only=True)
class Chip:
    """The published figures of one chip generation.

    https://cloud.google.com/tpu/docs/system-architecture-tpu-vm
    """

    name: str
    peak_flops: float
    """Dense bfloat16 operations per second."""

    clock: float
    """Cycles per second: the peak divided by the operations of the matrix units in a cycle."""

    hbm: float
    """Bytes of main memory that XLA may use; the runtime reserves a little."""

    hbm_bandwidth: float
    """Bytes per second between the chip and its memory."""

    interconnect: float
    """Bytes per second in one direction, summed over all links of a chip."""

    chips_per_host: int
    """Chips per host of a slice with several hosts."""

    price: float
    """US dollars per chip and hour, on demand, in the cheapest region of the United States.

    From https://cloud.google.com/tpu/pricing, where prices change.
    """

    priced: str
    """Year and month of that price."""

    devices: int = 1
    """Devices of a chip that a program sees. Each has an equal share of the figures above."""


CHIPS = {
    chip.name: chip
    for chip in (
        Chip(
            name="v4", peak_flops=275e12, clock=1.05e9, hbm=30.75 * GIB, hbm_bandwidth=1.2e12,
            interconnect=300e9, chips_per_host=4, price=3.22,
            priced="2025-06",
        ),
        Chip(
            name="v5e", peak_flops=197e12, clock=1.5e9, hbm=15.75 * GIB, hbm_bandwidth=819e9,
            interconnect=200e9, chips_per_host=4, price=1.20,
            priced="2026-09",
        ),
        Chip(
            name="v5p", peak_flops=459e12, clock=1.75e9, hbm=95.74 * GIB, hbm_bandwidth=2765e9,
            interconnect=600e9, chips_per_host=4, price=4.20,
            priced="2026-09",
        ),
        Chip(
            name="v6e", peak_flops=918e12, clock=1.75e9, hbm=31.25 * GIB, hbm_bandwidth=1638e9,
            interconnect=400e9, chips_per_host=4, price=2.70,
            priced="2026-09",
        ),
        # https://docs.cloud.google.com/tpu/docs/tpu7x
        Chip(
            name="tpu7x", peak_flops=2307e12, clock=2.2e9, hbm=2 * 94.74 * GIB,
            hbm_bandwidth=7380e9, interconnect=600e9, chips_per_host=4, price=12.00,
            priced="2026-09", devices=2,
        ),
    )
}  # fmt: skip
"""The chips by generation."""


@dataclass(frozen=True, kw_only=True)
class Topology:
    """The hardware for which a step is compiled."""

    name: str
    platform: str
    """``tpu``, ``cuda`` or ``cpu``."""

    chip: Chip | None
    """None for a CPU or a GPU."""

    chips: int
    card: Card | None = None
    """The figures of a GPU that was named; None for others."""

    @property
    def hosts(self) -> int:
        """The number of hosts of the slice, or of nodes with GPUs."""
        if self.card:
            return -(-self.chips // CARDS_PER_NODE)
        return max(1, self.chips // self.chip.chips_per_host) if self.chip else 1

    @property
    def overrides(self) -> list[str]:
        """The MaxText arguments with which a step is compiled for it."""
        if self.platform == "tpu":
            return [f"compile_topology={self.name}", "compile_topology_num_slices=1"]
        return ["hardware=cpu" if self.platform == "cpu" else "hardware=gpu"]


OFFERED = ("v4-32", "v4-64", "v5e-16", "v5p-16", "v6e-16", "tpu7x-8", "gpu", "cpu")
"""The topologies of this project's overlays; every other slice that MaxText knows works too."""


def canonical(name: str) -> str:
    """MaxText's name of a slice that gcloud calls otherwise: v5litepod-16 is v5e-16."""
    return name.replace("v5litepod-", "v5e-")


def has_cuda() -> bool:
    """Whether jax's plugin for NVIDIA GPUs is installed."""
    return any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13))


def find(name: str) -> Topology:
    """The topology called ``name`` in gcloud or MaxText; v4-32, for example, has 16 chips.

    ``h100`` is one card, ``h100-8`` a node of eight, and ``gpu`` the GPU of this machine. Raises
    `InputError` with the nearest name for an unknown one, and for ``gpu`` where jax has no CUDA
    plugin to compile with.
    """
    name = canonical(name)
    if name == "cpu":
        return Topology(name=name, platform="cpu", chip=None, chips=1)
    if name == "gpu":
        if not has_cuda():
            raise InputError(
                "topology gpu: jax cannot compile for a GPU without its CUDA plugin and a GPU; "
                "run make setup-gpu on a machine with one"
            )
        return Topology(name=name, platform="cuda", chip=None, chips=1)
    card, count = _card(name)
    if card:
        return Topology(name=name, platform="cuda", chip=None, chips=count, card=card)
    match = re.fullmatch(r"(v\d\w?|tpu7x)-(\d+)", name)
    if match is None or match.group(1) not in CHIPS:
        raise InputError(f"topology {name!r} is not known; {nearest(name, [*OFFERED, *CARDS])}")
    generation, number = match.group(1), int(match.group(2))
    # Names of v4, v5p and tpu7x count cores; a chip has two. On v4 and v5p a program sees both as
    # one device.
    chips = number // 2 if generation in ("v4", "v5p", "tpu7x") else number
    return Topology(name=name, platform="tpu", chip=CHIPS[generation], chips=chips)


def _card(name: str) -> tuple[Card | None, int]:
    """The card that ``name`` names and their number: h100, h100-8, a100-80gb-16."""
    stem, _, number = name.rpartition("-")
    if name in CARDS:
        return CARDS[name], 1
    if stem in CARDS and re.fullmatch(r"[1-9]\d{0,4}", number):
        return CARDS[stem], int(number)
    return None, 0


def of_overlay(stem: str, hardware: str) -> str:
    """The topology at the end of an overlay's file name: ``..._v4_32.yml`` is for v4-32.

    Raises `InputError` when the name has none.
    """
    name = _named_in(stem) or ("cpu" if hardware == "cpu" else None)
    if name is None:
        raise InputError(
            f"{stem}: the name does not end with a topology; use --topology, such as {OFFERED[0]}"
        )
    return name


def cards_of_overlay(stem: str) -> int:
    """The number of GPUs for which an overlay is written: the last one of ``..._gpu_8``, else 1."""
    match = re.search(r"_gpu_(\d+)$", stem)
    return int(match.group(1)) if match else 1


def check(overlay: Path, tpu_type: str) -> None:
    """Raise `InputError` when an overlay named after one slice would run on another."""
    name = _named_in(overlay.stem)
    if name and name != canonical(tpu_type):
        raise InputError(f"{overlay} is for {name}, not for {tpu_type}: its batch would differ")


def _named_in(stem: str) -> str | None:
    return next((name for name in OFFERED if stem.endswith(f"_{name.replace('-', '_')}")), None)
