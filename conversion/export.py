"""A checkpoint's arrays in; the files of a Hugging Face model folder out."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from conversion.architecture import Architecture
from conversion.checkpoint import Checkpoint
from conversion.mapping import SCAN_AXIS, WEIGHTS, Weight, unscanned
from tinymathreason import vocabulary
from tinymathreason.chatml import EOS, PAD
from tinymathreason.cli import InputError
from tinymathreason.files import write_json

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def tensors(checkpoint: Checkpoint, sizes: Architecture) -> dict[str, npt.NDArray[np.float32]]:
    """Every tensor of LlamaForCausalLM, float32, by name.

    Raises `InputError` when the checkpoint does not fit ``sizes`` or holds a NaN or an infinity.
    """
    checkpoint.check(sizes)
    found: dict[str, npt.NDArray[np.float32]] = {}
    for weight in WEIGHTS:
        for layer, array in enumerate(_layers(checkpoint, weight, sizes)):
            name = weight.hf.format(layer=layer)
            found[name] = weight.to_hf(array, sizes)
            if not np.isfinite(found[name]).all():
                raise InputError(f"{checkpoint.items.parent}: {name} holds NaN or infinity")
    return found


def _layers(
    checkpoint: Checkpoint, weight: Weight, sizes: Architecture
) -> Iterable[npt.NDArray[np.float32]]:
    """The arrays of one kind of weight, a layer at a time."""
    if not weight.per_layer:
        return [checkpoint.read(weight.maxtext)]
    if checkpoint.scanned:
        return np.moveaxis(checkpoint.read(weight.maxtext), SCAN_AXIS, 0)
    paths = (unscanned(weight.maxtext, layer) for layer in range(sizes.layers))
    return map(checkpoint.read, paths)


def special_ids(tokenizer: Path, sizes: Architecture) -> tuple[int, int]:
    """The ids of end-of-text and padding in a tokenizer's folder.

    Raises `InputError` when the folder has no tokenizer, or one of another size than the model's.
    """
    ids = vocabulary.check_size(tokenizer, sizes.vocab)
    for token in (EOS, PAD):
        if token not in ids:
            raise InputError(f"{tokenizer}: the tokenizer has no {token}")
    return ids[EOS], ids[PAD]


def write(checkpoint: Checkpoint, sizes: Architecture, tokenizer: Path, folder: Path) -> int:
    """Fill ``folder`` with weights, configuration and tokenizer; returns the parameter count."""
    eos, pad = special_ids(tokenizer, sizes)
    weights = tensors(checkpoint, sizes)
    safetensors.numpy.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", sizes.hf_config(eos, pad, "float32"))
    generation = {"do_sample": False, "eos_token_id": eos, "pad_token_id": pad}
    write_json(folder / "generation_config.json", generation)
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer / name, folder / name)
    return sum(weight.size for weight in weights.values())
