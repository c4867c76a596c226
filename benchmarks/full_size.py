"""Command: make a checkpoint of the 1B model with optimiser state, as large as a real run's.

python -m benchmarks.full_size HOME
"""

import argparse
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion.architecture import Architecture
from conversion.mapping import Stored, stored
from conversion.orbax_writer import save, tree
from pretrain import overlay
from tinymathreason import cli
from tinymathreason.files import new_directory

CONFIG = Path("maxtext_configs/tinymathreason_1b_v4_32.yml")
STEP = "1000"


def sizes() -> Architecture:
    """The sizes of the 1B model."""
    return Architecture.from_maxtext(overlay.load(CONFIG))


def prepare(home: Path) -> tuple[Path, Path]:
    """The step's folder and a tokenizer of 32,000 entries below ``home``, created if missing."""
    if not (home / STEP).exists():
        with new_directory(home / STEP) as folder:
            _save(folder)
    if not (home / "tokenizer").exists():
        from data_prep import tokenizer

        with new_directory(home / "tokenizer") as folder:
            rng = random.Random(0)
            words = (
                "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9)))
                for _ in range(200_000)
            )
            tokenizer.save(tokenizer.train([" ".join(words)], sizes().vocab), folder / "made")
            for part in (folder / "made").iterdir():
                part.replace(folder / part.name)
            (folder / "made").rmdir()
    return home / STEP, home / "tokenizer"


def weight(array: Stored, architecture: Architecture, rng: Any) -> npt.NDArray[np.float32]:
    """Random weights of the size of MaxText's initial ones; norms are not exactly 1.

    Logits of a model with far larger ones would turn rounding errors of its first layers into
    differences of its last, and measure chaos rather than the conversion.
    """
    values: npt.NDArray[np.float32] = rng.standard_normal(array.shape, dtype=np.float32)
    if array.path.endswith("scale"):
        return 1 + values * np.float32(0.05)
    if array.weight.inputs:
        inputs = math.prod(array.weight.shape(architecture)[: len(array.weight.inputs)])
        values *= np.float32(1 / math.sqrt(inputs)) / array.weight.factor(architecture)
    return values


def _save(folder: Path) -> None:
    """Write a trainer's state: parameters, both moments of AdamW, and the step."""
    rng, architecture = np.random.default_rng(0), sizes()
    params = tree(
        (path, weight(array, architecture, rng))
        for path, array in stored(architecture, scanned=True).items()
    )
    count = np.array(int(STEP), np.int32)
    # The weights also serve as moments: same size, same compression, no extra memory.
    state = {
        "params": params,
        "opt_state": {"mu": params, "nu": params, "count": count},
        "step": count,
    }
    save(folder, state, scanned=True)


def main(argv: Sequence[str]) -> None:
    """Parse the command line and make the checkpoint."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.full_size", description="Make a checkpoint of the 1B model."
    )
    parser.add_argument("home", type=Path, help="folder for the step and a tokenizer; 12 GB")
    prepare(parser.parse_args(argv).home)


if __name__ == "__main__":
    cli.run(main)
