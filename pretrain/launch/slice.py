"""A TPU slice: the gcloud commands that create, reach and delete it, and their output.

Every command is a list of words that can be run or printed. Flags and states are those of
`gcloud compute tpus queued-resources` and `tpu-vm` (Google Cloud SDK 528).
"""

import dataclasses
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pretrain.launch import outcome
from pretrain.launch.outcome import Host
from tinymathreason.checkpoints import MAXTEXT_FILES, maxtext_complete
from tinymathreason.cli import InputError

RUNTIMES = {
    "v4": "tpu-ubuntu2204-base",
    "v5litepod": "v2-alpha-tpuv5-lite",
    "v5p": "v2-alpha-tpuv5",
    "v6e": "v2-alpha-tpuv6e",
}
"""The image of a TPU's hosts by its generation, from https://cloud.google.com/tpu/docs/runtimes."""

ABSENT = "ABSENT"
"""This project's name for the state of a queued resource or node that does not exist."""

GONE = {"SUSPENDED", "FAILED", ABSENT}
"""States of a queued resource whose hosts are lost."""

NODE_GONE = {"PREEMPTED", "TERMINATED", "STOPPED", "HIDDEN", ABSENT}
"""States of a node whose hosts are lost; its queued resource may show it only later."""

CHECKOUT = "tinymathreason"
"""Folder of this project in the home directory of a host."""

SCRIPT = f"{CHECKOUT}/pretrain/launch/host.sh"

PROBE = f"""if test -f {SCRIPT}; then bash {SCRIPT} probe; \
else printf '@host\\t%s\\n' "$(hostname)"; fi"""
"""Host command: print the line of ``host.sh probe``, or the name of a host without the project."""


class CommandError(InputError):
    """A command failed; ``missing`` is true when the resource that it names does not exist."""

    def __init__(self, command: Sequence[str], stderr: str) -> None:
        lines = [line for line in stderr.splitlines() if line.strip()] or ["no reason given"]
        # Errors of gcloud, of this project and of uv start like this.
        errors = [line for line in lines if line.lower().startswith("error:")]
        reason = (errors or lines[-1:])[0]
        super().__init__(f"{shlex.join(command[:4])}: {reason}")
        self.missing = "NOT_FOUND" in stderr or "matched no objects" in stderr


