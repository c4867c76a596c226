"""An Orbax checkpoint's step folder in, its parameter arrays out, one at a time."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore

from conversion.architecture import Architecture
from conversion.mapping import stored
from tinymathreason.cli import InputError

METADATA = "_CHECKPOINT_METADATA"
"""Orbax's record of a step, with the times of its start and its commit."""
PREFIX = "params.params."
"""What stands before a parameter's path in MaxText's checkpoints; the rest is optimiser state."""


class Checkpoint:
    """The parameters of one complete step folder; optimiser state is never read.

    Raises `InputError` when ``step_dir`` is no finished MaxText checkpoint.
    """

    def __init__(self, step_dir: Path) -> None:
        self.items = step_dir / "items"
        if not (step_dir / METADATA).is_file() or not self.items.is_dir():
            raise InputError(
                f"{step_dir}: not a MaxText checkpoint; "
                "expected a step's folder, such as RUN/checkpoints/1000, with items/ in it"
            )
        store = tensorstore.KvStore.open(self._base()).result()
        self.shapes: dict[str, tuple[int, ...]] = {}
        for key in store.list().result():
            path, _, file = key.decode().rpartition("/")
            if path.startswith(PREFIX) and file == "zarr.json":
                shape = json.loads(store.read(key).result().value)["shape"]
                self.shapes[path.removeprefix(PREFIX)] = tuple(shape)

    def _base(self) -> dict[str, Any]:
        # A path rather than a URL: a folder's name may hold any character.
        return {"driver": "ocdbt", "base": {"driver": "file", "path": f"{self.items.resolve()}/"}}

    def sha256(self) -> str:
        """Hash of the checkpoint's metadata, which holds the nanosecond of its making."""
        return hashlib.sha256((self.items.parent / METADATA).read_bytes()).hexdigest()

    @property
    def scanned(self) -> bool:
        """Whether layers are stacked in one array rather than kept in one array each."""
        return any(path.startswith("decoder.layers.") for path in self.shapes)

    def check(self, sizes: Architecture) -> None:
        """Raise `InputError` with expected beside found when an array or its shape differs."""
        expected = stored(sizes, self.scanned)
        wrong = [
            f"{path} expected {expected.get(path, 'none')} found {self.shapes.get(path, 'none')}"
            for path in sorted(expected.keys() | self.shapes.keys())
            if expected.get(path) != self.shapes.get(path)
        ]
        if wrong:
            more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise InputError(
                f"{self.items.parent}: the checkpoint does not fit the config: "
                f"{'; '.join(wrong[:3])}{more}"
            )

    def read(self, path: str) -> npt.NDArray[np.float32]:
        """One array by its path, such as ``decoder.decoder_norm.scale``, as float32."""
        spec = {"driver": "zarr3", "kvstore": {**self._base(), "path": f"{PREFIX}{path}/"}}
        array = tensorstore.open(spec, open=True).result().read().result()
        return np.asarray(array, dtype=np.float32)
