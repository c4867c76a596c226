"""What the commands of fine-tuning share: their command line, and a training with its messages."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sft import arithmetic, session
from sft.checkpoints import MODEL, check_owner
from sft.settings import Settings, find, parse
from sft.speed import summary
from tinymathreason.writes import check_room


def command_line(
    argv: Sequence[str], prog: str, description: str, example: str, trl_config: str
) -> tuple[Path, list[str]]:
    """The configuration that a command line names, and its remaining words.

    ``example`` is one of our keys with a value, ``trl_config`` the name of TRL's configuration.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=f"Any key of ours or of TRL's {trl_config} and ModelConfig can follow as "
        f"--key value, --key=value or key=value, a nested one with dots: --{example}.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML file; sft/configs has some"
    )
    arguments, rest = parser.parse_known_args(argv)
    return find(arguments.config), rest


def run(
    algorithm: session.Algorithm[Any],
    argv: Sequence[str],
    prog: str,
    description: str,
    example: str,
) -> None:
    """Parse a command line and train, unless the model is complete."""
    path, rest = command_line(argv, prog, description, example, algorithm.trl_config)
    settings: Settings[Any] = parse(path, rest, algorithm.data_class, algorithm.trl_config)
    check_owner(settings.output, settings.inputs)
    if (settings.output / MODEL).exists():
        print(f"{settings.output / MODEL} was already complete")
        return
    check_room(settings.output)
    numbers = arithmetic.describe(settings.training, settings.model)
    print(f"Training on {numbers['device']} in {numbers['arithmetic']}", flush=True)
    record = session.train(algorithm, settings)
    if record:
        print(algorithm.summary(record))
        if record.speed:
            print(f"speed: {summary(record.speed)}")
        print(f"{settings.output / MODEL} written")
