"""Reads and checks the tensors in a model's safetensors files."""

import math
from collections.abc import Iterator
from pathlib import Path

from tinymathreason.cli import InputError
from tinymathreason.files import read_json
from tinymathreason.parsing import parse_json
from tinymathreason.weights import INDEX, weight_files


def header(path: Path) -> bytes:
    """The JSON header of a safetensors file; `InputError` when it is incomplete."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= size - 8:
            raise InputError(f"{path}: truncated, or not a safetensors file")
        return file.read(length)


class Tensors:
    """The tensors of a model's folder, in the files that `tinymathreason.weights` names.

    Raises `InputError` for a file that is missing, truncated, malformed or not read by a model.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors import SafetensorError, safe_open

        read = weight_files(folder)
        files = {path.name for path in read} - {INDEX}
        places = read_json(folder / INDEX)["weight_map"] if folder / INDEX in read else None
        if unread := {path.name for path in folder.glob("*.safetensors")} - files:
            raise InputError(f"{folder}: no model reads {', '.join(sorted(unread))}")
        self._files: dict[str, Path] = {}
        self.shapes: dict[str, list[int]] = {}
        self.dtypes: set[str] = set()
        """As the format names them, such as BF16."""
        for name in sorted(files):
            path = folder / name
            try:
                safe_open(path, "np")
            except SafetensorError as error:
                raise InputError(f"{path}: truncated, or malformed: {error}") from error
            tensors = parse_json(header(path), path)
            tensors.pop("__metadata__", None)
            if places is not None and {key for key in places if places[key] == name} != set(
                tensors
            ):
                raise InputError(f"{path}: its tensors are not those of {INDEX}")
            for key, entry in tensors.items():
                self._files[key] = path
                self.shapes[key] = entry["shape"]
                self.dtypes.add(entry["dtype"])

    @property
    def parameters(self) -> int:
        """The number of weights; tied ones are stored, and counted, once."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def not_finite(self) -> Iterator[str]:
        """The names of the tensors that hold a NaN or an infinity; reads them all."""
        from safetensors import safe_open

        for path in sorted(set(self._files.values())):
            # Numpy has no bfloat16.
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118 (no mapping)
                    if not file.get_tensor(name).isfinite().all():
                        yield name
