"""Command: fine-tune a model on chat examples with TRL's SFTTrainer.

python -m sft.run --config sft/configs/NAME.yaml [--learning_rate 1e-5 ...]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tinymathreason import cli
from tinymathreason.config import read_yaml

CONFIGS = Path(__file__).parent / "configs"


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

    from sft.config import parse
    from sft.train import MODEL, check_owner, train

    config = arguments.config
    if not config.is_file() and (CONFIGS / config).is_file():
        config = CONFIGS / config
    read_yaml(config)  # a missing file is told before the slow imports
    settings = parse(config, rest)
    output = Path(settings.training.output_dir)
    check_owner(output, settings.inputs)
    if (output / MODEL).exists():
        print(f"{output / MODEL} was already complete")
        return
    record = train(settings)
    for name, counts in record["counts"].items():
        print(f"{name}: {', '.join(f'{count:,} {what}' for what, count in counts.items())}")
    print(f"{output / MODEL} written")


if __name__ == "__main__":
    cli.run(main)
