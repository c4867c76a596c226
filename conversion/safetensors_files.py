"""Reads and writes the safetensors files of a model, one tensor at a time.

The safetensors library writes a file only from tensors that are all in memory. Here a file is
created at its full size first, and each tensor is then written in its place, in any order. The
bytes are the same.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
from huggingface_hub import split_state_dict_into_shards_factory

from conversion.mapping import DTYPES
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json
from tinymathreason.weights import INDEX, weight_files

CODES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
"""The names of the types in the format."""


@dataclass(frozen=True)
class Place:
    """Where a tensor is to be written."""

    file: Path
    offset: int
    """Bytes from the start of the file."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def write(self, tensor: npt.NDArray[Any]) -> None:
        """Fill the place with a tensor of its shape and type."""
        assert (tensor.shape, tensor.dtype) == (self.shape, self.dtype)
        with self.file.open("r+b") as file:
            file.seek(self.offset)
            file.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8))


def create(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str, max_bytes: int
) -> dict[str, Place]:
    """Create files for tensors of these shapes, filled with zeros; the tensors' places by name.

    Each file holds at most ``max_bytes`` of tensors, or one larger tensor. Several files get the
    index that transformers reads. Raises `OSError` when the disk cannot hold them.
    """
    sizes = {name: math.prod(shape) * DTYPES[dtype].itemsize for name, shape in shapes.items()}
    split = split_state_dict_into_shards_factory(
        sizes,
        get_storage_size=lambda size: size,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=max_bytes,
    )
    places: dict[str, Place] = {}
    for file, names in split.filename_to_tensors.items():
        places.update(_create_file(folder / file, {name: shapes[name] for name in names}, dtype))
    if split.is_sharded:
        index = {
            "metadata": {
                "total_parameters": sum(math.prod(shape) for shape in shapes.values()),
                **split.metadata,
            },
            "weight_map": split.tensor_to_filename,
        }
        write_json(folder / INDEX, index)
    return places


def _create_file(file: Path, shapes: dict[str, tuple[int, ...]], dtype: str) -> dict[str, Place]:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(shapes):
        start, end = end, end + math.prod(shapes[name]) * DTYPES[dtype].itemsize
        header[name] = {"dtype": CODES[dtype], "shape": shapes[name], "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        out.flush()
        # A full disk is reported now, not after the work.
        os.posix_fallocate(out.fileno(), 0, 8 + len(text) + end)
    return {
        name: Place(file, 8 + len(text) + header[name]["data_offsets"][0], shape, DTYPES[dtype])
        for name, shape in shapes.items()
    }


class TensorFiles:
    """The tensors of a model's folder, by its index or from its only file.

    Raises `InputError` for a missing, truncated or malformed file, and for other than safetensors.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        first, *shards = weight_files(folder)
        if shards:
            files = {shard.name: _open(shard) for shard in shards}
            places: dict[str, str] = read_json(first)["weight_map"]
        else:
            files = {first.name: _open(first)}
            places = dict.fromkeys(files[first.name].keys(), first.name)
        self._files = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        """Types by tensor, as `CODES` or, for others, as the format names them."""
        names = {code: name for name, code in CODES.items()}
        for name, file in places.items():
            try:
                tensor = files[file].get_slice(name)
            except safetensors.SafetensorError as error:
                raise InputError(f"{folder / file}: {error}") from error
            self._files[name] = files[file]
            self.shapes[name] = tuple(tensor.get_shape())
            self.dtypes[name] = names.get(tensor.get_dtype(), tensor.get_dtype())

    def leave_out(self, name: str) -> None:
        """Forget a tensor that is not to be converted."""
        del self._files[name], self.shapes[name], self.dtypes[name]

    def read(self, name: str) -> npt.NDArray[Any]:
        """One tensor."""
        tensor: npt.NDArray[Any] = self._files[name].get_tensor(name)
        return tensor


def _open(file: Path) -> Any:
    try:
        return safetensors.safe_open(file, "np")
    except safetensors.SafetensorError as error:
        raise InputError(f"{file}: truncated, or not a safetensors file: {error}") from error
