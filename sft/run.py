"""Command: fine-tune a model on chat examples with TRL's SFTTrainer.

python -m sft.run --config sft/configs/NAME.yaml [--learning_rate 1e-5 ...]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tinymathreason import cli


def main(argv: Sequence[str]) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(
        prog="sft.run",
        description="Fine-tune a model on chat examples with TRL's SFTTrainer.",
        epilog="Any field of TRL's SFTConfig or ModelConfig can follow as --field value, and one "
        "of ours as field=value, such as sources.gsm8k.path=FILE.",
    )
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML file; sft/configs has some"
    )
    arguments, rest = parser.parse_known_args(argv)

    from sft.checkpoints import MODEL, check_owner
    from sft.config import SftData, find, parse
    from sft.prepare import table
    from sft.train import train

    settings = parse(find(arguments.config), rest, SftData)
    check_owner(settings.output, settings.inputs)
    if (settings.output / MODEL).exists():
        print(f"{settings.output / MODEL} was already complete")
        return
    record = train(settings)
    if record:
        for line in table(record["counts"]):
            print(line)
        print(f"{settings.output / MODEL} written")


if __name__ == "__main__":
    cli.run(main)
