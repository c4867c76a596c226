"""Count the arithmetic, the memory traffic and XLA's estimated cycles of one device's step."""

import json
import math
import re
from dataclasses import dataclass, fields

from pretrain.preflight import collectives
from pretrain.preflight.hlo import Array, Computation, Instruction, Program, arrays

_NO_TRAFFIC = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id",
    "iota", "while", "copy-done", "slice-done", "async-done", "async-update",
    "custom-call-start", "custom-call-update", "custom-call-done",
}  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Costs:
    """Totals of one training step on one device."""

    matmul_flops: float = 0.0
    """Floating-point operations of matrix products, without those of the attention kernel."""

    rematerialised_flops: float = 0.0
    """The part of `matmul_flops` that repeats the forward pass during the backward pass."""

    attention_flops: float = 0.0
    """Operations that Splash attention executes, without the blocks that the causal mask skips."""

    cycles: float = 0.0
    """XLA's estimated clock cycles of everything except the attention kernel and collectives."""

    matmul_cycles: float = 0.0
    """The part of `cycles` in fusions that contain a matrix product."""

    hbm_bytes: float = 0.0
    """Bytes read from and written to the chip's main memory, including kernels and collectives."""

    collective_bytes: float = 0.0
    """Bytes that each chip of a ring sends while it waits for them."""

    overlapped_bytes: float = 0.0
    """Bytes that each chip of a ring sends in asynchronous collectives, while it computes."""

    def add(self, other: "Costs", times: int) -> None:
        """Add ``times`` the costs ``other`` in place."""
        for field in fields(self):
            total = getattr(self, field.name) + times * getattr(other, field.name)
            setattr(self, field.name, total)


def count(program: Program, devices: int) -> Costs:
    """The costs of one step. ``devices`` is the size of a collective that names no group."""
    total = Costs()
    for computation, instruction, times in program.executed():
        total.add(_costs(program, computation, instruction, devices), times)
    return total


def _costs(
    program: Program, computation: Computation, instruction: Instruction, devices: int
) -> Costs:
    costs = Costs(hbm_bytes=_traffic(program, computation, instruction))
    kernel = instruction.attribute("custom_call_target") == '"tpu_custom_call"'
    if kernel:
        costs.attention_flops = splash_flops(instruction)
        return costs
    costs.matmul_flops = _flops(program, computation, instruction)
    sent = collectives.sent(program, instruction, devices)
    if sent is None or costs.matmul_flops:
        # A collective fused with a matrix product was started, and counted, before.
        costs.cycles = instruction.cycles or 0
        costs.matmul_cycles = costs.cycles if costs.matmul_flops else 0
    elif collectives.is_started(instruction):
        costs.overlapped_bytes = sent
    else:
        costs.collective_bytes = sent
    # jax.checkpoint gives recomputed operations this name, and XLA keeps it.
    if "rematted_computation" in instruction.attributes:
        costs.rematerialised_flops = costs.matmul_flops
    return costs


def _flops(program: Program, computation: Computation, instruction: Instruction) -> float:
    if instruction.opcode == "dot":
        return _dot_flops(computation, instruction)
    if instruction.opcode == "convolution":
        return _convolution_flops(computation, instruction)
    if instruction.opcode in ("fusion", "async-start") and instruction.called:
        called = program.computations[instruction.called]
        return sum(_flops(program, called, inner) for inner in called.instructions.values())
    return 0.0


def _dot_flops(computation: Computation, dot: Instruction) -> float:
    left = computation.instructions[dot.operands[0]].shape[0]
    contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", dot.attributes)
    dimensions = contracted.group(1).split(",") if contracted and contracted.group(1) else []
    depth = math.prod(left.dimensions[int(d)] for d in dimensions)
    return 2.0 * depth * math.prod(dot.shape[0].dimensions)


def _convolution_flops(computation: Computation, convolution: Instruction) -> float:
    """Operations of a convolution at the window positions that lie inside the input.

    XLA writes a matrix product over several dimensions, such as heads, as a convolution with a
    padded window. Most positions of that window fall outside the input and cost nothing.
    """
    left, right = (computation.instructions[name].shape[0] for name in convolution.operands[:2])
    out = convolution.shape[0]
    labels = re.match(r"(\w+)_(\w+)->(\w+)", convolution.attribute("dim_labels"))
    if labels is None:
        raise ValueError(f"{convolution.name}: no dim_labels")
    lhs, rhs, result = labels.groups()
    window = _window(convolution.attribute("window"))
    positions = 1
    for axis in range(len(lhs) - 2):
        size, stride, low, left_dilation, right_dilation = window[axis]
        extent = (left.dimensions[lhs.index(str(axis))] - 1) * left_dilation + 1
        positions *= sum(
            0 <= (at := o * stride + k * right_dilation - low) < extent and at % left_dilation == 0
            for o in range(out.dimensions[result.index(str(axis))])
            for k in range(size)
        )
    batch = out.dimensions[result.index("b")]
    features = out.dimensions[result.index("f")]
    depth = right.dimensions[rhs.index("i")]
    return 2.0 * batch * features * depth * positions


