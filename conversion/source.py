"""Opens a Hugging Face model to convert: its sizes and its tensors, checked against each other.

Folders on the hub hold tensors that say nothing new: the rotary frequencies that older versions of
transformers saved, and a tied head beside the embedding. They are left out when they are what
config.json says, and refused when they are not.
"""

from pathlib import Path

import numpy as np

from conversion.architecture import Architecture
from conversion.mapping import DTYPES, EMBEDDING, HEAD, check_types, differences, hf_tensors
from conversion.safetensors_files import TensorFiles
from tinymathreason.cli import InputError
from tinymathreason.files import read_json

FREQUENCIES = "rotary_emb.inv_freq"
"""End of the name of a saved buffer of rotary frequencies."""


def read(model: Path) -> tuple[Architecture, TensorFiles]:
    """The sizes and the tensors of a model's folder, with exactly the tensors of these sizes.

    Raises `InputError` for a model that MaxText cannot hold, tensors that do not fit config.json,
    weights that are no floats, and files that are damaged or not safetensors.
    """
    tensors = TensorFiles(model)
    sizes = Architecture.from_hf(read_json(model / "config.json"))
    leave_out_redundant(tensors, sizes)
    expected = hf_tensors(sizes)
    if biases := sorted(n for n in tensors.shapes.keys() - expected if n.endswith("bias")):
        raise InputError(
            f"{model}: {len(biases)} biases, such as {biases[0]}; MaxText's block for this family "
            "has none there"
        )
    if wrong := differences(expected, tensors.shapes):
        raise InputError(f"{model}: the tensors do not fit config.json: {wrong}")
    check_types(model, tensors.dtypes)
    return sizes, tensors


def leave_out_redundant(tensors: TensorFiles, sizes: Architecture) -> list[str]:
    """Remove rotary frequencies and a tied head from the listed tensors; their names.

    Raises `InputError` for those that are not what config.json says.
    """
    redundant = [name for name in tensors.shapes if name.endswith(FREQUENCIES)]
    for name in redundant:
        found = tensors.read(name)
        if not _near(found, sizes.rotary_frequencies()):
            raise InputError(
                f"{tensors.folder}: {name} is not what config.json's rope_theta and rope_scaling "
                "give; correct them, or remove the tensor"
            )
    if sizes.tied and HEAD.hf in tensors.shapes and EMBEDDING.hf in tensors.shapes:
        if not np.array_equal(tensors.read(HEAD.hf), tensors.read(EMBEDDING.hf)):
            raise InputError(
                f"{tensors.folder}: {HEAD.hf} is not the embedding, but config.json says "
                "tie_word_embeddings: true; correct it, or remove the tensor"
            )
        redundant.append(HEAD.hf)
    for name in redundant:
        tensors.leave_out(name)
    return redundant


def _near(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether frequencies are equal but for rounding in float32 and to the type of ``found``."""
    if found.shape != expected.shape or found.dtype not in DTYPES.values():
        return False
    import ml_dtypes

    limits = ml_dtypes.finfo(found.dtype)
    relative = max(4 * float(limits.eps), 1e-5)
    return np.allclose(
        found.astype(np.float64), expected, rtol=relative, atol=float(limits.smallest_subnormal)
    )
