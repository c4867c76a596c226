"""Count the bytes that each chip sends in a collective operation of an XLA program."""

import math
import re

from pretrain.preflight.hlo import Instruction, Program

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")

_CALLING = ("fusion", "async-start", "custom-call-start")
"""Opcodes whose computation may contain a collective; the last runs it on the SparseCores."""


def sent(program: Program, instruction: Instruction, devices: int) -> float | None:
    """Bytes that one chip of a ring sends for an instruction or for the contents of its fusion.

    None when it contains no collective. 0 for the end of an asynchronous collective, whose bytes
    are counted at its start. ``devices`` is the size of a collective that names no group.
    """
    sizes = _sizes(program, instruction, devices)
    if not sizes:
        return None
    return 0.0 if _marked(instruction, "-done") else sum(sizes)


def is_started(instruction: Instruction) -> bool:
    """Whether the chip goes on computing while the collective runs."""
    return _marked(instruction, "-start")


def _marked(instruction: Instruction, mark: str) -> bool:
    return instruction.opcode.endswith(mark) or mark in instruction.name


def _sizes(program: Program, instruction: Instruction, devices: int) -> list[float]:
    kind = instruction.opcode.removesuffix("-start").removesuffix("-done")
    if kind in KINDS:
        return [_bytes(kind, instruction, devices)]
    if instruction.opcode not in _CALLING or not instruction.called:
        return []
    sizes = []
    for inner in program.computations[instruction.called].instructions.values():
        for size in _sizes(program, inner, devices):
            # A fused all-reduce of which each device keeps only its slice is a reduce-scatter.
            scattered = inner.opcode == "all-reduce" and "scatter" in instruction.name
            sizes.append(size / 2 if scattered else size)
    return sizes


def _bytes(kind: str, collective: Instruction, devices: int) -> float:
    size = group_size(collective, devices)
    whole = collective.bytes
    if collective.opcode.endswith("-start") and kind in ("all-gather", "collective-permute"):
        # The result also holds the operands and, for a permute, two state flags.
        whole = max(array.bytes for array in collective.shape)
    if kind == "collective-permute":
        return whole
    if kind == "reduce-scatter":
        whole *= size
    # An all-reduce is a reduce-scatter followed by an all-gather.
    return (2 if kind == "all-reduce" else 1) * whole * (size - 1) / size


def group_size(collective: Instruction, devices: int) -> int:
    """The number of devices that take part, from any of XLA's three notations for groups."""
    text = collective.attributes
    mesh = re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", text)
    if mesh:
        sizes = {name: int(size) for name, size in re.findall(r"'([\w]+)'=(\d+)", mesh.group(1))}
        return math.prod(sizes[name] for name in re.findall(r"'(\w+)'", mesh.group(2)))
    iota = re.search(r"replica_groups=\[\d+,(\d+)\]", text)
    if iota:
        return int(iota.group(1))
    listed = re.search(r"replica_groups=\{\{([\d,]+)\}", text)
    return len(listed.group(1).split(",")) if listed else devices
