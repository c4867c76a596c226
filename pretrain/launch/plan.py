"""What a training on a slice shall be: read from the command line and checked before any cost."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from pretrain import overlay, topology
from pretrain.launch.slice import CommandError, output
from tinymathreason.cli import InputError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to train, on what, and when to give up."""

    words: tuple[str, ...]
    """Overlay, relative to the checkout, and ``key=value`` arguments."""
    config: dict[str, Any]
    """The configuration that these resolve to."""
    kind: str
    """TPU type, as v4-32."""
    spot: bool
    """Ask for spot capacity, which is cheaper and can be taken away."""
    wait_s: float
    """How long to wait for the slice, in seconds, each time that one is asked for."""
    poll_s: float
    """Seconds between two looks at the slice."""
    retries: int
    """Give up after this many failures in a row without a newer checkpoint."""
    prepare: str
    """Shell command for every host after the installation, in the checkout; empty: none."""


def checked(arguments: argparse.Namespace) -> Plan:
    """The plan of ``run``; `InputError` for what the hosts would only tell later."""
    config = overlay.load(arguments.overlay, arguments.overrides)
    if not str(config["base_output_directory"]).startswith("gs://"):
        raise InputError(
            f"base_output_directory is {config['base_output_directory']!r}: the hosts of a slice "
            "share no disk; give base_output_directory=gs://BUCKET/FOLDER"
        )
    if not config["run_name"]:
        raise InputError("run_name must be set")
    mixture = config["grain_train_mixture_config_path"]
    if config["dataset_type"] == "grain" and mixture and not arguments.prepare:
        raise InputError(
            f"grain_train_mixture_config_path: nothing brings {mixture} to the hosts; "
            "say how with --prepare, a shell command that each runs in its checkout"
        )
    topology.check(arguments.overlay, arguments.type)
    words = [overlay_word(arguments.overlay), *arguments.overrides]
    if any(character in word for word in words for character in "\t\n"):
        raise InputError("an argument with a tab or a line end cannot be sent to the hosts")
    return Plan(
        words=tuple(words),
        config=config,
        kind=arguments.type,
        spot=arguments.spot,
        wait_s=arguments.wait * 3600,
        poll_s=arguments.poll,
        retries=arguments.retries,
        prepare=arguments.prepare,
    )


def overlay_word(path: Path) -> str:
    """The overlay as the hosts find it: relative to the checkout, which is the current folder."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError as error:
        raise InputError(f"{path}: must lie below the checkout {Path.cwd()}") from error


def check_checkout(path: str) -> None:
    """Raise `InputError` unless the current folder is a checkout whose commit is what will run."""
    try:
        top = output(["git", "rev-parse", "--show-toplevel"]).decode().strip()
        changed = output(["git", "status", "--porcelain", "--untracked-files=no"]).decode().split()
        tracked = output(["git", "ls-files", "--", path]).decode().strip()
    except CommandError as error:
        raise InputError(f"{Path.cwd()}: not a git checkout of this project") from error
    if Path(top) != Path.cwd():
        raise InputError(f"start this in the checkout's own folder, {top}")
    if changed or not tracked:
        raise InputError(
            f"{changed[1] if changed else path} is not committed: the hosts get the commit"
        )
