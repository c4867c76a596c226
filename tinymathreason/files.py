"""Writes that are whole or absent: everything is written aside, then renamed."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinymathreason.cli import InputError


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) under ``path``; a crash leaves the old content or the new."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".partial")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def write_json(path: str | Path, value: Any) -> None:
    """`write_text` of ``value`` as indented JSON with sorted keys."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """The value in a JSON file; `InputError` when it is missing or malformed."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error


@contextlib.contextmanager
def new_directory(final: str | Path) -> Iterator[Path]:
    """A folder to fill, which takes its final name only when the block ends without an error.

    A leftover of a killed attempt is removed first. `InputError` when ``final`` already exists.
    """
    final = Path(final)
    if final.exists():
        raise InputError(f"{final}: already exists; remove it first or name another folder")
    aside = final.with_name(final.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    aside.replace(final)
