"""An overlay and a topology in; what XLA makes of its train step out, once known from a cache."""

import gzip
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain import overlay
from pretrain.model import Model
from pretrain.preflight import costs, hlo
from pretrain.preflight.costs import Costs
from pretrain.topology import Topology
from tinymathreason.cli import InputError
from tinymathreason.files import new_directory, read_json
from tinymathreason.writes import check_room

UNRELATED = (
    "base_output_directory", "run_name", "grain_", "tokenizer", "tokenize_", "checkpoint_", "eval_",
    "max_num_checkpoints", "num_epoch", "metrics_", "log_", "jax_cache_dir", "data_shuffle_seed",
)  # fmt: skip
"""Beginnings of the keys that do not change the compiled step; two overlays may share its entry."""

FIXED = [
    "base_output_directory=", "run_name=preflight", "dataset_type=synthetic", "log_config=false",
    "enable_checkpointing=false", "skip_jax_distributed_system=true", "jax_cache_dir=",
]  # fmt: skip
"""Given last: no data, tokenizer or checkpoint is needed to compile."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The compiled train step of one overlay on one topology."""

    model: Model
    devices: int
    tokens: int
    """Tokens of one step, all devices together."""

    state_bytes: int
    """Bytes of weights and optimiser state, all devices together."""

    costs: Costs
    """Of one device; zeros when the step did not fit."""

    hbm: float
    """Bytes of one device's memory that the step needs: its arguments and its temporaries."""

    host: float
    """Bytes of host memory for what is offloaded, per device."""

    out_of_memory: str
    """XLA's message when the step did not fit, else empty."""

    largest: list[tuple[str, int]]
    """The largest arrays of a step that did not fit, and their bytes over all devices."""


def cache_directory() -> Path:
    """Where compiled steps are kept: in ``$XDG_CACHE_HOME``, else in ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home, "tinymathreason", "preflight")


def key(config: dict[str, Any], topology: Topology) -> str:
    """A name for what decides the program: configuration, topology and the compiler's versions.

    Raises `InputError` when a package of those is not installed, as libtpu is not on ARM.
    """
    decisive = {k: v for k, v in config.items() if not k.startswith(UNRELATED)}
    names = ("maxtext", "jax", "jaxlib", *(["libtpu"] if topology.platform == "tpu" else []))
    try:
        versions = {name: importlib.metadata.version(name) for name in names}
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed, and no step is compiled for {topology.name} without it"
        ) from error
    text = json.dumps([decisive, topology.name, versions], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def profile(path: Path, topology: Topology, overrides: Sequence[str] = ()) -> Profile:
    """Compile the overlay's train step for ``topology``, or read the cache of an earlier time.

    Raises `InputError` for a wrong overlay, and with XLA's first line when it refuses the step for
    another reason than memory.
    """
    config = overlay.load(path, overrides)
    entry = cache_directory() / key(config, topology)
    if not entry.exists():
        check_room(entry)
        with new_directory(entry) as folder:
            _compile(path, folder, [*overrides, *topology.overrides, *FIXED], topology)
    return read(entry)


def read(entry: Path) -> Profile:
    """The profile that a folder of the cache holds."""
    found = read_json(entry / "step.json")
    counted = Costs()
    if "out_of_memory" not in found:
        with gzip.open(entry / "step.hlo.gz", "rt", encoding="utf-8") as file:
            counted = costs.count(hlo.parse(file.read()), found["devices"])
    memory = found.get("memory", {"arguments": 0, "temporaries": 0, "host": 0})
    return Profile(
        model=Model(**found["model"]),
        devices=found["devices"],
        tokens=found["tokens"],
        state_bytes=found["state_bytes"],
        costs=counted,
        hbm=memory["arguments"] + memory["temporaries"],
        host=memory["host"],
        out_of_memory=found.get("out_of_memory", ""),
        largest=[(shape, size) for shape, size in found.get("largest", [])],
    )


def _compile(path: Path, folder: Path, overrides: Sequence[str], topology: Topology) -> None:
    environment = {**os.environ, "JAX_PLATFORMS": "cuda" if topology.platform == "cuda" else "cpu"}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pretrain.preflight.compile_step",
            str(path),
            str(folder),
            *overrides,
        ],
        capture_output=True,
        text=True,
        env=environment,
    )
    if not (folder / "step.json").is_file():
        lines = done.stderr.strip().splitlines() or ["no message"]
        errors = [line for line in lines if re.match(r"[\w.]*(Error|error|Exception)\b", line)]
        raise InputError(
            f"{path}: {topology.name}: MaxText or XLA refuses to compile it: "
            f"{(errors or lines)[-1]:.400}"
        )


def needed(message: str) -> str:
    """How much memory XLA wanted of how much, in its own numbers, or its first line."""
    for pattern in (r"Used ([\d.]+)G of ([\d.]+)G", r"\(([\d.]+)G\) exceeds .*\(([\d.]+)G\)"):
        if found := re.search(pattern, message):
            return f"{found.group(1)} of {found.group(2)} GiB"
    return message.splitlines()[0][:200]
