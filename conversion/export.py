"""Writes the weights of a Hugging Face model from a checkpoint's arrays.

Arrays are converted in parallel, one on each core, as far as the memory for their tensors allows.
"""

import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from conversion.architecture import Architecture
from conversion.checkpoint import Checkpoint
from conversion.mapping import DTYPES, Stored, hf_tensors, stored
from conversion.safetensors_files import create
from tinymathreason.cli import InputError

MEMORY = 1_100_000_000
"""Bytes of tensors that all workers hold at once; a larger array is converted alone."""


@dataclass(frozen=True)
class Export:
    """The settings of an export."""

    tokenizer: Path
    dtype: str = "float32"
    max_shard_bytes: int = 5 * 10**9
    allow_nonfinite: bool = False


def weights_bytes(sizes: Architecture, dtype: str) -> int:
    """Bytes of all tensors of LlamaForCausalLM in a type of `DTYPES`."""
    count = sum(math.prod(shape) for shape in hf_tensors(sizes).values())
    return count * DTYPES[dtype].itemsize


def write_weights(
    checkpoint: Checkpoint,
    sizes: Architecture,
    hf_sizes: Architecture,
    folder: Path,
    options: Export,
) -> None:
    """Fill ``folder`` with the tensors of LlamaForCausalLM.

    ``sizes`` are the checkpoint's, ``hf_sizes`` the model's (`companions.trimmed`). Raises
    `InputError` when the checkpoint does not fit ``sizes``, lacks a chunk, or, unless allowed,
    holds a NaN or an infinity; `OSError` when the disk is full.
    """
    checkpoint.check(sizes)
    places = create(folder, hf_tensors(hf_sizes), options.dtype, options.max_shard_bytes)
    budget = Budget(MEMORY)
    dtype = DTYPES[options.dtype]
    # The largest first, so that none of them runs alone at the end.
    arrays = sorted(
        stored(sizes, checkpoint.scanned).values(), key=lambda array: -math.prod(array.shape)
    )
    total = sum(checkpoint.entries[array.path].nbytes for array in arrays)
    workers = len(os.sched_getaffinity(0))
    progress: tqdm[Any] = tqdm(total=total, desc="weights", unit="B", unit_scale=True)
    with progress, ThreadPoolExecutor(workers) as pool:

        def convert(array: Stored) -> None:
            with budget.hold(math.prod(array.shape) * dtype.itemsize):
                converted = tensors(
                    checkpoint, array, hf_sizes, dtype, options.allow_nonfinite, step
                )
                for name, tensor in zip(array.names, converted, strict=True):
                    places[name].write(tensor)

        def step(nbytes: int) -> None:
            budget.check()
            progress.update(nbytes)

        running = [pool.submit(convert, array) for array in arrays]
        try:
            for done in as_completed(running):
                done.result()
        except BaseException:
            budget.close()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def tensors(
    checkpoint: Checkpoint,
    array: Stored,
    sizes: Architecture,
    dtype: np.dtype[Any],
    allow_nonfinite: bool = False,
    step: Callable[[int], None] = lambda nbytes: None,
) -> list[npt.NDArray[Any]]:
    """The tensors that one stored array holds, in the order of its names.

    ``step`` is called with the bytes of every block. Raises `InputError` as `write_weights` does.
    """
    shape = array.weight.hf_shape(sizes)
    result = [np.empty(shape, dtype) for _ in array.names]
    # Integers are copied without Python's lock; bfloat16, which is not numpy's own, would hold it.
    bits = [tensor.view(f"u{dtype.itemsize}") for tensor in result]
    factor = array.weight.factor(sizes)
    for region, block in checkpoint.blocks(array.path):
        # Scaled in float32, then rounded once.
        scaled = block.astype(np.float32, copy=False)
        if array.weight.scale:
            scaled = scaled * factor
        if not (allow_nonfinite or _finite(scaled, dtype)):
            names = (
                array.names[index]
                for index, part, _ in array.split(scaled, region)
                if not _finite(part, dtype)
            )
            raise InputError(
                f"{checkpoint.step_dir}: {next(names)} holds NaN or infinity, as {dtype}; "
                "pass --allow-nonfinite to convert it anyway"
            )
        rounded = scaled.astype(dtype, copy=False).view(bits[0].dtype)
        for index, part, inner in array.split(rounded, region):
            array.weight.place(part, inner, bits[index], sizes)
        step(block.nbytes)
    return result


def _finite(values: npt.NDArray[np.float32], dtype: np.dtype[Any]) -> bool:
    """Whether all values are finite in ``dtype``; numpy's minimum is NaN if any value is."""
    limit = float(ml_dtypes.finfo(dtype).max)
    return bool(values.min() >= -limit and values.max() <= limit)


class StoppedError(Exception):
    """Another thread failed, so the conversion is given up."""


class Budget:
    """Bytes that threads may hold at once, until one of them fails."""

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._change = threading.Condition()
        self._closed = False

    def close(self) -> None:
        """Make `hold` and `check` raise `StoppedError` from now on, in every thread."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def check(self) -> None:
        """Raise `StoppedError` when closed."""
        if self._closed:
            raise StoppedError

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Wait until ``size`` bytes (at most the total) are free, and hold them in the block."""
        size = min(size, self._total)
        with self._change:
            self._change.wait_for(lambda: self._closed or self._free >= size)
            self.check()
            self._free -= size
        try:
            yield
        finally:
            with self._change:
                self._free += size
                self._change.notify_all()
