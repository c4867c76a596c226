"""Reads the parameter arrays of an Orbax checkpoint, one block of rows at a time.

Orbax stores each device's part of an array as one compressed chunk, which takes a gigabyte in this
project's 1B model. Chunks are therefore read in ranges and decompressed as a stream, so that memory
holds a block and not a chunk. Orbax writes no checksum of the weights: a chunk that is missing, cut
or not decodable is an error, but a flipped bit can go unnoticed.
"""

import hashlib
import io
import itertools
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore
import zstandard

from conversion.architecture import Architecture
from conversion.mapping import DTYPES, check_types, differences, stored
from conversion.weight import Region
from tinymathreason.checkpoints import MAXTEXT_FILES, METADATA, maxtext_complete
from tinymathreason.cli import InputError
from tinymathreason.parsing import parse_json

PREFIX = "params.params."
"""What stands before a parameter's path in MaxText's checkpoints; the rest is optimiser state."""
BLOCK = 16 * 2**20
"""Bytes of a decoded block."""
RANGE = 4 * 2**20
"""Bytes of one read of compressed data."""
STREAMED = [
    {"name": "bytes", "configuration": {"endian": "little"}},
    {"name": "zstd"},
]
"""Codecs of the chunks that are decompressed here, as Orbax writes them, at any level."""
ABSENT = 2**64 - 1
"""Offset of a chunk that was never written, in the index of a shard."""


