"""Hashes of the files that finished tasks wrote, checked before a build continues."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from data_prep.mixture import describe, fault
from data_prep.stages.artifacts import ARTIFACTS
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json
from tinymathreason.records.mixture import WrittenFile


def record(folder: Path, stage: str, rank: int) -> None:
    """Record the sizes and hashes of the files that a task wrote."""
    written = [artifact for artifact in ARTIFACTS if artifact.writer == stage]
    paths = [path for artifact in written for path in artifact.files(folder, rank)]
    write_json(
        _hashes(folder, stage, rank), [describe(folder, path).model_dump() for path in paths]
    )


def check(folder: Path, workers: int) -> None:
    """Raise `InputError` when a file of a finished task has changed since it was written."""
    entries: list[WrittenFile] = []
    for done in sorted(folder.glob("logs/*/completions/[0-9]????")):
        path = _hashes(folder, done.parent.parent.name, int(done.name))
        entries += [WrittenFile(**entry) for entry in read_json(path)] if path.exists() else []
    if not entries:
        return
    size = sum(entry.bytes for entry in entries)
    print(f"{folder}: checking {len(entries):,} files, {size / 1e6:,.1f} MB", file=sys.stderr)
    with ThreadPoolExecutor(workers) as pool:
        faults = pool.map(lambda entry: fault(folder / entry.path, entry), entries)
        for line in filter(None, faults):
            raise InputError(f"{line}; {folder} is damaged: remove it to start over")


def _hashes(folder: Path, stage: str, rank: int) -> Path:
    return folder / "hashes" / stage / f"{rank:05}.json"
