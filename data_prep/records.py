"""Token ids in; ArrayRecord files of serialised tf.train.Example out, as MaxText reads them."""

from pathlib import Path
from typing import Any

import numpy as np
from array_record.python import array_record_module
from maxtext.input_pipeline.protos import example_pb2

COLUMN = "text"
"""Name of the one feature; MaxText's default for train_data_columns."""


def encode(ids: list[int]) -> bytes:
    """One document's token ids as a serialised Example with one int64 list."""
    example = example_pb2.Example()
    example.features.feature[COLUMN].int64_list.value.extend(ids)
    return bytes(example.SerializeToString(deterministic=True))


def decode(record: bytes) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The token ids of one record, int64[length]."""
    example = example_pb2.Example.FromString(record)
    return np.array(example.features.feature[COLUMN].int64_list.value, dtype=np.int64)


class Shards:
    """Writes records in turn to ``stem-00000-of-0000N.array_record`` files of one folder."""

    def __init__(self, folder: Path, stem: str, count: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.paths = [folder / f"{stem}-{i:05}-of-{count:05}.array_record" for i in range(count)]
        # One record a group: Grain reads at random, and a group is decompressed whole.
        self._writers = [
            array_record_module.ArrayRecordWriter(str(path), "group_size:1") for path in self.paths
        ]
        self.records = [0] * count
        self.tokens = [0] * count

    def write(self, ids: list[int]) -> None:
        """Append one document to the next file."""
        i = sum(self.records) % len(self.paths)
        self._writers[i].write(encode(ids))
        self.records[i] += 1
        self.tokens[i] += len(ids)

    def close(self) -> None:
        """Finish the files; they are unreadable before."""
        for writer in self._writers:
            writer.close()
