"""Command: create a checkpoint of the 1B model, convert and verify it, and print the costs.

python -m benchmarks.full_size_parity [--home DIR] [--dtype bfloat16|float32]
"""

import argparse
import json
import resource
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.full_size import CONFIG, prepare, sizes
from conversion.checkpoint import Checkpoint
from conversion.export import Export
from conversion.to_hf import convert
from conversion.verify import verify
from tinymathreason import cli


def main(argv: Sequence[str]) -> None:
    """Parse the command line, convert, verify and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.full_size_parity", description="Prove the conversion of the 1B model."
    )
    parser.add_argument(
        "--home", type=Path, default=Path("runs/full_size"), help="needs 25 GB; kept for next time"
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    arguments = parser.parse_args(argv)
    step_dir, tokenizer = prepare(arguments.home)
    output = arguments.home / "model"
    shutil.rmtree(output, ignore_errors=True)
    started = time.monotonic()
    convert(step_dir, CONFIG, output, Export(tokenizer, arguments.dtype), skip_parity=True)
    converted = time.monotonic()
    parity = verify(Checkpoint(step_dir), CONFIG, output)
    shutil.rmtree(output)
    figures = {
        "benchmark": "full_size_parity",
        "parameters": sizes().parameters,
        "dtype": arguments.dtype,
        **parity.record().model_dump(),
        "seconds": {
            "convert": round(converted - started, 1),
            "verify": round(time.monotonic() - converted, 1),
        },
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    cli.run(main)
