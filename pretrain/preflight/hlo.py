"""Parse the text of an optimised XLA program: its instructions, array sizes and loop counts.

The text is what ``compiled.as_text()`` returns for one device; https://openxla.org/xla/hlo_dump
describes it.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tinymathreason.cli import InputError

BYTES = {
    "pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "s32": 4, "u32": 4,
    "s64": 8, "u64": 8, "bf16": 2, "f16": 2, "f32": 4, "f64": 8, "f8e4m3fn": 1, "f8e5m2": 1,
    "c64": 8, "token": 0, "u2": 0.25, "s2": 0.25,
}  # fmt: skip
"""Bytes of one element, by the HLO name of its type."""

_ARRAY = re.compile(r"([a-z][a-z0-9]*)\[([0-9,]*)\](?:\{([^}]*)\})?")
_SPACE = re.compile(r"S\((\d+)\)")
_CALLS = re.compile(r"(?:calls|body|to_apply|called_computations=\{?)=?%([\w.\-]+)")
_END = re.compile(r'\}(?:, execution_thread="\w+")?')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


@dataclass(slots=True, frozen=True)
class Array:
    """One array of a shape: element type, dimensions and the memory in which XLA placed it."""

    dtype: str
    dimensions: tuple[int, ...]
    space: int
    """0 is the main memory (HBM); other numbers are memories on the chip."""

    @property
    def bytes(self) -> float:
        """Size in bytes, without padding."""
        return BYTES[self.dtype] * math.prod(self.dimensions)


def arrays(text: str) -> list[Array]:
    """Every array in the text of a shape; the elements of a tuple in order."""
    result = []
    for dtype, dimensions, layout in _ARRAY.findall(text):
        if dtype in BYTES:
            space = _SPACE.search(layout)
            sizes = tuple(int(size) for size in dimensions.split(",") if size)
            result.append(Array(dtype, sizes, int(space.group(1)) if space else 0))
    return result


@dataclass(slots=True)
class Instruction:
    """One line of a computation."""

    name: str
    opcode: str
    shape: list[Array]
    operands: list[str]
    literal: str
    """The text between the parentheses, such as the value of a constant."""

    attributes: str

    @property
    def bytes(self) -> float:
        """Size of the result in bytes; the sum over the arrays of a tuple."""
        return sum(array.bytes for array in self.shape)

    @property
    def cycles(self) -> int | None:
        """XLA's own estimate in clock cycles of the core; None where XLA gives none."""
        match = _CYCLES.search(self.attributes)
        return int(match.group(1)) if match else None

    @property
    def called(self) -> str | None:
        """The computation that a fusion, a call or a loop runs."""
        match = _CALLS.search(self.attributes)
        return match.group(1) if match else None

    def attribute(self, key: str) -> str:
        """The value in ``key=value``, up to a comma or space outside braces; ``""`` if absent."""
        match = re.search(rf"\b{key}=", self.attributes)
        if not match:
            return ""
        rest = self.attributes[match.end() :]
        if rest.startswith("{"):
            return rest[: _balanced(rest, "{", "}")]
        return re.split(r"[, ]", rest, maxsplit=1)[0]


@dataclass(slots=True)
class Computation:
    """Instructions by name, in scheduled order."""

    name: str
    instructions: dict[str, Instruction] = field(default_factory=dict)
    root: str = ""

    def parameters(self) -> list[str]:
        """Names of the parameters, ordered by their number."""
        parameters = [i for i in self.instructions.values() if i.opcode == "parameter"]
        return [i.name for i in sorted(parameters, key=lambda i: int(i.literal))]

    def source(self, name: str) -> Instruction:
        """The instruction that computed a value; copies of it are skipped."""
        instruction = self.instructions[name]
        while instruction.opcode in ("copy", "bitcast"):
            instruction = self.instructions[instruction.operands[0]]
        return instruction

    def element(self, name: str, position: int) -> Instruction:
        """The instruction that computed the value at ``position`` of a tuple."""
        return self.source(self.source(name).operands[position])

    def constant(self, name: str) -> int | None:
        """The value of an instruction that is an integer constant; None for any other."""
        source = self.source(name)
        plain = source.opcode == "constant" and re.fullmatch(r"-?\d+", source.literal)
        return int(source.literal) if plain else None


