"""Files and folders that appear complete or not at all: written aside, then renamed."""

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tinymathreason.cli import InputError
from tinymathreason.parsing import parse_json
from tinymathreason.writes import PARTIAL, writing

_numbers = itertools.count()


def whole(folder: Path, pattern: str = "*") -> list[Path]:
    """The paths in ``folder`` that match a glob, sorted, without `PARTIAL` ones."""
    return [
        path
        for path in sorted(folder.glob(pattern))
        if all(PARTIAL not in Path(part).suffixes for part in path.relative_to(folder).parts)
    ]


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) under ``path``; a crash leaves the old content or the new."""
    content = text.encode("utf-8")
    with new_file(path, len(content)) as aside:
        aside.write_bytes(content)


def write_json(path: str | Path, value: Any) -> None:
    """`write_text` of ``value`` as indented JSON with sorted keys."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def new_file(final: str | Path, needed: int | None = None) -> Iterator[Path]:
    """A path to write to, which gets its final name only when the block ends without an error.

    Its name is hidden and ends with `PARTIAL`. What a killed writer left there is overwritten. A
    failed write raises `WriteError`; ``needed`` is the size of the file in bytes, if known.
    """
    final = Path(final)
    with writing(final, needed), _made(final.parent), _aside(final) as aside:
        with writing(
            final, needed
        ):  # before the partial file is removed, so that the free space is right
            yield aside
        aside.replace(final)


@contextlib.contextmanager
def _aside(final: Path) -> Iterator[Path]:
    """An empty file beside ``final`` that no other writer uses; it is removed after an error."""
    aside = final.with_name(f".{final.name}{PARTIAL}")
    handle = _lock_file(aside)
    if handle is None:
        # Hosts that share a file system may write the same file at the same time.
        writer = f"{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"
        aside = final.with_name(f".{final.name}.{writer}{PARTIAL}")
        handle = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666)
    try:
        yield aside
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    finally:
        os.close(handle)


def _lock_file(path: Path) -> int | None:
    """The handle of an empty file that only this writer has locked; None when that fails."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(handle, path):
                os.truncate(handle, 0)
                return handle
        except OSError:
            os.close(handle)
            return None
        os.close(handle)


def _is(handle: int, path: Path) -> bool:
    """Whether the opened file is still at ``path``; its last owner may have renamed it."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Create a folder and its parents; after an error, the new ones are removed if empty."""
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in missing:
                path.rmdir()
        raise


def read_json(path: str | Path) -> Any:
    """The value in a JSON file; `InputError` when it is missing or malformed."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return parse_json(path.read_bytes(), path)


def read_json_lines(path: str | Path) -> Iterator[Any]:
    """The values in a JSONL file, one on each line; `InputError` names the line."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield parse_json(line, f"{path}:{number}")


@contextlib.contextmanager
def new_directory(
    final: str | Path, replace: bool = False, inputs: Iterable[str | Path] = ()
) -> Iterator[Path]:
    """A folder to fill, which gets its final name only when the block ends without an error.

    What a killed attempt left is removed first. With ``replace`` an older folder is replaced at the
    end, unless one of ``inputs`` is in it. `InputError` when ``final`` already exists or another
    process is filling it.
    """
    final = Path(final)
    if not final.name or ":/" in str(final):
        raise InputError(f"{final}: not the name of a local folder")
    if replace and (final.is_symlink() or (final.exists() and not final.is_dir())):
        raise InputError(f"{final}: is not a folder; remove it first or name another")
    for path in inputs if replace else ():
        if Path(path).resolve().is_relative_to(final.resolve()):
            raise InputError(f"{final}: replacing it would remove the input {path}")
    aside = final.with_name(final.name + PARTIAL)
    replaced = final.with_name(final.name + f"{PARTIAL}.replaced")
    with writing(final), _locked(aside, "writing"):
        for path in aside.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if replaced.exists():
            # Killed between the two renames below: the older folder is complete and is restored.
            shutil.rmtree(replaced) if final.exists() else replaced.replace(final)
        if final.exists() and not replace:
            aside.rmdir()
            raise InputError(f"{final}: already exists; remove it first or name another folder")
        try:
            with writing(final):
                yield aside
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        if replace and final.exists():
            final.replace(replaced)
        aside.replace(final)
        if replaced.exists():
            shutil.rmtree(replaced)


@contextlib.contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """Lock ``folder``, which is created if necessary; the kernel unlocks it when the process dies.

    It is removed when an error leaves it empty. Raises `InputError` saying that another process is
    ``doing`` there, and `WriteError` for a failed write in the block.
    """
    with writing(folder), _locked(folder, doing):
        yield


@contextlib.contextmanager
def _locked(folder: Path, doing: str) -> Iterator[None]:
    with _made(folder.parent):
        made = not folder.exists()
        handle = _lock_folder(folder, doing)
        try:
            yield
        except BaseException:
            # While the lock is held; later the folder may be another process's.
            if made and _is(handle, folder):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise
        finally:
            os.close(handle)


def _lock_folder(folder: Path, doing: str) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # its last owner renamed or removed it
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise InputError(f"{folder}: another process is {doing} there") from None
        if _is(handle, folder):
            return handle
        os.close(handle)
