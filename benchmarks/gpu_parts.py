"""The parts of `benchmarks.gpu`: their commands, their order and their shares of the time.

A part is a command that prints lines of JSON on its standard output, each as soon as it is known,
takes ``--device``, ``--home`` and, where it reads text, ``--data``, and makes everything else
itself. Its log goes to its standard error.
"""

import importlib.metadata
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.card import smi
from benchmarks.pretrain_gpu import VARIANTS
from tinymathreason import processor, provenance
from tinymathreason.cli import InputError
from tinymathreason.config import nearest

CARD = (
    "name", "driver_version", "memory.total", "clocks.sm", "clocks.max.sm", "clocks.mem",
    "power.limit", "compute_cap",
)  # fmt: skip
"""The values of nvidia-smi that describe the card: MiB, MHz and watts."""
PACKAGES = (
    "jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "tokamax", "maxtext", "flax",
    "transformer-engine-jax", "torch", "triton", "flash-attn", "transformers", "trl", "peft",
    "bitsandbytes", "accelerate", "lm-eval", "vllm",
)  # fmt: skip
"""Packages whose versions decide the speed."""


@dataclass(frozen=True, kw_only=True)
class GpuPart:
    """One part: a command that prints lines of JSON."""

    name: str
    command: Sequence[str]
    weight: float
    """Its share of the time: the seconds that it should need on one H100."""
    least: float = 0.0
    """Seconds below which it could not measure anything."""
    limit: str = ""
    """The option that tells the command its seconds, if it has one."""
    environment: dict[str, str] = field(default_factory=dict)

    def limited(self, seconds: float) -> list[str]:
        """The command that ends by itself within ``seconds``, if it can."""
        return [*self.command, *([self.limit, f"{seconds:.0f}"] if self.limit else [])]


def module(name: str, *arguments: object) -> list[str]:
    """The command of a module with arguments."""
    return [sys.executable, "-m", name, *map(str, arguments)]


def parts(device: str, home: Path, data: Path | None) -> list[GpuPart]:
    """All parts, the most important first, working below ``home``."""
    gpu = device == "cuda"
    text = ["--data", data] if data else []

    def part(
        name: str, of: str, weight: float, *arguments: object, least: float, limit: str = ""
    ) -> GpuPart:
        common = ["--device", device, "--home", home / name, *text]
        command = module(of, *common, *arguments)
        return GpuPart(name=name, command=command, weight=weight, least=least, limit=limit)

    def training(name: str, weight: float, variants: Sequence[str], least: float) -> GpuPart:
        options = ["--steps", 15 if gpu else 3, "--only", ",".join(variants)]
        of = "benchmarks.pretrain_gpu"
        return part(name, of, weight, *options, least=least, limit="--limit-seconds")

    if gpu:
        # First what the bar is for, then what is compared.
        compared = ["as_it_is", "tuned", "torch_documents", "torch"]
        searched = ["searched_tuned", "searched"]
        others = [name for name in VARIANTS if name not in (*compared, *searched)]
        attention = "auto,sdpa,flex_attention"  # first the one that the hardware chooses
    else:
        compared, searched, others = ["as_it_is", "torch"], ["searched"], ["minimal"]
        attention = "sdpa"
    # A quarter of GSM8K's problems on a GPU: all of them may take three minutes.
    problems, seconds, new = (330, 45, 128) if gpu else (8, 60, 8)
    # Few steps, so that TRL's side also reaches its last one, where the losses are compared.
    tuning = ["--attention", attention, "--steps", 6, "--limit", 30 if gpu else 15]
    evaluation = ["--whole", problems, "--problems", 0, "--limit", seconds]
    answers = ["--new-tokens", new, "--limit", 5 if gpu else 1]
    return [
        training("pretraining", 190, compared, least=45),
        part("fine-tuning", "benchmarks.sft", 125, *tuning, least=45),
        part("evaluation", "benchmarks.evaluation", 50, *evaluation, least=30),
        part("sampling", "benchmarks.sampling", 50, *answers, least=30),
        part("chat", "benchmarks.chat", 30, *answers, least=15),
        GpuPart(
            name="attention",
            command=module("pretrain.isolation", "--hardware", "gpu" if gpu else "cpu"),
            weight=30,
            least=20,
        ),
        # Then whatever the time allows. The weights are small: these get what the others left.
        training("pretraining-variants", 3, others, least=40),
        training("block-search", 2, searched, least=100 if gpu else 10),
    ]


def chosen(listed: Sequence[GpuPart], names: Sequence[str]) -> list[GpuPart]:
    """The parts with these names, in their own order; `InputError` for an unknown name."""
    known = [part.name for part in listed]
    for name in names:
        if name not in known:
            raise InputError(f"--only: no part {name!r}; {nearest(name, known)}")
    return [part for part in listed if part.name in names]


def commit() -> str | None:
    """The commit of this checkout, or of the one that `benchmarks.pack_gpu` packed."""
    packed = Path(__file__).resolve().parent.parent / "COMMIT"
    return packed.read_text(encoding="utf-8").strip() if packed.is_file() else provenance.commit()


def describe_host(device: str) -> dict[str, Any]:
    """The card, its driver and clocks, the processor, and the versions that decide the speed.

    Raises `InputError` without a GPU when ``device`` is ``cuda``.
    """
    versions: dict[str, str] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    card = None
    if device == "cuda":
        values = [value.strip() for value in smi(",".join(CARD)).split(",")]
        card = dict(zip(CARD, values, strict=True))
    return {
        "device": device,
        "card": card,
        "processor": processor.record().name,
        "cores": processor.usable_cores(),
        "commit": commit(),
        "versions": versions,
    }
