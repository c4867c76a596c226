"""Arrays and strings in the working folder, each in a file that is whole when it is there."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinymathreason.files import new_file


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array under ``path``, whole or not at all."""
    # numpy writes past Python what is open for writing only, and tells of a full disk in numbers.
    with new_file(path) as aside, aside.open("w+b") as stream:
        np.save(stream, array)


class Strings:
    """Many strings in one file, read singly: the ids of a task's documents."""

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
        """Write the strings; the file beside it holds where each ends."""
        encoded = [string.encode("utf-8") for string in strings]
        with new_file(path) as aside:
            aside.write_bytes(b"".join(encoded))
        save_array(path.with_suffix(".npy"), np.cumsum([len(e) for e in encoded], dtype=np.int64))
