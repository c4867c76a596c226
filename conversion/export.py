"""A checkpoint's arrays in; the files of a Hugging Face model folder out."""

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from conversion.architecture import Architecture
from conversion.checkpoint import Checkpoint
from conversion.mapping import WEIGHTS, take_layer, unscanned
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
        stacked = (
            checkpoint.read(weight.maxtext) if checkpoint.scanned or not weight.per_layer else None
        )
        for layer in range(sizes.layers if weight.per_layer else 1):
            if stacked is None:
                array = checkpoint.read(unscanned(weight.maxtext, layer))
            else:
                array = take_layer(stacked, layer) if weight.per_layer else stacked
            name = weight.hf.format(layer=layer)
            found[name] = weight.to_hf(array, sizes)
            if not np.isfinite(found[name]).all():
                raise InputError(f"{checkpoint.items.parent}: {name} holds NaN or infinity")
    return found


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
