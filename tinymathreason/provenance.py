"""Where an artefact comes from: commit, command line, versions, processor and time."""

import datetime
import hashlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tinymathreason import processor
from tinymathreason.weights import weight_files

if TYPE_CHECKING:
    from tinymathreason.records.provenance import Provenance

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


ASKING = (
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "chat_template.json",
    "additional_chat_templates/*.jinja", "vocab.json", "vocab.txt", "merges.txt", "*.model",
)  # fmt: skip
"""What decides how a model is asked and when it stops, beside its configuration."""


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def files_hash(files: Iterable[Path], folder: Path) -> str:
    """SHA-256 over the names in ``folder``, and the SHA-256 of each, of some files of it."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file_hash(file)}  {file.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def model_hash(model: Path) -> str:
    """SHA-256 of what a folder's network is loaded from: its configuration and its weights.

    Raises `InputError` for weights that are not loaded: see `tinymathreason.weights`.
    """
    return files_hash([model / "config.json", *weight_files(model)], model)


def asking_hash(model: Path) -> str:
    """SHA-256 of a folder's tokenizer, chat templates and generation configuration."""
    found = {path for pattern in ASKING for path in model.glob(pattern) if path.is_file()}
    return files_hash(sorted(found), model)


def record() -> "Provenance":
    """Commit, command line, versions, processor and UTC time of now."""
    from tinymathreason.records.provenance import Provenance

    return Provenance(
        commit=commit(),
        command=["python", *sys.orig_argv[1:]],
        versions=versions(),
        processor=processor.record(),
        time=now(),
    )


def now() -> str:
    """The UTC time, in ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
