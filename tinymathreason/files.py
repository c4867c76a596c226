"""Writes that are whole or absent: everything is written aside, then renamed."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tinymathreason.cli import InputError


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) under ``path``; a crash leaves the old content or the new."""
    with new_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """`write_text` of ``value`` as indented JSON with sorted keys."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def new_file(final: str | Path) -> Iterator[Path]:
    """A path to write, which takes its final name only when the block ends without an error."""
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    # Hosts that share a file system may write the same file at once.
    writer = f"{socket.gethostname()}-{os.getpid()}"
    aside = final.with_name(f"{final.stem}.{writer}.partial{final.suffix}")
    try:
        yield aside
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    aside.replace(final)


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
def new_directory(
    final: str | Path, replace: bool = False, inputs: Iterable[str | Path] = ()
) -> Iterator[Path]:
    """A folder to fill, which takes its final name only when the block ends without an error.

    A leftover of a killed attempt is removed first. With ``replace`` an older folder makes way at
    the end, unless one of ``inputs`` is in it. `InputError` when ``final`` already exists or
    another process is filling it.
    """
    final = Path(final)
    if not final.name or ":/" in str(final):
        raise InputError(f"{final}: not the name of a local folder")
    if replace and (final.is_symlink() or (final.exists() and not final.is_dir())):
        raise InputError(f"{final}: is no folder; remove it first or name another")
    for path in inputs if replace else ():
        if Path(path).resolve().is_relative_to(final.resolve()):
            raise InputError(f"{final}: replacing it would remove the input {path}")
    aside = final.with_name(final.name + ".partial")
    replaced = final.with_name(final.name + ".partial.replaced")
    with locked(aside, "writing"):
        for path in aside.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if replaced.exists():
            # Killed between the two renames below: the older folder is whole, and comes back.
            shutil.rmtree(replaced) if final.exists() else replaced.replace(final)
        if final.exists() and not replace:
            aside.rmdir()
            raise InputError(f"{final}: already exists; remove it first or name another folder")
        try:
            yield aside
        except BaseException:
            shutil.rmtree(aside)
            raise
        if replace and final.exists():
            final.replace(replaced)
        aside.replace(final)
        if replaced.exists():
            shutil.rmtree(replaced)


def check_replaceable(folder: Path, manifest: str, kind: str, names: Iterable[str]) -> None:
    """Raise `InputError` unless ``folder`` is absent, or wholly what a command of ours made.

    Its ``manifest`` must say that it is of this ``kind``, and it may hold the files of those
    ``names`` and no other: what a user put there is not ours to replace.
    """
    if not folder.exists():
        return
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
    whole = manifest in found and read_json(folder / manifest).get("kind") == kind
    if not whole or found - {manifest, *names}:
        raise InputError(f"{folder}: is not, or not only, made by {kind}; name another folder")


@contextlib.contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """Hold ``folder`` alone, made if need be; the kernel lets go of it when this process dies.

    Raises `InputError` saying that another process is ``doing`` there.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise InputError(f"{folder}: another process is {doing} there") from None
        # Its last owner may have renamed it between our opening and our locking it.
        if folder.is_dir() and os.path.samestat(os.fstat(handle), folder.stat()):
            break
        os.close(handle)
    try:
        yield
    finally:
        os.close(handle)
