"""Command: convert a MaxText checkpoint to a Hugging Face model and prove that they are equal.

python -m conversion.to_hf --checkpoint STEP_DIR --config OVERLAY.yml --tokenizer DIR --output DIR
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinymathreason import cli, phases, provenance
from tinymathreason.files import new_directory
from tinymathreason.records.conversion import Conversion
from tinymathreason.writes import check_room

if TYPE_CHECKING:
    from conversion.export import Export

RECORD = "conversion.json"
"""File in the output that records what was converted, and the parity."""
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def convert(
    step_dir: str | Path,
    config: Path,
    output: Path,
    options: "Export",
    skip_parity: bool = False,
    force: bool = False,
) -> None:
    """Write ``output``; it appears only when the logits of both models agree.

    Raises `InputError` for a checkpoint or tokenizer that does not fit the config, for an
    ``output`` that holds something else already (unless ``force``), when there is no room for the
    weights, and when parity fails.
    """
    from conversion import companions, export
    from conversion.architecture import Architecture
    from conversion.checkpoint import Checkpoint
    from pretrain import overlay

    checkpoint = Checkpoint(step_dir)
    sizes = Architecture.from_maxtext(overlay.load(config))
    hf_sizes = companions.trimmed(sizes, options.tokenizer)
    inputs: dict[str, Any] = {
        "checkpoint": str(step_dir),
        "checkpoint_sha256": checkpoint.sha256(),
        "config": str(config),
        "tokenizer": str(options.tokenizer),
        "dtype": options.dtype,
        "max_shard_bytes": options.max_shard_bytes,
        "allow_nonfinite": options.allow_nonfinite,
        "sizes": asdict(sizes),
        "tokenizer_sha256": provenance.files_hash(
            companions.files(options.tokenizer), options.tokenizer
        ),
    }
    if (output / RECORD).is_file() and not force:
        record = Conversion.load(output / RECORD)
        same = {key: getattr(record, key) for key in inputs} == inputs
        if same and (skip_parity or record.parity):
            print(f"{output} was already complete")
            return
    origin = provenance.record()
    nbytes = export.weights_bytes(hf_sizes, options.dtype)
    exact = (
        0 if skip_parity or options.dtype == "float32" else 2 * nbytes
    )  # scratch files of `verify`
    check_room(output, nbytes + exact, min(nbytes, options.max_shard_bytes))
    kept = [options.tokenizer, config, *([] if "://" in str(step_dir) else [step_dir])]
    with new_directory(output, replace=force, inputs=kept) as folder:
        if rows := sizes.vocab - hf_sizes.vocab:
            print(f"{rows} rows of padding trimmed from the vocabulary", flush=True)
        companions.write(hf_sizes, options.tokenizer, folder, options.dtype)
        export.write_weights(checkpoint, sizes, hf_sizes, folder, options)
        print(f"{hf_sizes.parameters:,} parameters written", flush=True)
        model_sha256 = provenance.model_hash(folder)
        proof = None
        if not skip_parity:
            from conversion.verify import verify

            parity = verify(checkpoint, config, folder, scratch=folder)
            proof = parity.record()
            print(f"parity: {parity.line()}")
        Conversion(
            **inputs,
            parameters=hf_sizes.parameters,
            trimmed_vocabulary_rows=rows,
            model_sha256=model_sha256,
            parity=proof,
            phases=phases.of_checkpoint(str(step_dir)),
            provenance=origin,
        ).write(folder / RECORD)
    print(f"{output} written")


def parse_bytes(text: str) -> int:
    """``5GB`` or ``512MiB`` as a number of bytes; `ArgumentTypeError` for anything else."""
    match = re.fullmatch(r"(\d+)\s*([KMG]I?B|)", text.upper())
    if match is None or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a size such as 5GB or 512MiB")
    return int(match[1]) * UNITS[match[2]]


def main(argv: Sequence[str]) -> None:
    """Parse the command line and convert."""
    parser = argparse.ArgumentParser(
        prog="conversion.to_hf", description="Convert a MaxText checkpoint to Hugging Face."
    )
    parser.add_argument(
        "--checkpoint", required=True, help="a step's folder: RUN/checkpoints/STEP, or gs://..."
    )
    parser.add_argument("--config", type=Path, required=True, help="the overlay that trained it")
    parser.add_argument(
        "--tokenizer",
        type=Path,
        required=True,
        help="folder of the tokenizer: a mixture's, or the one that to_maxtext kept",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="default: as the config.json beside the tokenizer says, else float32",
    )
    parser.add_argument(
        "--max-shard-size", type=parse_bytes, default="5GB", help="of one file; default 5GB"
    )
    parser.add_argument("--skip-parity", action="store_true", help="do not compare the logits")
    parser.add_argument("--allow-nonfinite", action="store_true", help="convert NaN and infinity")
    parser.add_argument("--force", action="store_true", help="replace an existing output")
    arguments = parser.parse_args(argv)

    from conversion import companions
    from conversion.export import Export

    options = Export(
        arguments.tokenizer,
        arguments.dtype or companions.dtype(arguments.tokenizer),
        arguments.max_shard_size,
        arguments.allow_nonfinite,
    )
    convert(
        arguments.checkpoint,
        arguments.config,
        arguments.output,
        options,
        arguments.skip_parity,
        arguments.force,
    )


if __name__ == "__main__":
    cli.run(main)
