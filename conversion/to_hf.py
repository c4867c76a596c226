"""Command: convert a MaxText checkpoint to a Hugging Face model and prove that they are equal.

python -m conversion.to_hf --checkpoint STEP_DIR --config OVERLAY.yml --tokenizer DIR --output DIR
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tinymathreason import cli, provenance
from tinymathreason.files import new_directory, read_json, write_json

RECORD = "conversion.json"
"""File in the output that tells what was converted and how equal it is."""


def convert(
    step_dir: Path, config: Path, tokenizer: Path, output: Path, skip_parity: bool = False
) -> None:
    """Write ``output``; it appears only when the logits of both models agree.

    Raises `InputError` for a checkpoint or tokenizer that does not fit the config, for an
    ``output`` that holds something else already, and when parity fails.
    """
    from conversion import export
    from conversion.architecture import Architecture
    from conversion.checkpoint import Checkpoint
    from pretrain import overlay

    sizes = Architecture.from_maxtext(overlay.load(config))
    checkpoint = Checkpoint(step_dir)
    inputs = {
        "checkpoint": str(step_dir),
        "checkpoint_sha256": checkpoint.sha256(),
        "config": str(config),
        "tokenizer": str(tokenizer),
    }
    if (output / RECORD).is_file():
        found = read_json(output / RECORD)
        if inputs.items() <= found.items() and (skip_parity or "parity" in found):
            print(f"{output} was already complete")
            return
    record = {**inputs, **provenance.record()}
    with new_directory(output) as folder:
        record["parameters"] = export.write(checkpoint, sizes, tokenizer, folder)
        print(f"{record['parameters']:,} parameters written", flush=True)
        if not skip_parity:
            from conversion import parity

            tokens = parity.random_tokens(sizes.vocab, sizes.context)
            expected = parity.maxtext_logits(step_dir, config, checkpoint.scanned, tokens)
            found = parity.Parity.of(expected, parity.hf_logits(folder, tokens))
            found.check()
            record["parity"] = found.record()
            print(f"parity: {found.line()}")
        write_json(folder / RECORD, record)
    print(f"{output} written")


def main(argv: Sequence[str]) -> None:
    """Parse the command line and convert."""
    parser = argparse.ArgumentParser(
        prog="conversion.to_hf", description="Convert a MaxText checkpoint to Hugging Face."
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="a step's folder: RUN/checkpoints/STEP"
    )
    parser.add_argument("--config", type=Path, required=True, help="the overlay that trained it")
    parser.add_argument(
        "--tokenizer", type=Path, required=True, help="folder of the mixture's tokenizer"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--skip-parity", action="store_true", help="do not compare the logits")
    arguments = parser.parse_args(argv)
    convert(
        arguments.checkpoint,
        arguments.config,
        arguments.tokenizer,
        arguments.output,
        arguments.skip_parity,
    )


if __name__ == "__main__":
    cli.run(main)
