"""Command: list the tensors of a MaxText checkpoint or of a Hugging Face model.

python -m conversion.inspect PATH [--config OVERLAY.yml]
"""

import argparse
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.files import read_json

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Content:
    """The tensors of a checkpoint or a model."""

    kind: str
    tensors: dict[str, tuple[tuple[int, ...], str]]
    """Shape and type of every weight, by name."""
    norm: Callable[[str], float]
    """Euclidean norm of a weight."""
    expected: dict[str, tuple[int, ...]]
    """Name and shape of every tensor that a model of its sizes has."""
    remarks: list[str]


def content(path: str, config: Path | None = None) -> Content:
    """Read the tensors' names, shapes and types at ``path``, but not their values.

    A checkpoint does not record its sizes: they are taken from ``config``, or else derived from the
    shapes of its arrays. Raises `InputError` when ``path`` is neither kind of folder.
    """
    from conversion import source
    from conversion.architecture import Architecture
    from conversion.checkpoint import Checkpoint
    from conversion.mapping import hf_tensors, sizes_of, stored
    from conversion.safetensors_files import TensorFiles
    from pretrain import overlay

    of_config = Architecture.from_maxtext(overlay.load(config)) if config else None
    if "://" not in path and (Path(path) / "config.json").is_file():
        tensors = TensorFiles(Path(path))
        sizes = of_config or Architecture.from_hf(read_json(Path(path) / "config.json"))
        redundant = source.leave_out_redundant(tensors, sizes)
        return Content(
            kind="Hugging Face model",
            tensors={name: (shape, tensors.dtypes[name]) for name, shape in tensors.shapes.items()},
            norm=lambda name: _norm([tensors.read(name)]),
            expected=hf_tensors(sizes),
            remarks=[f"redundant, and as config.json says: {name}" for name in redundant],
        )
    checkpoint = Checkpoint(path)
    sizes = of_config or sizes_of(checkpoint.shapes)
    return Content(
        kind=f"MaxText checkpoint, layers {'stacked' if checkpoint.scanned else 'apart'}",
        tensors={path: (entry.shape, entry.dtype) for path, entry in checkpoint.entries.items()},
        norm=lambda path: _norm(block for _, block in checkpoint.blocks(path)),
        expected={path: array.shape for path, array in stored(sizes, checkpoint.scanned).items()},
        remarks=[
            f"not a parameter: {path} {entry.shape} {entry.dtype}"
            for path, entry in sorted(checkpoint.others.items())
        ],
    )


def _norm(blocks: "Iterable[npt.NDArray[Any]]") -> float:
    import numpy as np

    return math.sqrt(sum(float(np.square(block, dtype=np.float64).sum()) for block in blocks))


def _itemsize(dtype: str) -> int:
    """Bytes of one element of a type, by its name in either format: ``float32``, ``BF16``."""
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) // 8 if bits else 1


def show(content: Content) -> None:
    """Print one line for each tensor, the totals, and what is missing or extra.

    Raises `InputError` when the tensors are not those of a model of its sizes.
    """
    from conversion.mapping import DTYPES, differences

    print(content.kind)
    width = max(map(len, content.tensors), default=4)
    row = f"{{:{width}}}  {{:>20}}  {{:>9}}  {{:>15}}  {{:>12}}"
    print(row.format("name", "shape", "dtype", "bytes", "norm"))
    total = 0
    for name, (shape, dtype) in sorted(content.tensors.items()):
        nbytes = math.prod(shape) * _itemsize(dtype)
        total += nbytes
        norm = f"{content.norm(name):.6g}" if dtype in DTYPES else "not read"
        axes = " x ".join(map(str, shape))
        print(row.format(name, axes, dtype, f"{nbytes:,}", norm), flush=True)
    parameters = sum(math.prod(shape) for shape, _ in content.tensors.values())
    print(f"{parameters:,} parameters in {len(content.tensors)} tensors, {total:,} bytes")
    for remark in content.remarks:
        print(remark)
    shapes = {name: shape for name, (shape, _) in content.tensors.items()}
    if wrong := differences(content.expected, shapes):
        raise InputError(f"missing or extra: {wrong}")
    print("nothing is missing, nothing is extra")


def main(argv: Sequence[str]) -> None:
    """Parse the command line and print."""
    parser = argparse.ArgumentParser(
        prog="conversion.inspect",
        description="List the tensors of a MaxText checkpoint or a Hugging Face model.",
    )
    parser.add_argument("path", help="a step's folder, gs://..., or a model's folder")
    parser.add_argument(
        "--config", type=Path, help="overlay whose sizes to expect; default: the checkpoint's own"
    )
    arguments = parser.parse_args(argv)
    show(content(arguments.path, arguments.config))


if __name__ == "__main__":
    cli.run(main)
