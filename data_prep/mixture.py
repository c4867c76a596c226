"""A built mixture's folder: the files that its manifest names, and whether any has changed."""

import fnmatch
import glob
from collections.abc import Iterable
from pathlib import Path

from tinymathreason.cli import InputError
from tinymathreason.provenance import file_hash
from tinymathreason.records.mixture import Mixture, WrittenFile

CHEAP = 1 << 29
"""Bytes whose SHA-256 takes about a second; of larger mixtures only names and sizes are compared.

ArrayRecord has a hash of each chunk and refuses a damaged one too, but only when it is read.
"""
MANIFEST = "manifest.json"
"""Counts, inputs and hashes; it is written last, so a folder that has it is complete."""
NAMED = 3
"""Faults that a message names; the others are only counted."""


def describe(folder: Path, path: Path) -> WrittenFile:
    """The manifest's entry for a file of the folder."""
    return WrittenFile(
        path=path.relative_to(folder).as_posix(),
        bytes=path.stat().st_size,
        sha256=file_hash(path),
    )


def check(folder: Path, manifest: Mixture) -> None:
    """Raise `InputError` unless every file of the manifest is in the folder and unchanged."""
    if damage := faults(folder, [*manifest.shards, *manifest.files]):
        raise InputError(f"{folder} is damaged: {damage}; remove it and build again")


def check_read(pattern: str) -> None:
    """Raise `InputError` unless an absolute glob matches the files of the manifests, unchanged.

    The last two parts of the glob are the sources and their files; a folder without a manifest is
    not a mixture and is not checked.
    """
    head, source, name = pattern.rsplit("/", 2)
    for folder in map(Path, glob.glob(head or "/")):
        if not (folder / MANIFEST).is_file():
            continue
        entries = {entry.path: entry for entry in Mixture.load(folder / MANIFEST).shards}
        matches = glob.glob(f"{glob.escape(str(folder))}/{source}/{name}")
        matched = {Path(path).relative_to(folder).as_posix() for path in matches}
        foreign = sorted(matched - entries.keys())[:NAMED]
        added = [f"{folder / path} is not in its manifest" for path in foreign]
        expected = [
            e for path, e in entries.items() if fnmatch.fnmatchcase(path, f"{source}/{name}")
        ]
        if damage := "; ".join(filter(None, [*added, faults(folder, expected)])):
            raise InputError(
                f"{folder} is not complete: {damage}; copy it again, or remove it and build"
            )


def faults(folder: Path, entries: Iterable[WrittenFile]) -> str:
    """What is wrong with the files of these entries, in words; empty if nothing is."""
    paths = [(folder / entry.path, entry) for entry in entries]
    size = sum(path.stat().st_size for path, _ in paths if path.is_file())
    lines = [line for path, entry in paths if (line := fault(path, entry, size <= CHEAP))]
    more = f" and {len(lines) - NAMED:,} more" if len(lines) > NAMED else ""
    return "; ".join(lines[:NAMED]) + more


def fault(path: Path, entry: WrittenFile, with_hash: bool = True) -> str | None:
    """What is wrong with a file, in words; None if it agrees with its entry."""
    if not path.is_file():
        return f"{path} is missing"
    size = path.stat().st_size
    if size != entry.bytes:
        return f"{path} has {size:,} bytes, not {entry.bytes:,}"
    if with_hash and file_hash(path) != entry.sha256:
        return f"{path} has another SHA-256 than when it was written"
    return None


def glob_of(folder: Path, name: str) -> str:
    """The pattern of a source's training shards for MaxText, in which the folder is escaped."""
    path = glob.escape(str(folder / name))
    # MaxText would take a relative folder of this name for someone's home.
    return f"{'[~]' + path[1:] if path.startswith('~') else path}/train-*"