@dataclass(frozen=True)
class Entry:
    """One array's metadata: what zarr calls its zarr.json."""

    shape: tuple[int, ...]
    dtype: str
    shard: tuple[int, ...]
    """Shape of what one key of the store holds: one device's part."""
    chunk: tuple[int, ...]
    """Shape of what is compressed together, within a shard."""
    streamed: bool
    """Whether the chunks are compressed as `STREAMED`."""

    @classmethod
    def of(cls, metadata: dict[str, Any]) -> "Entry":
        """Read the content of a zarr.json, version 3."""
        shard = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        outer = metadata["codecs"][0]
        inner = outer.get("configuration", {})
        sharded = outer["name"] == "sharding_indexed"
        codecs = [dict(codec) for codec in inner["codecs"]] if sharded else []
        for codec in codecs[1:]:
            codec.pop("configuration", None)
        return cls(
            shape=tuple(metadata["shape"]),
            dtype=metadata["data_type"],
            shard=tuple(shard),
            chunk=tuple(inner["chunk_shape"] if sharded else shard),
            streamed=codecs == STREAMED and inner.get("index_location", "end") == "end",
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded array, for types that `DTYPES` knows."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


class Checkpoint:
    """The parameters of one complete step folder; optimiser state is never read.

    ``step_dir`` is a local path or an address such as ``gs://bucket/run/checkpoints/1000``.
    Raises `InputError` when it is no finished MaxText checkpoint.
    """

    def __init__(self, step_dir: str | Path) -> None:
        self.step_dir = str(step_dir).rstrip("/") or "/"
        try:
            # The index of an OCDBT database is cached. A bucket that does not answer is given up
            # after a minute, not after half an hour.
            retries = {"max_retries": 5, "initial_delay": "1s", "max_delay": "8s"}
            context = tensorstore.Context(
                {"cache_pool": {"total_bytes_limit": 2**24}, "gcs_request_retries": retries}
            )
            base = tensorstore.KvStore.open(self._base(), context=context).result()
            files = {name: base.read(name).result() for name in MAXTEXT_FILES}
            self._files = {name: f.value for name, f in files.items() if f.state == "value"}
            self._store = tensorstore.KvStore.open(self._items(), context=context).result()
            keys = [key.decode() for key in self._store.list().result()]
            arrays = {
                path: parse_json(bytes(self._store[f"{path}/zarr.json"]), path)
                for path, _, file in (key.rpartition("/") for key in keys)
                if file == "zarr.json"
            }
        except ValueError as error:
            if (reason := str(error)).startswith("NOT_FOUND"):
                reason = "no items/ in it that Orbax wrote with ocdbt and zarr3"
            raise InputError(f"{self.step_dir}: not a readable checkpoint: {reason}") from error
        if not maxtext_complete(self._files) or not any(p.startswith(PREFIX) for p in arrays):
            raise InputError(
                f"{self.step_dir}: not a MaxText checkpoint; expected a step's folder, such as "
                f"RUN/checkpoints/1000, with {' and '.join(MAXTEXT_FILES)}, and with items/ that "
                "were written with ocdbt and zarr3"
            )
        try:
            entries = {path: Entry.of(metadata) for path, metadata in arrays.items()}
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise InputError(
                f"{self.step_dir}: an array's zarr.json is damaged: {error!r}"
            ) from error
        self.entries: dict[str, Entry] = {}
        """Parameters, by their path."""
        self.others: dict[str, Entry] = {}
        """Optimiser state and counters."""
        for path, entry in entries.items():
            if path.startswith(PREFIX):
                self.entries[path.removeprefix(PREFIX)] = entry
            else:
                self.others[path] = entry

    def _base(self, below: str = "") -> Any:
        if "://" in self.step_dir:
            return f"{self.step_dir}/{below}"
        # A specification and not an address, since a folder's name may hold any character.
        return {"driver": "file", "path": f"{Path(self.step_dir).resolve()}/{below}"}

    def _items(self) -> dict[str, Any]:
        return {"driver": "ocdbt", "base": self._base("items/")}

    def sha256(self) -> str:
        """Hash of the checkpoint's metadata, which holds the nanosecond of its making."""
        return hashlib.sha256(self._files[METADATA]).hexdigest()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter array, by its path."""
        return {path: entry.shape for path, entry in self.entries.items()}

    @property
    def scanned(self) -> bool:
        """Whether layers are stacked in one array rather than kept in one array each."""
        return any(path.startswith("decoder.layers.") for path in self.entries)

    def check(self, sizes: Architecture) -> None:
        """Raise `InputError` when an array is missing, extra or not of the shape of ``sizes``."""
        expected = {path: array.shape for path, array in stored(sizes, self.scanned).items()}
        if wrong := differences(expected, self.shapes):
            raise InputError(f"{self.step_dir}: the checkpoint does not fit the config: {wrong}")
        check_types(self.step_dir, {path: entry.dtype for path, entry in self.entries.items()})

    def blocks(self, path: str) -> Iterator[tuple[Region, npt.NDArray[Any]]]:
        """An array's blocks, each with where it lies; together they cover it once.

        A block's memory is reused by the next one. Raises `InputError` for a chunk that is missing
        or does not decompress to its size.
        """
        entry = self.entries[path]
        read = self._stream if entry.streamed else self._decoded
        try:
            for shard in itertools.product(*map(_parts, entry.shape, entry.shard)):
                yield from read(path, entry, shard)
        except (ValueError, zstandard.ZstdError) as error:
            reason = str(error).partition(" [")[0]
            raise InputError(f"{self.step_dir}: {path} cannot be read: {reason}") from error

    def read(self, path: str) -> npt.NDArray[Any]:
        """One whole array by its path, such as ``decoder.decoder_norm.scale``."""
        entry = self.entries[path]
        array = np.empty(entry.shape, DTYPES[entry.dtype])
        for region, block in self.blocks(path):
            array[region] = block
        return array

    def _decoded(
        self, path: str, entry: Entry, shard: Region
    ) -> Iterator[tuple[Region, npt.NDArray[Any]]]:
        """A whole shard at once, by tensorstore: codecs that are not `STREAMED`."""
        spec = {
            "driver": "zarr3",
            "kvstore": {**self._items(), "path": f"{PREFIX}{path}/"},
            "fill_missing_data_reads": False,
        }
        yield shard, tensorstore.open(spec, open=True).result()[shard].read().result()

    def _stream(
        self, path: str, entry: Entry, shard: Region
    ) -> Iterator[tuple[Region, npt.NDArray[Any]]]:
        """A shard's chunks, each decompressed as a stream of blocks of whole rows."""
        parts = [part.start // size for part, size in zip(shard, entry.shard, strict=True)]
        key = "/".join([f"{PREFIX}{path}", "c", *map(str, parts)])
        grid = [size // part for size, part in zip(entry.shard, entry.chunk, strict=True)]
        index = self._range(key, slice(-16 * math.prod(grid) - 4, None))
        dtype = DTYPES[entry.dtype]
        row = math.prod(entry.chunk[1:])
        rows = max(1, min(entry.chunk[0], BLOCK // (row * dtype.itemsize)))
        buffer = np.empty((rows, *entry.chunk[1:]), dtype)
        # The index ends with a checksum of itself. A wrong place fails when it is decompressed.
        places = struct.iter_unpack("<QQ", index[:-4])
        for place, (offset, nbytes) in zip(np.ndindex(*grid), places, strict=True):
            start = [
                p.start + i * size for p, i, size in zip(shard, place, entry.chunk, strict=True)
            ]
            if any(at >= size for at, size in zip(start, entry.shape, strict=True)):
                continue  # beyond the array's edge
            if offset == ABSENT:
                raise ValueError(f"chunk {key} is missing")
            if offset + nbytes >= 2**63:
                raise ValueError(f"chunk {key} has a damaged index")
            source: Any = _Ranges(lambda part: self._range(key, part), offset, nbytes)
            stream: Any = zstandard.ZstdDecompressor().stream_reader(source, read_size=RANGE)
            for first in range(0, entry.chunk[0], rows):
                block = buffer[: min(rows, entry.chunk[0] - first)]
                _fill(stream, block, key)
                region = (
                    slice(start[0] + first, min(start[0] + first + len(block), entry.shape[0])),
                    *(
                        slice(at, min(at + size, end))
                        for at, size, end in zip(
                            start[1:], entry.chunk[1:], entry.shape[1:], strict=True
                        )
                    ),
                )
                if region[0].start < region[0].stop:
                    yield region, block[tuple(slice(part.stop - part.start) for part in region)]
            if stream.read(1):
                raise ValueError(f"chunk {key} is longer than its shape")

    def _range(self, key: str, part: slice) -> bytes:
        """Some bytes of an entry; `ValueError` when the entry is missing or shorter."""
        result = self._store.read(key, byte_range=part, staleness_bound=0).result()
        if result.state != "value":
            raise ValueError(f"chunk {key} is missing")
        return bytes(result.value)


class _Ranges(io.RawIOBase):
    """A file of the ``nbytes`` at ``offset`` of what ``read`` returns slices of."""

    def __init__(self, read: Any, offset: int, nbytes: int) -> None:
        self._read, self._at, self._end = read, offset, offset + nbytes

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most ``size``; none at the end."""
        stop = self._end if size < 0 else min(self._at + size, self._end)
        if stop == self._at:
            return b""
        data: bytes = self._read(slice(self._at, stop))
        self._at = stop
        return data


def _fill(stream: Any, block: npt.NDArray[Any], key: str) -> None:
    """Fill ``block``; `ValueError` for a stream that is too short, where zstandard is silent."""
    memory = memoryview(block.reshape(-1).view(np.uint8))
    while memory:
        count = stream.readinto(memory)
        if not count:
            raise ValueError(f"chunk {key} is shorter than its shape")
        memory = memory[count:]


def _parts(size: int, step: int) -> list[slice]:
    """An axis of ``size`` cut into parts of ``step``."""
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]
