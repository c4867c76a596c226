"""Command: estimate which ways to fine-tune a model fit a card's memory, without a GPU.

python -m sft.fit --config sft.yaml [--gb 24] [--key value ...]

It prints a table of the configuration as it is and of ways that need less memory, each with its
keys: the packed rows that fit at once, up to those of the configuration, and the memory that they
need. Everything is an estimate by arithmetic (`sft.memory`), for packed rows with variable-length
attention. Of the model only its config.json is read.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from sft import command, memory
from sft.attention import VARLEN
from sft.compiled import decided
from sft.settings import parse
from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.tables import text_table

FULL = {"use_peft": False, "load_in_4bit": False, "load_in_8bit": False, "dtype": None}
LORA = {"use_peft": True, "lora_target_modules": "all-linear", "dtype": "bfloat16"}
AGAIN = {"activation_checkpointing": True}
WAYS: dict[str, dict[str, Any]] = {
    "as configured": {},
    "all weights, AdamW": {**FULL, "optim": "adamw_torch_fused", "activation_checkpointing": False},
    "all weights, activations computed again": {**FULL, **AGAIN, "optim": "adamw_torch_fused"},
    "all weights, 8-bit states": {**FULL, **AGAIN, "optim": "adamw_bnb_8bit"},
    "all weights, paged 8-bit states": {**FULL, **AGAIN, "optim": "paged_adamw_8bit"},
    "LoRA over bfloat16": {**LORA, "load_in_4bit": False},
    "LoRA over 4 bits": {**LORA, **AGAIN, "load_in_4bit": True},
}
"""Ways to train, each with the keys that it sets."""
HEAD = ("training", "packed rows at once", "estimated GB", "fits", "keys")


def table(config: Any, training: Any, model: Any, gb: float) -> list[tuple[str, ...]]:
    """A row of `HEAD` for each way, for the transformers model of ``config`` and ``gb`` GB.

    ``training`` and ``model`` are TRL's configurations.
    """
    rows: list[tuple[str, ...]] = []
    for name, keys in WAYS.items():
        ours, theirs = _replaced(training, keys), _replaced(model, keys)
        whole = not (theirs.load_in_4bit or theirs.load_in_8bit)
        compiles = decided(None, VARLEN, whole)
        needed = memory.estimate(config, ours, theirs, compiles)
        count = memory.fit(needed, training.per_device_train_batch_size, gb * 1e9)
        fits = "yes" if needed.fits(count, gb * 1e9) else "no"
        # The others are TRL's defaults.
        given = (f"--{key} {str(value).lower()}" for key, value in keys.items() if value)
        rows.append((name, str(count), f"{needed.total(count) / 1e9:.1f}", fits, " ".join(given)))
    return rows


def _replaced(options: Any, keys: dict[str, Any]) -> SimpleNamespace:
    """The fields of a configuration with some of ``keys`` instead."""
    names = [field.name for field in dataclasses.fields(options)]
    return SimpleNamespace(**{name: keys.get(name, getattr(options, name)) for name in names})


def main(argv: Sequence[str]) -> None:
    """Parse the command line and print the table."""
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--gb", type=float, default=24.0)
    arguments, words = own.parse_known_args(argv)
    description = "Which ways to fine-tune fit a card with --gb GB (default: 24)."
    path, rest = command.command_line(words, "sft.fit", description, "max_length=1024", "SFTConfig")

    from sft.config import SftData
    from sft.model import load_config

    settings = parse(path, rest, SftData)
    training, model = settings.training, settings.model
    if not training.packing:
        raise InputError(f"{path}: the estimate is for packed rows; set packing: true")
    config = load_config(model)
    print(f"estimates for rows of {training.max_length} tokens on a card of {arguments.gb:g} GB:")
    print(text_table(HEAD, table(config, training, model, arguments.gb)))


if __name__ == "__main__":
    cli.run(main)
