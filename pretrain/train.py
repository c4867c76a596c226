"""Command: train with upstream MaxText, after checks that take a second and not a minute.

python -m maxtext.train OVERLAY.yml [key=value ...]
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinymathreason import vocabulary
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json


def run_directory(config: dict[str, Any]) -> Path:
    """The folder of a run: checkpoints, metrics and TensorBoard events lie below it."""
    return Path(config["base_output_directory"], config["run_name"])


def checkpoints(config: dict[str, Any]) -> list[int]:
    """The steps that have a complete local checkpoint, ascending."""
    folder = run_directory(config) / "checkpoints"
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(int(path.name) for path in found if path.name.isdigit())


DECISIVE = (
    "base_", "head_dim", "vocab_size", "max_target_length", "decoder_block", "rope_", "scan_layers",
    "learning_rate", "lr_schedule", "warmup", "wsd_", "opt_type", "adam", "gradient_",
    "per_device_batch_size", "grain_train", "grain_packing", "data_shuffle_seed", "init_weights",
)  # fmt: skip
"""Beginnings of the keys that decide the weights; the others may change between two starts."""


def check_owner(directory: Path, config: dict[str, Any]) -> None:
    """Make ``directory`` this run's; `InputError` when its checkpoints come from another one."""
    path = directory / "config.json"
    if not path.is_file():
        write_json(path, config)
        return
    before = read_json(path)
    changed = [
        f"{key} was {before.get(key)!r}, is {value!r}"
        for key, value in config.items()
        if key.startswith(DECISIVE) and key != "base_output_directory" and before.get(key) != value
    ]
    if changed:
        raise InputError(
            f"{directory} holds a run with another configuration: {'; '.join(changed)}; "
            "remove it or set run_name"
        )


def check_inputs(config: dict[str, Any]) -> None:
    """Raise `InputError` for what MaxText would stumble over a minute later, or learn wrongly from.

    Looks at local files only: a mixture or tokenizer in a bucket is upstream's to open.
    """
    if not config["run_name"] or not config["base_output_directory"]:
        raise InputError("run_name and base_output_directory must be set")
    if config["dataset_type"] != "grain":
        return
    mixture = config["grain_train_mixture_config_path"]
    if mixture and "://" not in mixture and not Path(mixture).is_file():
        raise InputError(
            f"grain_train_mixture_config_path: no file {mixture}; "
            "build it first: bash data_prep/build_mixture.sh RECIPE.yaml"
        )
    tokenizer = str(config["tokenizer_path"])
    if config["tokenizer_type"] == "huggingface" and "://" not in tokenizer:
        # Conversion asks for the same: better to be told before the run than after it.
        vocabulary.check_size(Path(tokenizer), config["vocab_size"])


def train(path: Path, overrides: Sequence[str]) -> None:
    """Train as the overlay says, from the last checkpoint if there is one.

    A run whose last step is saved returns at once. Importing upstream alone takes half a minute.
    Raises `InputError` for wrong input, and when upstream returns before the last step.
    """
    from pretrain import overlay

    config = overlay.load(path, overrides)
    check_inputs(config)
    directory = run_directory(config)
    if "://" not in config["base_output_directory"]:
        check_owner(directory, config)
    if config["steps"] - 1 in checkpoints(config):
        print(f"{directory}: the last of {config['steps']} steps is saved; nothing is left to do")
        return
    if config["hardware"] == "cpu":
        # Without it, jax looks for a TPU for ten seconds. DECOUPLE_GCLOUD would save ten more, but
        # with it upstream writes no TensorBoard events.
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    arguments = list(overrides)
    if "://" not in config["base_output_directory"]:
        # Orbax refuses relative folders.
        output = Path(config["base_output_directory"]).resolve()
        arguments.append(f"base_output_directory={output}")

    from absl import app
    from maxtext.trainers.pre_train import train as upstream

    def main(argv: Sequence[str]) -> None:
        upstream.main(argv)
        # Upstream also returns when the data ran out or failed, and after a preemption's save.
        if "://" not in config["base_output_directory"]:
            saved = checkpoints(config)
            if config["steps"] - 1 not in saved:
                raise InputError(
                    f"{directory}: training ended before step {config['steps'] - 1}; the last "
                    f"checkpoint is {saved[-1] if saved else 'none'}; the reason is logged above"
                )

    app.run(main, argv=["maxtext.train", str(path), *arguments])


def main(argv: Sequence[str]) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(
        prog="maxtext.train", description="Train with upstream MaxText, driven by an overlay."
    )
    parser.add_argument("overlay", type=Path, help="YAML file; maxtext_configs has some")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replace MaxText's value")
    arguments = parser.parse_args(argv)
    train(arguments.overlay, arguments.overrides)
