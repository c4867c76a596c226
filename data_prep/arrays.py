"""Arrays in the working folder, each in a file that is complete once it has its name."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinymathreason.files import new_file


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array to ``path``, completely or not at all."""
    # numpy writes past Python what is open for writing only, and tells of a full disk in numbers.
    with new_file(path) as aside, aside.open("w+b") as stream:
        np.save(stream, array)
