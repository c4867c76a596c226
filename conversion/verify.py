"""Command: prove that a Hugging Face model is the conversion of a MaxText checkpoint.

python -m conversion.verify --checkpoint STEP_DIR --config OVERLAY.yml --model HF_DIR
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tinymathreason import cli, vocabulary
from tinymathreason.cli import InputError
from tinymathreason.files import read_json
from tinymathreason.writes import check_room, writing

if TYPE_CHECKING:
    from conversion.architecture import Architecture
    from conversion.checkpoint import Checkpoint
    from conversion.parity import Parity
    from conversion.safetensors_files import TensorFiles


def verify(
    checkpoint: "Checkpoint", config: Path, model: Path, scratch: Path | None = None
) -> "Parity":
    """Compare the logits of ``model`` with MaxText's, in float32 on random tokens and real text.

    Every tensor must also equal the checkpoint's to the bit, including rows that no token used. The
    logits of a bfloat16 model are computed from its configuration and the weights before rounding,
    which are written into ``scratch`` for that time (default: the folder of temporary files).
    Raises `InputError` when anything differs, and when there is no room in ``scratch``.
    """
    from conversion import export, parity
    from conversion.architecture import Architecture
    from conversion.safetensors_files import TensorFiles
    from pretrain import overlay

    sizes = Architecture.from_maxtext(overlay.load(config))
    checkpoint.check(sizes)
    files = TensorFiles(model)
    hf_sizes = _check_model(model, files, sizes)
    tokens = parity.tokens(model, hf_sizes.vocab, hf_sizes.context)
    expected = parity.maxtext_logits(checkpoint.step_dir, config, checkpoint.scanned, tokens)
    expected = expected[..., : hf_sizes.vocab]
    if set(files.dtypes.values()) == {"float32"}:
        logits = parity.hf_logits(model, tokens)
    else:
        place = scratch or Path(tempfile.gettempdir())
        check_room(place, export.weights_bytes(hf_sizes, "float32"))
        with writing(place), tempfile.TemporaryDirectory(dir=place, prefix="exact-") as name:
            options = export.Export(model, allow_nonfinite=True)
            export.write_weights(checkpoint, sizes, hf_sizes, Path(name), options)
            shutil.copyfile(model / "config.json", Path(name) / "config.json")
            logits = parity.hf_logits(Path(name), tokens)
    result = parity.Parity.of(expected, logits)
    result.check()
    _check_bits(checkpoint, sizes, hf_sizes, files)
    return result


def _check_model(model: Path, files: "TensorFiles", sizes: "Architecture") -> "Architecture":
    """The sizes of ``model``: the checkpoint's, but for a padded vocabulary and a longer context.

    Raises `InputError` when config.json or the tensors' shapes belong to another model.
    """
    from conversion import companions, source
    from conversion.architecture import Architecture
    from conversion.mapping import check_types, differences, hf_tensors

    theirs = Architecture.from_hf(read_json(model / "config.json"))
    check_types(model, files.dtypes)
    ours = sizes
    if companions.is_own(model):
        rows = max(vocabulary.read(model).values()) + 1
        if rows > theirs.vocab:
            raise InputError(
                f"{model}: {rows} entries in the tokenizer, {theirs.vocab} in the model"
            )
        vocab = theirs.vocab if rows <= theirs.vocab < sizes.vocab else sizes.vocab
        ours = replace(sizes, vocab=vocab)
    # The training's rows may have been shorter than what the model allows.
    ours = replace(ours, context=max(ours.context, theirs.context))
    wrong = differences(asdict(ours.described), asdict(theirs.described))
    if not wrong:
        source.leave_out_redundant(files, theirs)
        wrong = differences(hf_tensors(ours), files.shapes)
    if wrong:
        raise InputError(f"{model}: not the model of the overlay: {wrong}")
    return ours


def _check_bits(
    checkpoint: "Checkpoint", sizes: "Architecture", hf_sizes: "Architecture", files: "TensorFiles"
) -> None:
    """Raise `InputError` unless every tensor is the checkpoint's, rounded once to its dtype."""
    import numpy as np

    from conversion.export import tensors
    from conversion.mapping import DTYPES, stored

    for array in stored(sizes, checkpoint.scanned).values():
        dtype = DTYPES[files.dtypes[array.names[0]]]
        exact = tensors(checkpoint, array, hf_sizes, dtype, allow_nonfinite=True)
        for name, expected in zip(array.names, exact, strict=True):
            tensor = files.read(name)
            same = tensor.dtype == dtype and np.array_equal(
                expected.view(f"u{dtype.itemsize}"), tensor.view(f"u{dtype.itemsize}")
            )
            if not same:
                raise InputError(f"{files.folder}: {name} is not the checkpoint's, as {dtype}")


def main(argv: Sequence[str]) -> None:
    """Parse the command line and verify."""
    parser = argparse.ArgumentParser(
        prog="conversion.verify",
        description="Prove that a Hugging Face model is a MaxText checkpoint's.",
    )
    parser.add_argument("--checkpoint", required=True, help="a step's folder, or gs://...")
    parser.add_argument("--config", type=Path, required=True, help="the overlay that trained it")
    parser.add_argument(
        "--model", type=Path, required=True, help="folder of the Hugging Face model"
    )
    arguments = parser.parse_args(argv)

    from conversion.checkpoint import Checkpoint

    result = verify(Checkpoint(arguments.checkpoint), arguments.config, arguments.model)
    print(f"equal: {result.line()}")


if __name__ == "__main__":
    cli.run(main)
