"""The processor: its name, its instruction sets and its threads."""

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinymathreason.records.provenance import Processor

INSTRUCTION_SETS = (
    "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16",  # x86
    "asimd", "sve", "sve2", "bf16", "i8mm",  # ARM
)  # fmt: skip
"""Instruction sets, by Linux's names, that decide the speed or the last bits of sums."""
LIMITS = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "XLA_FLAGS",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
)
"""Environment variables that limit how much of the processor a library uses."""
_CPUINFO = Path("/proc/cpuinfo")


def record() -> "Processor":
    """Name, instruction sets, usable cores, threads and limits of the processor.

    ``threads`` are torch's, or None when torch is not loaded.
    """
    from tinymathreason.records.provenance import Processor

    fields = _cpuinfo()
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    # Loading torch only for this would take seconds.
    torch = sys.modules.get("torch")
    return Processor(
        name=fields.get("model name") or platform.processor() or platform.machine(),
        machine=platform.machine(),
        instruction_sets=[name for name in INSTRUCTION_SETS if name in flags],
        cores=usable_cores(),
        limits={name: os.environ[name] for name in LIMITS if name in os.environ},
        threads=torch.get_num_threads() if torch else None,
    )


def describe(processor: "Processor") -> str:
    """The record of a processor as one line."""
    sets = ", ".join(processor.instruction_sets) or processor.machine
    parts = [f"{processor.name} ({sets})", f"{processor.cores} cores"]
    if processor.threads is not None:
        parts.append(f"{processor.threads} threads")
    return ", ".join([*parts, *(f"{name}={value}" for name, value in processor.limits.items())])


def usable_cores() -> int:
    """The number of the machine's cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpuinfo() -> dict[str, str]:
    """Linux's fields of the first core; empty on other systems."""
    fields: dict[str, str] = {}
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, colon, value = line.partition(":")
            if colon:
                fields.setdefault(name.strip(), value.strip())
    return fields