def _window(text: str) -> list[tuple[int, int, int, int, int]]:
    """Size, stride, padding before, input dilation and window dilation of every dimension."""
    fields = dict(re.findall(r"(\w+)=([\dx_\-]+)", text))
    if "size" not in fields:
        return []
    sizes = [int(size) for size in fields["size"].split("x")]

    def values(key: str, missing: int) -> list[int]:
        if key not in fields:
            return [missing] * len(sizes)
        return [int(value.split("_")[0]) for value in fields[key].split("x")]

    return list(
        zip(
            sizes, values("stride", 1), values("pad", 0), values("lhs_dilate", 1),
            values("rhs_dilate", 1), strict=True,
        )
    )  # fmt: skip


def splash_flops(kernel: Instruction) -> float:
    """Operations of a causal Splash attention kernel, from its name, operands and block sizes.

    For each pair of blocks the forward kernel computes two products, the backward kernel for the
    queries three, the one for keys and values four, and the fused backward kernel five. Blocks
    above the diagonal are skipped; blocks on the diagonal are computed whole.
    """
    metadata = re.search(r'"xprof_metadata":"(\{.*?\})"', kernel.attributes)
    if metadata is None or "splash" not in kernel.name:
        raise ValueError(f"{kernel.name}: not a kernel of Splash attention")
    blocks: dict[str, int] = json.loads(metadata.group(1).replace("\\", ""))
    layouts = re.search(r"operand_layout_constraints=\{(.*)", kernel.attributes)
    shapes = [a for a in arrays(layouts.group(1) if layouts else "") if len(a.dimensions) == 4]
    batch, heads, length, head_dim = shapes[0].dimensions
    if blocks["q_layout"] == 2:  # SEQ_MINOR
        length, head_dim = head_dim, length
    if "dkv" in kernel.name:
        products, block_q, block_kv = 4, blocks["block_q_dkv"], blocks["block_kv_dkv"]
        if len(kernel.shape) == 3:  # fused: it also returns the gradient of the queries
            products = 5
    elif "dq" in kernel.name:
        products, block_q, block_kv = 3, blocks["block_q_dq"], blocks["block_kv_dq"]
    else:
        products, block_q, block_kv = 2, blocks["block_q"], blocks["block_kv"]
    visited = sum(
        math.ceil((row + 1) * block_q / block_kv) for row in range(math.ceil(length / block_q))
    )
    return 2.0 * products * batch * heads * head_dim * visited * block_q * block_kv


def _traffic(program: Program, computation: Computation, instruction: Instruction) -> float:
    """Bytes moved between a chip and its main memory, for operands and results stored there."""
    if instruction.opcode in _NO_TRAFFIC:
        return 0.0
    if instruction.opcode in ("copy-start", "slice-start"):
        # The result's first two arrays are the destination and the source.
        moved = min(array.bytes for array in instruction.shape[:2])
        return sum(moved for array in instruction.shape[:2] if array.space == 0)
    operands = [computation.instructions[name].shape for name in instruction.operands]
    if instruction.opcode == "fusion" and instruction.called:
        inner = program.computations[instruction.called]
        read = sum(
            _read(program, inner, name, shape[0])
            for name, shape in zip(inner.parameters(), operands, strict=True)
            if shape and shape[0].space == 0
        )
        return read + _written(inner, instruction)
    read = sum(array.bytes for shape in operands for array in shape if array.space == 0)
    if instruction.opcode == "dynamic-slice":
        read = instruction.bytes
    return read + sum(array.bytes for array in instruction.shape if array.space == 0)


def _read(program: Program, inner: Computation, parameter: str, array: Array) -> float:
    """Bytes that a fusion reads of an operand.

    Only the slices where it only slices the operand, and nothing where it only writes into it.
    """
    total = 0.0
    for user in inner.instructions.values():
        for position, operand in enumerate(user.operands):
            if operand != parameter:
                continue
            if user.opcode == "bitcast":
                total += _read(program, inner, user.name, array)
            elif user.opcode == "fusion" and user.called:
                called = program.computations[user.called]
                total += _read(program, called, called.parameters()[position], array)
            elif user.opcode in ("dynamic-slice", "slice", "gather") and position == 0:
                total += user.bytes
            elif user.opcode != "dynamic-update-slice" or position != 0:
                total += array.bytes
    return min(total, array.bytes)


def _written(inner: Computation, fusion: Instruction) -> float:
    """Bytes that a fusion writes; of an operand that it updates in place, only the slice."""
    root = inner.instructions[inner.root]
    results = [inner.instructions[n] for n in root.operands] if root.opcode == "tuple" else [root]
    total = 0.0
    for array, result in zip(fusion.shape, results, strict=False):
        if array.space != 0:
            continue
        while result.opcode == "bitcast":
            result = inner.instructions[result.operands[0]]
        if result.opcode == "dynamic-update-slice":
            total += inner.instructions[result.operands[1]].bytes
        else:
            total += array.bytes
    return total
