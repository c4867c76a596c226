"""Hashes of what finished tasks have written, checked before a build goes on from it."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from data_prep.mixture import Entry, describe, fault
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json

WRITTEN = {
    "documents": (
        "documents/{}.parquet", "early/{}.jsonl", "fingerprints/{}.npy", "ids/{}.bin",
        "ids/{}.npy", "counts/{}.json", "keys/{}/[0-9]????.npy",
    ),
    "duplicates": ("pairs/{}.npy", "bounds/{}.npy"),
    "decisions": ("decisions/[0-9]????.npy",),
    "tokenizer": ("tokenizer/*",),
    "records": (
        "train/{}.array_record", "eval/{}.array_record", "rejected/{}.jsonl", "written/{}.json",
    ),
}  # fmt: skip
"""What a task of a stage leaves in the working folder, by the task's number."""


def record(folder: Path, stage: str, rank: int) -> None:
    """Keep the sizes and hashes of what a task has written."""
    patterns = [pattern.format(f"{rank:05}") for pattern in WRITTEN.get(stage, ())]
    paths = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    write_json(_hashes(folder, stage, rank), [describe(folder, path) for path in paths])


def check(folder: Path, workers: int) -> None:
    """Raise `InputError` when what finished tasks have written is not as they wrote it."""
    entries: list[Entry] = []
    for done in sorted(folder.glob("logs/*/completions/[0-9]????")):
        path = _hashes(folder, done.parent.parent.name, int(done.name))
        # A build that began before they were kept has none.
        entries += read_json(path) if path.exists() else []
    if not entries:
        return
    size = sum(entry["bytes"] for entry in entries)
    print(f"{folder}: checking {len(entries):,} files, {size / 1e6:,.1f} MB", file=sys.stderr)
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda entry: fault(folder / entry["path"], entry), entries)
        for why in filter(None, found):
            raise InputError(f"{why}; {folder} is damaged: remove it to start over")


def _hashes(folder: Path, stage: str, rank: int) -> Path:
    return folder / "hashes" / stage / f"{rank:05}.json"
