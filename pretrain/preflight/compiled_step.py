"""The compiled train step of an overlay on a topology, from the compiler or from a cache."""

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
"""Prefixes of the keys that do not change the compiled step and are left out of the cache key."""

FIXED = [
    "base_output_directory=", "run_name=preflight", "dataset_type=synthetic", "log_config=false",
    "enable_checkpointing=false", "skip_jax_distributed_system=true", "jax_cache_dir=",
]  # fmt: skip
"""Overrides that come last: compiling needs no data, no tokenizer and no checkpoint."""


@dataclass(frozen=True, kw_only=True)
class CompiledStep:
    """The compiled train step of one overlay on one topology."""

    model: Model
    devices: int
    tokens: int
    """Tokens of one step, over all devices."""

    state_bytes: int
    """Bytes of weights and optimiser state, over all devices."""

    costs: Costs
    """Costs of one device; zeros when the step did not fit."""

    hbm: float
    """Bytes of device memory that the step needs on each device: arguments and temporaries."""

    host: float
    """Bytes of host memory for offloaded arrays, per device."""

    out_of_memory: str
    """XLA's message when the step did not fit; else empty."""

    largest: list[tuple[str, int]]
    """The largest arrays of a step that did not fit, with their bytes over all devices."""


def cache_directory() -> Path:
    """The folder of compiled steps: below ``$XDG_CACHE_HOME``, else below ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home, "tinymathreason", "preflight")


def key(config: dict[str, Any], topology: Topology) -> str:
    """The cache key of a program: a hash of its configuration, topology and compiler versions.

    Raises `InputError` when the compiler is not installed; libtpu, for example, has no ARM build.
    """
    decisive = {k: v for k, v in config.items() if not k.startswith(UNRELATED)}
    names = ("maxtext", "jax", "jaxlib", *(["libtpu"] if topology.platform == "tpu" else []))
    try:
        versions = {name: importlib.metadata.version(name) for name in names}
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed; it is needed to compile a step for {topology.name}"
        ) from error
    text = json.dumps([decisive, topology.name, versions], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def compiled_step(path: Path, topology: Topology, overrides: Sequence[str] = ()) -> CompiledStep:
    """The train step of an overlay for ``topology``, compiled now or read from the cache.

    Raises `InputError` for an invalid overlay, and with the compiler's message when it fails for
    another reason than memory.
    """
    config = overlay.load(path, overrides)
    entry = cache_directory() / key(config, topology)
    if not entry.exists():
        check_room(entry)
        with new_directory(entry) as folder:
            _compile(path, folder, [*overrides, *topology.overrides, *FIXED], topology)
    return read(entry)


def read(entry: Path) -> CompiledStep:
    """The compiled step in a folder of the cache."""
    summary = read_json(entry / "step.json")
    counted = Costs()
    if "out_of_memory" not in summary:
        with gzip.open(entry / "step.hlo.gz", "rt", encoding="utf-8") as file:
            counted = costs.count(hlo.parse(file.read()), summary["devices"])
    memory = summary.get("memory", {"arguments": 0, "temporaries": 0, "host": 0})
    return CompiledStep(
        model=Model(**summary["model"]),
        devices=summary["devices"],
        tokens=summary["tokens"],
        state_bytes=summary["state_bytes"],
        costs=counted,
        hbm=memory["arguments"] + memory["temporaries"],
        host=memory["host"],
        out_of_memory=summary.get("out_of_memory", ""),
        largest=[(shape, size) for shape, size in summary.get("largest", [])],
    )


def _compile(path: Path, folder: Path, overrides: Sequence[str], topology: Topology) -> None:
    environment = {**os.environ, "JAX_PLATFORMS": "cuda" if topology.platform == "cuda" else "cpu"}
    process = subprocess.run(
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
        lines = process.stderr.strip().splitlines() or ["no message"]
        errors = [line for line in lines if re.match(r"[\w.]*(Error|error|Exception)\b", line)]
        raise InputError(
            f"{path}: {topology.name}: MaxText or XLA cannot compile it: "
            f"{(errors or lines)[-1]:.400}"
        )


def needed(message: str) -> str:
    """The memory that XLA needed and had, as in its message; else the message's first line."""
    for pattern in (r"Used ([\d.]+)G of ([\d.]+)G", r"\(([\d.]+)G\) exceeds .*\(([\d.]+)G\)"):
        if match := re.search(pattern, message):
            return f"{match.group(1)} of {match.group(2)} GiB"
    return message.splitlines()[0][:200]