@dataclass(slots=True)
class Program:
    """All computations of a module."""

    computations: dict[str, Computation]
    entry: str

    def executed(self) -> Iterator[tuple[Computation, Instruction, int]]:
        """The instructions of the entry and of loop bodies, each with its number of executions.

        Instructions inside a fusion, an asynchronous start or a reduction are not listed: they
        belong to the instruction that calls them.
        """
        yield from self._executed(self.entry, 1)

    def _executed(self, name: str, times: int) -> Iterator[tuple[Computation, Instruction, int]]:
        computation = self.computations[name]
        for instruction in computation.instructions.values():
            if instruction.opcode == "while":
                body = instruction.attribute("body").lstrip("%")
                yield from self._executed(body, times * self.trip_count(computation, instruction))
            elif instruction.opcode == "call" and instruction.called:
                yield from self._executed(instruction.called, times)
            else:
                yield computation, instruction, times

    def trip_count(self, within: Computation, loop: Instruction) -> int:
        """The iterations of a loop in ``within``, by XLA's annotation or by the loop's counter.

        The counter is an element of the loop's tuple that starts at a constant, grows by another
        (by two where XLA unrolled the loop once) and is compared with a third. Raises `InputError`
        for any other loop.
        """
        noted = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.attributes)
        if noted:
            return int(noted.group(1))
        condition = self.computations[loop.attribute("condition").lstrip("%")]
        body = self.computations[loop.attribute("body").lstrip("%")]
        test = condition.instructions[condition.root]
        if test.opcode == "compare" and test.attribute("direction") == "LT":
            counter = condition.instructions[test.operands[0]]
            if counter.opcode == "get-tuple-element":
                position = int(counter.attribute("index"))
                start = within.element(loop.operands[0], position)
                step = body.element(body.root, position)
                first = within.constant(start.name)
                bound = condition.constant(test.operands[1])
                steps = [body.constant(name) for name in step.operands]
                growth = [value for value in steps if value is not None]
                if first is not None and bound is not None and len(growth) == 1:
                    return math.ceil((bound - first) / growth[0])
        raise InputError(f"loop {loop.name}: its trip count is not a constant of the program")


def parse(text: str) -> Program:
    """Parse the text of a module. Raises `InputError` when it has no entry."""
    computations: dict[str, Computation] = {}
    entry = ""
    current: Computation | None = None
    pending: list[str] = []

    def finish() -> None:
        if pending and current is not None:
            line = "".join(pending)
            instruction = _instruction(line)
            current.instructions[instruction.name] = instruction
            if line.lstrip().startswith("ROOT "):
                current.root = instruction.name
        pending.clear()

    for line in text.splitlines():
        header = re.match(r"(ENTRY )?%([\w.\-]+) \(.*\{$", line)
        if header:
            current = Computation(header.group(2))
            computations[current.name] = current
            if header.group(1):
                entry = current.name
        elif _END.fullmatch(line):
            finish()
            current = None
        elif re.match(r"\s+(ROOT )?%[\w.\-]+ = ", line):
            finish()
            pending.append(line)
        elif pending:  # the metadata of a kernel spans several lines
            pending.append(line)
    if not entry:
        raise InputError("not the text of an XLA program: it has no ENTRY")
    return Program(computations, entry)


def _instruction(line: str) -> Instruction:
    name, _, rest = line.strip().removeprefix("ROOT ").partition(" = ")
    end = _balanced(rest, "(", ")") if rest.startswith("(") else rest.index(" ")
    shape, rest = rest[:end], rest[end:].lstrip()
    opcode, _, _ = rest.partition("(")
    rest = rest[len(opcode) :]
    end = _balanced(rest, "(", ")")
    inside = rest[1 : end - 1]
    return Instruction(
        name.lstrip("%"),
        opcode,
        arrays(shape),
        re.findall(r"%([\w.\-]+)", inside),
        inside,
        rest[end:],
    )


def _balanced(text: str, opening: str, closing: str) -> int:
    """The index after the bracketed group at the start of ``text``."""
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == opening) - (letter == closing)
        if depth == 0:
            return position + 1
    raise InputError(f"not the text of an XLA program: unbalanced {opening} in {text[:80]!r}")
