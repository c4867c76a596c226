"""The plan of a training on a slice, checked before anything costs money."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from pretrain import overlay, topology
from pretrain.launch.slice import CommandError, output
from tinymathreason.cli import InputError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to train, on which slice, and when to give up."""

    arguments: tuple[str, ...]
    """The training's arguments: overlay, relative to the checkout, and ``key=value`` overrides."""
    config: dict[str, Any]
    """The resolved configuration."""
    tpu_type: str
    """TPU type, such as v4-32."""
    spot: bool
    """Request spot capacity, which is cheaper and can be preempted."""
    wait_s: float
    """Seconds to wait for the slice after each request."""
    poll_s: float
    """Seconds between two checks of the slice."""
    retries: int
    """Give up after this many failures in a row without a newer checkpoint."""
    prepare: str
    """Shell command for every host after the installation, in its checkout; may be empty."""


def from_arguments(arguments: argparse.Namespace) -> Plan:
    """The plan of ``run``. Raises `InputError` for mistakes that only the hosts would notice."""
    config = overlay.load(arguments.overlay, arguments.overrides)
    if not str(config["base_output_directory"]).startswith("gs://"):
        raise InputError(
            f"base_output_directory is {config['base_output_directory']!r}: the hosts of a slice "
            "share no disk; use base_output_directory=gs://BUCKET/FOLDER"
        )
    if not config["run_name"]:
        raise InputError("run_name must be set")
    mixture = config["grain_train_mixture_config_path"]
    if config["dataset_type"] == "grain" and mixture and not arguments.prepare:
        raise InputError(
            f"grain_train_mixture_config_path: the hosts do not have {mixture}; give the shell "
            "command that fetches it with --prepare"
        )
    topology.check(arguments.overlay, arguments.type)
    training = (relative_to_checkout(arguments.overlay), *arguments.overrides)
    if any(character in word for word in training for character in "\t\n"):
        raise InputError("an argument with a tab or a line break cannot be sent to the hosts")
    return Plan(
        arguments=training,
        config=config,
        tpu_type=arguments.type,
        spot=arguments.spot,
        wait_s=arguments.wait * 3600,
        poll_s=arguments.poll,
        retries=arguments.retries,
        prepare=arguments.prepare,
    )


def relative_to_checkout(path: Path) -> str:
    """The path of the overlay on the hosts: relative to the checkout, the current folder."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError as error:
        raise InputError(f"{path}: must lie below the checkout {Path.cwd()}") from error


def check_checkout(path: str) -> None:
    """Raise `InputError` unless the current folder is a checkout and the overlay is committed."""
    try:
        top = output(["git", "rev-parse", "--show-toplevel"]).decode().strip()
        changed = (
            output(["git", "--no-optional-locks", "status", "--porcelain", "--untracked-files=no"])
            .decode()
            .split()
        )
        tracked = output(["git", "ls-files", "--", path]).decode().strip()
    except CommandError as error:
        raise InputError(f"{Path.cwd()}: not a git checkout of this project") from error
    if Path(top) != Path.cwd():
        raise InputError(f"run this command in the top folder of the checkout, {top}")
    if changed or not tracked:
        raise InputError(
            f"{changed[1] if changed else path} is not committed; the hosts receive only commits"
        )
