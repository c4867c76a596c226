"""A collective instruction in; the bytes that it makes each chip send out."""

import math
import re

from pretrain.preflight.hlo import Instruction, Program

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")


def sent(program: Program, instruction: Instruction, devices: int) -> float | None:
    """Bytes that one chip of a ring sends for an instruction or for what its fusion holds.

    None when no collective is in it; 0 at the end of one whose start was counted. ``devices`` is
    the size of a collective that names no group.
    """
    found = _found(program, instruction, devices)
    if not found:
        return None
    return 0.0 if _marked(instruction, "-done") else sum(found)


def is_started(instruction: Instruction) -> bool:
    """Whether the chip goes on computing while the collective runs."""
    return _marked(instruction, "-start")


def _marked(instruction: Instruction, mark: str) -> bool:
    return instruction.opcode.endswith(mark) or mark in instruction.name


def _found(program: Program, instruction: Instruction, devices: int) -> list[float]:
    kind = instruction.opcode.removesuffix("-start").removesuffix("-done")
    if kind in KINDS:
        return [_bytes(kind, instruction, devices)]
    if instruction.opcode not in ("fusion", "async-start") or not instruction.called:
        return []
    sizes = []
    for inner in program.computations[instruction.called].instructions.values():
        for size in _found(program, inner, devices):
            # A fused all-reduce of which a device keeps its slice is a reduce-scatter.
            scattered = inner.opcode == "all-reduce" and "scatter" in instruction.name
            sizes.append(size / 2 if scattered else size)
    return sizes


def _bytes(kind: str, collective: Instruction, devices: int) -> float:
    size = group_size(collective, devices)
    whole = collective.bytes
    if collective.opcode.endswith("-start") and kind in ("all-gather", "collective-permute"):
        # Its result holds the operands too, and a permute's the two marks of its state.
        whole = max(array.bytes for array in collective.shape)
    if kind == "collective-permute":
        return whole
    if kind == "reduce-scatter":
        whole *= size
    # An all-reduce is a reduce-scatter and a gather.
    return (2 if kind == "all-reduce" else 1) * whole * (size - 1) / size


def group_size(collective: Instruction, devices: int) -> int:
    """How many devices take part, from any of the ways in which XLA writes it."""
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
