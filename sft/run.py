"""Command: fine-tune a model on chat examples with TRL's SFTTrainer.

python -m sft.run --config sft/configs/NAME.yaml [--learning_rate 1e-5 ...]
"""

from collections.abc import Sequence

from sft import command
from tinymathreason import cli


def _load() -> command.Trained:
    from sft.config import SftData
    from sft.prepare import table
    from sft.train import train

    return command.Trained(SftData, train, table)


def main(argv: Sequence[str]) -> None:
    """Parse the command line and train."""
    described = "Fine-tune a model on chat examples with TRL's SFTTrainer."
    command.run(argv, "sft.run", described, "sources.gsm8k.path=FILE", "SFTConfig", _load)


if __name__ == "__main__":
    cli.run(main)
