"""Where an artefact comes from: commit, command line, versions, processor and time."""

import datetime
import hashlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

from tinymathreason import processor

PACKAGES = (
    "datatrove", "numpy", "pyarrow", "gigatoken", "tokenizers", "array-record",
    "maxtext", "jax", "orbax-checkpoint", "grain",
    "torch", "transformers", "trl", "peft", "safetensors", "lm-eval", "math-verify",
)  # fmt: skip


def commit() -> str | None:
    """The git commit of this checkout, ``-dirty`` when files differ; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            # Of another user's folder too, as a container's mounts are.
            ["git", "-c", f"safe.directory={root}", "describe", "--always", "--dirty",
             "--abbrev=40", "--exclude=*"],
            cwd=root, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def versions() -> dict[str, str]:
    """Installed versions of the packages that shape a result; absent ones are left out."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def model_hash(model: Path) -> str:
    """SHA-256 over the SHA-256 of each of a folder's weight files, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as weights:
            digest.update(hashlib.file_digest(weights, "sha256").digest())
    return digest.hexdigest()


def record() -> dict[str, Any]:
    """Commit, command line, versions, processor and UTC time of now, ready for JSON."""
    return {
        "commit": commit(),
        "command": ["python", *sys.orig_argv[1:]],
        "versions": versions(),
        "processor": processor.record(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
