"""The provenance of an artefact: commit, command line, versions, processor and time."""

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
    "datatrove", "numpy", "scikit-learn", "pyarrow", "gigatoken", "tokenizers", "array-record",
    "maxtext", "jax", "orbax-checkpoint", "grain",
    "torch", "transformers", "trl", "peft", "safetensors", "lm-eval", "math-verify",
)  # fmt: skip


def commit() -> str | None:
    """The git commit of this checkout, ``-dirty`` when files differ; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        status = subprocess.run(
            # safe.directory: also in another user's folder, such as a container's mount. No locks:
            # killed, git would leave one that stops the user's next commit.
            ["git", "--no-optional-locks", "-c", f"safe.directory={root}", "status", "--branch",
             "--porcelain=v2", "--untracked-files=no"],
            cwd=root, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    lines = status.stdout.splitlines()
    commit = next(line.split()[-1] for line in lines if line.startswith("# branch.oid "))
    if commit == "(initial)":
        return None
    return commit if all(line.startswith("#") for line in lines) else f"{commit}-dirty"


def versions() -> dict[str, str]:
    """Versions of the installed packages that influence a result."""
    versions = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


ASKING = (
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "chat_template.json",
    "additional_chat_templates/*.jinja", "vocab.json", "vocab.txt", "merges.txt", "*.model",
)  # fmt: skip
"""Files that decide a model's prompts and its end of an answer, apart from config.json."""


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def files_hash(files: Iterable[Path], folder: Path) -> str:
    """SHA-256 over the names and the SHA-256 of some files in ``folder``."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file_hash(file)}  {file.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def model_hash(model: Path) -> str:
    """SHA-256 of the files that a folder's model is loaded from: config.json and the weights.

    Raises `InputError` for weights that cannot be loaded: see `tinymathreason.weights`.
    """
    return files_hash([model / "config.json", *weight_files(model)], model)


def asking_hash(model: Path) -> str:
    """SHA-256 of a folder's tokenizer, chat templates and generation configuration."""
    files = {path for pattern in ASKING for path in model.glob(pattern) if path.is_file()}
    return files_hash(sorted(files), model)


def record() -> "Provenance":
    """The current commit, command line, versions, processor and UTC time."""
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