def output(command: Sequence[str], shown: bool = False) -> bytes:
    """The output of ``command``; `CommandError` when it fails, `InputError` when it is missing.

    With ``shown`` the output is printed and not returned.
    """
    pipe = None if shown else subprocess.PIPE
    try:
        process = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.PIPE
        )
    except FileNotFoundError as error:
        raise InputError(
            f"{command[0]} is not on the path; gcloud comes with the Google Cloud SDK "
            "(https://cloud.google.com/sdk/docs/install)"
        ) from error
    if process.returncode:
        raise CommandError(command, process.stderr.decode(errors="replace"))
    return process.stdout or b""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """The name and place of a slice. Its queued resource and its only node share the name."""

    name: str
    """Name of the queued resource and of the node."""
    zone: str
    """Google Cloud zone, such as us-central2-b."""
    project: str
    """Google Cloud project that is billed."""

    def _tpus(self, group: str, verb: str, *words: str) -> list[str]:
        place = [f"--zone={self.zone}", f"--project={self.project}", "--quiet"]
        return ["gcloud", "compute", "tpus", group, verb, *words, *place]

    def create(self, tpu_type: str, spot: bool, wait_s: float) -> list[str]:
        """Request the slice; Google drops a request that it cannot serve within ``wait_s``.

        ``tpu_type`` is v4-32, v5e-16 (or v5litepod-16), v5p-16, v6e-16 or another size of these.
        """
        generation, _, size = tpu_type.replace("v5e-", "v5litepod-").partition("-")
        if generation == "tpu7x":
            # https://docs.cloud.google.com/compute/docs/tpus/tpu-resources-in-compute-engine
            raise InputError(
                f"--type {tpu_type}: Google serves Ironwood in Compute Engine and GKE only; use "
                "pretrain/launch/gke/xpk.sh"
            )
        if generation not in RUNTIMES or not size.isdigit():
            raise InputError(
                f"--type {tpu_type}: expected a type such as v4-32, v5e-16, v5p-16 or v6e-16"
            )
        return self._tpus(
            "queued-resources",
            "create",
            self.name,
            f"--node-id={self.name}",
            f"--accelerator-type={generation}-{size}",
            f"--runtime-version={RUNTIMES[generation]}",
            f"--valid-until-duration={max(1, int(wait_s))}s",
            *(["--spot"] if spot else []),
        )

    def describe(self, field: str = "state.state") -> list[str]:
        """Print a field of the queued resource."""
        return self._tpus("queued-resources", "describe", self.name, f"--format=value({field})")

    def describe_node(self) -> list[str]:
        """Print the state of the node."""
        return self._tpus("tpu-vm", "describe", self.name, "--format=value(state)")

    def delete(self) -> list[str]:
        """Delete the queued resource and its node; returns when both are gone."""
        return self._tpus("queued-resources", "delete", self.name, "--force")

    def copy(self, file: Path) -> list[str]:
        """Copy a file into the home directory of every host."""
        return self._tpus("tpu-vm", "scp", str(file), f"{self.name}:", "--worker=all")

    def ssh(self, command: str, worker: str = "all") -> list[str]:
        """Run a command in the home directory of one host or all; fails when one of them fails."""
        return self._tpus("tpu-vm", "ssh", self.name, f"--worker={worker}", f"--command={command}")

    def state(self) -> str:
        """State of the queued resource, `ABSENT` when there is none."""
        return _state(self.describe())

    def node_state(self) -> str:
        """State of the node, `ABSENT` when there is none."""
        return _state(self.describe_node())

    def probe(self) -> list[Host]:
        """The report of every host; `CommandError` when one of them cannot be reached."""
        return outcome.hosts(output(self.ssh(PROBE)).decode(errors="replace"))


def _state(command: Sequence[str]) -> str:
    try:
        return output(command).decode().strip() or "STATE_UNSPECIFIED"
    except CommandError as error:
        if error.missing:
            return ABSENT
        raise


def install(bundle: Path, prepare: str) -> str:
    """Host command: check out the copied commit, install it and run the operator's ``prepare``."""
    return (
        f"if test -f {SCRIPT}; then bash {SCRIPT} free; fi && "
        f"git init --quiet {CHECKOUT} && cd {CHECKOUT} && "
        f"git fetch --quiet ../{shlex.quote(bundle.name)} HEAD && "
        "git checkout --quiet --force --detach FETCH_HEAD && "
        f"bash pretrain/launch/host.sh install {shlex.quote(prepare)}"
    )


def on_host(verb: str, *words: str) -> str:
    """Host command: run a verb of pretrain/launch/host.sh."""
    return shlex.join(["bash", SCRIPT, verb, *words])


def checkpoint_files(config: dict[str, Any]) -> list[str]:
    """The command that lists the files with which Orbax marks complete checkpoints in a bucket."""
    folder = f"{config['base_output_directory'].rstrip('/')}/{config['run_name']}/checkpoints"
    return ["gcloud", "storage", "ls", *(f"{folder}/*/{name}" for name in MAXTEXT_FILES)]


def step_reached(config: dict[str, Any]) -> int:
    """The newest step with a complete checkpoint, -1 when there is none."""
    try:
        listing = output(checkpoint_files(config)).decode()
    except CommandError as error:
        if error.missing:
            return -1
        raise
    files: dict[int, list[str]] = {}
    for step, name in re.findall(r"/checkpoints/(\d+)/(\S+)", listing):
        files.setdefault(int(step), []).append(name)
    return max((step for step, names in files.items() if maxtext_complete(names)), default=-1)
