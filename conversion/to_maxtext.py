"""Command: convert a Hugging Face model to a checkpoint that starts MaxText's trainer.

python -m conversion.to_maxtext --model HF_DIR --output STEP_DIR [--scan-layers true|false]
"""

import argparse
import collections
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tinymathreason import cli, provenance
from tinymathreason.cli import InputError
from tinymathreason.files import new_directory, write_text
from tinymathreason.records.conversion import OpenModel
from tinymathreason.writes import check_room

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from conversion.architecture import Architecture
    from conversion.mapping import Stored
    from conversion.safetensors_files import TensorFiles

OVERLAY = "overlay.yml"
"""File in the output with the keys that make MaxText build this model."""
TOKENIZER = "tokenizer"
"""Folder in the output for `conversion.to_hf`, with all of the model that is not weights."""
_CACHED = re.compile(r".*/models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]+)")
"""The folder of a model in the hub's cache: organisation, name and commit."""


def convert(
    model: Path,
    step_dir: Path,
    scan_layers: bool = True,
    allow_nonfinite: bool = False,
    force: bool = False,
    name: str | None = None,
) -> None:
    """Write ``step_dir``: float32 weights without optimiser state, the overlay, and other files.

    The other files are all of the model that is not weights, for the way back. ``name`` is the
    model's on the hub, for the record; by default `hub_name`. Raises `InputError` for a model that
    MaxText cannot hold, tensors that do not fit its config.json or are not finite (unless allowed),
    an existing ``step_dir`` (unless ``force``), and when there is no room for it.
    """
    import yaml

    from conversion import companions, source
    from conversion.mapping import DTYPES, stored
    from conversion.orbax_writer import save, tree

    sizes, tensors = source.read(model)
    if not scales_back(tensors, sizes):
        sizes = replace(sizes, query_scaled=False)
    types = collections.Counter(tensors.dtypes.values())
    # Orbax compresses. In float32 a bfloat16 weight is half zeros, which take no room.
    stored_bytes = (
        math.prod(shape) * DTYPES[tensors.dtypes[name]].itemsize
        for name, shape in tensors.shapes.items()
    )
    check_room(step_dir, sum(stored_bytes))
    origin = provenance.record()
    with new_directory(step_dir, replace=force, inputs=[model]) as folder:
        arrays = (
            (path, to_array(array, tensors, sizes, allow_nonfinite))
            for path, array in stored(sizes, scan_layers).items()
        )
        save(folder, {"params": tree(arrays)}, scan_layers)
        keys = {"base_config": "base.yml", **sizes.maxtext_config(), "scan_layers": scan_layers}
        write_text(folder / OVERLAY, yaml.safe_dump(keys, sort_keys=False))
        companions.keep(model, folder / TOKENIZER, max(types, key=types.__getitem__))
        OpenModel(
            name=name or hub_name(model),
            folder=str(model),
            model_sha256=provenance.model_hash(model),
            parameters=sizes.parameters,
            maxtext={key: value for key, value in keys.items() if key != "base_config"},
            provenance=origin,
        ).write(folder / OpenModel.file)
    for dtype in types.keys() - {"float32"}:
        print(f"weights in {dtype} widened to float32, which holds each of their values")
    print(f"{sizes.parameters:,} parameters written")
    print(
        f"{step_dir} written: train from it with base_config: {step_dir.resolve() / OVERLAY} and "
        f"load_parameters_path: {step_dir.resolve() / 'items'}; convert back with "
        f"--tokenizer {step_dir / TOKENIZER}"
    )


def hub_name(model: Path) -> str:
    """``ORG/NAME@COMMIT`` of a folder in the hub's cache; else the folder's own name."""
    place = model.resolve()
    match = _CACHED.fullmatch(place.as_posix())
    return f"{match[1]}/{match[2]}@{match[3]}" if match else place.name


def scales_back(tensors: "TensorFiles", sizes: "Architecture") -> bool:
    """Whether the query's weights come back to the bit when MaxText's hold 1/sqrt(head_dim).

    No float32 times the root of 128 is just any float32. Of a type with fewer digits, each value
    is the nearest to what comes back.
    """
    import numpy as np

    from conversion.mapping import LAYER

    sizes = replace(sizes, rope_interleaved=False)  # the order of rows does not matter here
    for weight in (weight for weight in LAYER if weight.scale and sizes.query_scaled):
        for layer in range(sizes.layers):
            name = weight.hf.format(layer=layer)
            if tensors.dtypes.get(name) == "float32":
                tensor = tensors.read(name)
                back = weight.to_maxtext(tensor, sizes) * weight.factor(sizes)
                if not np.array_equal(back, weight.view(tensor, sizes), equal_nan=True):
                    return False
    return True


def to_array(
    array: "Stored", tensors: "TensorFiles", sizes: "Architecture", allow_nonfinite: bool
) -> "npt.NDArray[np.float32]":
    """One of MaxText's arrays from the tensors of its layers."""
    import numpy as np

    from conversion.mapping import SCAN_AXIS

    result = np.empty(array.shape, np.float32)
    layers = np.moveaxis(result, SCAN_AXIS, 0) if array.stacked else result[np.newaxis]
    for name, layer in zip(array.names, layers, strict=True):
        layer[...] = array.weight.to_maxtext(tensors.read(name), sizes)
        if not (allow_nonfinite or np.isfinite(layer).all()):
            raise InputError(
                f"{tensors.folder}: {name} holds NaN or infinity; "
                "pass --allow-nonfinite to convert it anyway"
            )
    return result


def main(argv: Sequence[str]) -> None:
    """Parse the command line and convert."""
    parser = argparse.ArgumentParser(
        prog="conversion.to_maxtext", description="Convert a Hugging Face model to MaxText."
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of a Hugging Face model")
    parser.add_argument("--output", type=Path, required=True, help="the step's folder to write")
    parser.add_argument(
        "--scan-layers",
        choices=("true", "false"),
        default="true",
        help="whether to stack the layers, as the overlay's scan_layers says; default true",
    )
    parser.add_argument(
        "--name", metavar="ORG/NAME[@COMMIT]", help="the model's name on the hub, for the records"
    )
    parser.add_argument("--allow-nonfinite", action="store_true", help="convert NaN and infinity")
    parser.add_argument("--force", action="store_true", help="replace an existing output")
    arguments = parser.parse_args(argv)
    convert(
        arguments.model,
        arguments.output,
        arguments.scan_layers == "true",
        arguments.allow_nonfinite,
        arguments.force,
        arguments.name,
    )


if __name__ == "__main__":
    cli.run(main)
