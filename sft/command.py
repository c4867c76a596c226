"""What the commands of fine-tuning share: a configuration in, a finished model told."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinymathreason.writes import check_room


@dataclass(frozen=True)
class Trained:
    """What a command trains with; made after the command line is read, as it imports much."""

    ours: type
    """The dataclass of our keys."""
    train: Callable[[Any], dict[str, Any]]
    """Trains as the settings say, and returns the record; an empty one for a helping process."""
    told: Callable[[dict[str, Any]], Iterable[str]]
    """Lines for a user from the counts of a record."""


def words(
    argv: Sequence[str], prog: str, description: str, example: str, trainer: str
) -> tuple[Path, list[str]]:
    """The configuration that a command line names, and the words for its keys."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=f"Any key of ours or of TRL's {trainer} and ModelConfig can follow as --key value, "
        f"--key=value or key=value, a nested one with dots: --{example}.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML file; sft/configs has some"
    )
    arguments, rest = parser.parse_known_args(argv)
    return arguments.config, rest


def run(
    argv: Sequence[str],
    prog: str,
    description: str,
    example: str,
    trainer: str,
    load: Callable[[], Trained],
) -> None:
    """Parse a command line and train, unless the model is complete.

    ``trainer`` names TRL's configuration, ``example`` is one of our keys with a value.
    """
    path, rest = words(argv, prog, description, example, trainer)

    from sft import arithmetic
    from sft.checkpoints import MODEL, check_owner
    from sft.settings import Settings, find, parse

    parts = load()
    settings: Settings[Any] = parse(find(path), rest, parts.ours, trainer)
    check_owner(settings.output, settings.inputs)
    if (settings.output / MODEL).exists():
        print(f"{settings.output / MODEL} was already complete")
        return
    check_room(settings.output)
    numbers = arithmetic.describe(settings.training, settings.model)
    print(f"Training on {numbers['device']} in {numbers['arithmetic']}", flush=True)
    record = parts.train(settings)
    if record:
        for line in parts.told(record["counts"]):
            print(line)
        print(f"{settings.output / MODEL} written")
