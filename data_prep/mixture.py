"""A built mixture's folder: what was written there, and whether all of it still is."""

import fnmatch
import glob
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tinymathreason.cli import InputError
from tinymathreason.files import read_json
from tinymathreason.provenance import file_hash

CHEAP = 1 << 29
"""Bytes whose SHA-256 takes about a second; of larger mixtures names and sizes are compared.

A record that is damaged inside is also refused by ArrayRecord, which has a hash of each chunk, but
only when training comes to it.
"""
MANIFEST = "manifest.json"
"""Counts, inputs and hashes; in a folder that has it everything else is there."""
TOLD = 3
"""Faults that a message names; the others are counted."""

Entry = dict[str, Any]
"""A file as the manifest has it: ``path`` in the folder, ``bytes`` and ``sha256``."""


def describe(folder: Path, path: Path) -> Entry:
    """The manifest's entry of a file of the folder."""
    return {
        "path": path.relative_to(folder).as_posix(),
        "bytes": path.stat().st_size,
        "sha256": file_hash(path),
    }


def shards(manifest: dict[str, Any]) -> list[Entry]:
    """The entries of all ArrayRecord files."""
    return [shard for source in manifest["sources"].values() for shard in source["shards"]]


def check(folder: Path, manifest: dict[str, Any]) -> None:
    """Raise `InputError` unless the folder holds every file of its manifest, whole."""
    if found := faults(folder, [*shards(manifest), *manifest.get("files", [])]):
        raise InputError(f"{folder} is damaged: {found}; remove it and build again")


def check_read(pattern: str) -> None:
    """Raise `InputError` unless an absolute glob matches what the mixtures' manifests say, whole.

    Its last two parts are the sources and their files; a folder without a manifest is not ours.
    """
    head, source, name = pattern.rsplit("/", 2)
    for folder in map(Path, glob.glob(head or "/")):
        if not (folder / MANIFEST).is_file():
            continue
        entries = {entry["path"]: entry for entry in shards(read_json(folder / MANIFEST))}
        matches = glob.glob(f"{glob.escape(str(folder))}/{source}/{name}")
        found = {Path(path).relative_to(folder).as_posix() for path in matches}
        told = [f"{folder / path} is not of it" for path in sorted(found - entries.keys())[:TOLD]]
        wanted = [e for path, e in entries.items() if fnmatch.fnmatchcase(path, f"{source}/{name}")]
        if why := "; ".join(filter(None, [*told, faults(folder, wanted)])):
            raise InputError(f"{folder} is not whole: {why}; copy it again, or remove it and build")


def faults(folder: Path, entries: Iterable[Entry]) -> str:
    """What is wrong with the files of these entries, in words; empty when nothing is."""
    paths = [(folder / entry["path"], entry) for entry in entries]
    size = sum(path.stat().st_size for path, _ in paths if path.is_file())
    found = [why for path, entry in paths if (why := fault(path, entry, size <= CHEAP))]
    more = f" and {len(found) - TOLD:,} more" if len(found) > TOLD else ""
    return "; ".join(found[:TOLD]) + more


def fault(path: Path, entry: Entry, with_hash: bool = True) -> str | None:
    """What is wrong with a file, in words; None when it is as its entry says."""
    if not path.is_file():
        return f"{path} is missing"
    size = path.stat().st_size
    # Manifests of older builds hold no sizes.
    if size != entry.get("bytes", size):
        return f"{path} has {size:,} bytes, not {entry['bytes']:,}"
    if with_hash and file_hash(path) != entry["sha256"]:
        return f"{path} has another SHA-256 than was written"
    return None


def glob_of(folder: Path, name: str) -> str:
    """The pattern of a source's training shards, as MaxText takes it: the folder means itself."""
    path = glob.escape(str(folder / name))
    # It would take a relative folder of this name for someone's home.
    return f"{'[~]' + path[1:] if path.startswith('~') else path}/train-*"
