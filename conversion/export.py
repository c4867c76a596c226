"""A checkpoint's arrays in; the files of a Hugging Face model folder out.

Arrays are converted side by side, one a core, as far as the memory for their tensors allows.
"""

import contextlib
import math
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from conversion.architecture import Architecture
from conversion.checkpoint import Checkpoint
from conversion.mapping import DTYPES, Stored, hf_tensors, stored
from conversion.safetensors_files import Place, create
from tinymathreason import vocabulary
from tinymathreason.chatml import EOS, IM_END, PAD, TEMPLATE
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json

CHAT_TEMPLATE = "chat_template.jinja"
MEMORY = 1_100_000_000
"""Bytes of tensors held at once by all workers; a larger array is converted alone."""
PADDINGS = tuple(2**power for power in range(3, 11))
"""Multiples to which a vocabulary is padded so that devices can share it."""


@dataclass(frozen=True)
class Export:
    """What an export depends on besides the checkpoint and its sizes."""

    tokenizer: Path
    dtype: str = "float32"
    max_shard_bytes: int = 5 * 10**9
    allow_nonfinite: bool = False


def trimmed(sizes: Architecture, tokenizer: Path) -> Architecture:
    """``sizes`` with the tokenizer's vocabulary, which MaxText's may exceed by padding alone.

    Raises `InputError` when the folder has no tokenizer, or one of another size than the model's.
    """
    rows = max(vocabulary.read(tokenizer).values()) + 1
    padded = [step for step in PADDINGS if sizes.vocab % step == 0 and sizes.vocab - rows <= step]
    if rows != sizes.vocab and (rows > sizes.vocab or not padded):
        raise InputError(
            f"{tokenizer}: the tokenizer has {rows} entries, vocab_size is {sizes.vocab}; expected "
            f"{rows}, or that padded to a multiple of at most {max(PADDINGS)}"
        )
    return replace(sizes, vocab=rows)


def write_weights(
    checkpoint: Checkpoint,
    sizes: Architecture,
    hf_sizes: Architecture,
    folder: Path,
    options: Export,
) -> None:
    """Fill ``folder`` with the tensors of LlamaForCausalLM.

    ``sizes`` are the checkpoint's, ``hf_sizes`` the model's (`trimmed`). Raises `InputError` when
    the checkpoint does not fit ``sizes``, lacks a chunk, or, unless allowed, holds a NaN or an
    infinity; `OSError` when the disk is full.
    """
    checkpoint.check(sizes)
    places = create(folder, hf_tensors(hf_sizes), options.dtype, options.max_shard_bytes)
    budget = Budget(MEMORY)
    # The largest first: none of them is left to run alone at the end.
    arrays = sorted(
        stored(sizes, checkpoint.scanned).values(), key=lambda array: -math.prod(array.shape)
    )
    total = sum(checkpoint.entries[array.path].nbytes for array in arrays)
    workers = len(os.sched_getaffinity(0))
    progress: tqdm[Any] = tqdm(total=total, desc="weights", unit="B", unit_scale=True)
    with progress, ThreadPoolExecutor(workers) as pool:

        def convert(array: Stored) -> None:
            targets = [places[name] for name in array.names]
            with budget.hold(sum(math.prod(t.shape) * t.dtype.itemsize for t in targets)):
                _convert(checkpoint, array, hf_sizes, targets, options, progress)

        running = [pool.submit(convert, array) for array in arrays]
        try:
            for done in as_completed(running):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _convert(
    checkpoint: Checkpoint,
    array: Stored,
    sizes: Architecture,
    targets: list[Place],
    options: Export,
    progress: "tqdm[Any]",
) -> None:
    """Write the tensors that one stored array holds."""
    dtype = DTYPES[options.dtype]
    tensors = [np.empty(target.shape, dtype) for target in targets]
    # Plain integers are copied without Python's lock; bfloat16 is no type of numpy's own.
    bits = [tensor.view(f"u{dtype.itemsize}") for tensor in tensors]
    factor = array.weight.factor(sizes)
    for region, block in checkpoint.blocks(array.path):
        # Scaled in float32, then rounded once.
        scaled = block.astype(np.float32, copy=False)
        if array.weight.scale:
            scaled = scaled * factor
        if not (options.allow_nonfinite or _finite(scaled, dtype)):
            names = (
                array.names[index]
                for index, part, _ in array.split(scaled, region)
                if not _finite(part, dtype)
            )
            raise InputError(
                f"{checkpoint.step_dir}: {next(names)} holds NaN or infinity; "
                "pass --allow-nonfinite to convert it all the same"
            )
        rounded = scaled.astype(dtype, copy=False).view(bits[0].dtype)
        for index, part, inner in array.split(rounded, region):
            array.weight.place(part, inner, bits[index], sizes)
        progress.update(block.nbytes)
    for target, tensor in zip(targets, tensors, strict=True):
        target.write(tensor)


def _finite(values: npt.NDArray[np.float32], dtype: np.dtype[Any]) -> bool:
    """Whether ``dtype`` holds all the values; the extremes of a NaN's company are NaN."""
    limit = float(ml_dtypes.finfo(dtype).max)
    return bool(values.min() >= -limit and values.max() <= limit)


class Budget:
    """Bytes that threads may hold at once."""

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._change = threading.Condition()

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Wait until ``size`` bytes are free, at most all of them, and keep them for the block."""
        size = min(size, self._total)
        with self._change:
            self._change.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._change:
                self._free += size
                self._change.notify_all()


def write_config(sizes: Architecture, folder: Path, options: Export) -> None:
    """Fill ``folder`` with configuration, generation defaults, tokenizer and chat template.

    A tokenizer's own template goes before the project's. Generation ends at the end of a document
    and at the end of a chat message.
    """
    source = options.tokenizer
    ids = vocabulary.read(source)
    for token in (EOS, PAD, IM_END):
        if token not in ids:
            raise InputError(f"{source}: the tokenizer has no {token}")
    write_json(folder / "config.json", sizes.hf_config(ids[EOS], ids[PAD], options.dtype))
    stop = [ids[EOS], ids[IM_END]]
    generation = {"do_sample": False, "eos_token_id": stop, "pad_token_id": ids[PAD]}
    write_json(folder / "generation_config.json", generation)
    shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")
    template = source / CHAT_TEMPLATE if (source / CHAT_TEMPLATE).is_file() else TEMPLATE
    shutil.copyfile(template, folder / CHAT_TEMPLATE)
    settings = {
        # CTranslate2 wants one; nothing puts it before a text.
        "bos_token": EOS,
        **read_json(source / "tokenizer_config.json"),
        # What transformers 4 reads as 5 does: a class that both have, no token_type_ids for
        # generate() to stumble over, and, before 4.49, the template from here alone.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "chat_template": template.read_text(encoding="utf-8"),
    }
    write_json(folder / "tokenizer_config.json", settings)
