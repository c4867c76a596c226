"""Many strings in one file, read one at a time: the ids of a task's documents."""

from pathlib import Path

import numpy as np

from data_prep.arrays import save_array
from tinymathreason.files import new_file


class StringStore:
    """The strings of a file, by number; only the requested one is read."""

    def __init__(self, path: Path) -> None:
        self._ends = np.load(path.with_suffix(".npy"), mmap_mode="r")
        self._path = path

    def __getitem__(self, number: int) -> str:
        start = int(self._ends[number - 1]) if number else 0
        with self._path.open("rb") as stream:
            stream.seek(start)
            return stream.read(int(self._ends[number]) - start).decode("utf-8")

    @staticmethod
    def save(path: Path, strings: list[str]) -> None:
        """Write the strings to ``path``, and where each ends to the ``.npy`` file beside it."""
        encoded = [string.encode("utf-8") for string in strings]
        with new_file(path) as aside:
            aside.write_bytes(b"".join(encoded))
        save_array(path.with_suffix(".npy"), np.cumsum([len(e) for e in encoded], dtype=np.int64))
