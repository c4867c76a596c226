"""Command: say in one line what was found of an NVIDIA GPU, or what is missing.

python -m pipeline.gpu

`make setup-gpu` ends with it. jax and torch are asked in processes of their own, since each would
keep memory of the card. The exit status is 2 when something is missing.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Sequence

from tinymathreason import cli
from tinymathreason.cli import InputError

OLDEST_DRIVER = 580
"""The first driver branch that runs CUDA 13, for which the packages in the lock are built."""
PROBES = {
    "jax": "import jax; print(jax.__version__, len(jax.devices()))",
    "torch": "import torch; torch.cuda.init(); print(torch.__version__, torch.cuda.device_count())",
}
"""Programs that print a package's version and the number of GPUs that it sees, or fail."""
JAX_PLUGIN = "jax_cuda13_plugin"
ENVIRONMENT = {"JAX_PLATFORMS": "cuda", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def cards() -> list[tuple[str, str, str]]:
    """Name, driver and memory in MiB of every card; `InputError` without a driver or a card."""
    query = ["nvidia-smi", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            [*query, "--query-gpu=name,driver_version,memory.total"], capture_output=True, text=True
        )
    except OSError as error:
        raise InputError(
            "no NVIDIA driver: nvidia-smi is not on the path; install driver "
            f"{OLDEST_DRIVER} or newer, and in a container start it with its GPUs"
        ) from error
    if done.returncode:
        raise InputError(f"no NVIDIA GPU: nvidia-smi: {_last_line(done.stdout + done.stderr)}")
    rows = (line.split(", ") for line in done.stdout.strip().splitlines())
    return [(name, driver, memory) for name, driver, memory in rows]


def seen(package: str) -> tuple[str, int]:
    """A package's version and how many GPUs it sees; `InputError` with its reason when none."""
    if package == "jax" and importlib.util.find_spec(JAX_PLUGIN) is None:
        raise InputError("jax has no plugin for CUDA: run make setup-gpu")
    environment = {**os.environ, **ENVIRONMENT}
    probe = [sys.executable, "-c", PROBES[package]]
    done = subprocess.run(probe, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{package} sees no GPU: {_last_line(done.stderr)}")
    version, count = done.stdout.split()
    return version, int(count)


def summary() -> str:
    """One line about the cards, the driver, and jax and torch; `InputError` for what is missing."""
    installed = cards()
    name, driver, memory = installed[0]
    if (branch := re.match(r"\d+", driver)) and int(branch[0]) < OLDEST_DRIVER:
        raise InputError(
            f"{name}: driver {driver} is too old for CUDA 13; install {OLDEST_DRIVER} or newer"
        )
    versions = []
    for package in PROBES:
        version, count = seen(package)
        # The user may show the programs only some of the cards.
        if count != len(installed) and "CUDA_VISIBLE_DEVICES" not in os.environ:
            raise InputError(f"{package} sees {count} of {len(installed)} GPUs")
        versions.append(f"{package} {version} sees {count}")
    # A card that shares the machine's memory has none of its own.
    size = f", {float(memory) * 2**20 / 1e9:.0f} GB each" if memory.isdigit() else ""
    return f"{len(installed)} x {name}{size}, driver {driver}; {', '.join(versions)}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # jax ends its errors with a ruler and a remark about its traceback.
    wrong = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (wrong or lines or ["it gives no reason"])[-1][:300]


def main(argv: Sequence[str]) -> None:
    """Parse the command line and print the line."""
    argparse.ArgumentParser(
        prog="pipeline.gpu", description="Say what was found of an NVIDIA GPU."
    ).parse_args(argv)
    print(summary())


if __name__ == "__main__":
    cli.run(main)
