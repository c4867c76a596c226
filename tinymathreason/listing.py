"""Lists the local or remote files that a path or a glob names, and leaves none out silently.

A part of a glob that exists under its exact spelling is a path: ``d[1]/*.jsonl`` are the files of
``d[1]`` if there is such a folder.
"""

import glob
import logging
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from tinymathreason.cli import InputError

VERSIONS = (
    "etag", "ETag", "md5Hash", "blob_id", "mtime", "updated", "LastModified", "last_modified",
    "modified", "created",
)  # fmt: skip
"""Fields of remote systems that change with a file's content, the most reliable first."""
MAGIC = re.compile(r"[*?[]")
"""Characters that make a component of a path a pattern."""


class UnreachableError(InputError):
    """Something on another machine cannot be reached."""


class File(NamedTuple):
    """A file that a path or a pattern names."""

    path: str
    """Its path, or its address if it is remote."""
    size: int
    """Its size in bytes; 0 if it has a fault."""
    version: int | str | None
    """Changes with its content: modification time in nanoseconds, or a remote system's field."""
    fault: str | None = None
    """Why it cannot be read, in words; None if it can."""


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Turn any error in the block into an `UnreachableError`, and silence the libraries' logs."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    except Exception as error:  # each library raises its own classes
        raise UnreachableError(f"{what}: {error}") from error
    finally:
        logging.disable(before)


def is_remote(path: str) -> bool:
    """Whether a path is an address, such as ``gs://bucket/file``."""
    return "://" in path


def list_files(name: str, pattern: str, skip: bool = False) -> list[File]:
    """The local or remote files that ``pattern`` names, sorted by name.

    Raises `InputError` naming ``name`` when there are none, when the place cannot be reached, and
    when a match cannot be read; with ``skip`` such a match is listed with its fault instead.
    """
    files = _remote(name, pattern) if is_remote(pattern) else _local(name, pattern)
    if not files:
        raise InputError(f"{name}: no file matches {pattern!r}")
    for file in files:
        if file.fault and not skip:
            raise InputError(f"{name}: {file.path} {file.fault}")
    return files


def warn_empty(name: str, files: Sequence[File]) -> None:
    """Warn on stderr of empty files, which are allowed but seldom intended."""
    empty = [file.path for file in files if not (file.size or file.fault)]
    if empty:
        line = f"{len(empty):,} of {len(files):,} files are empty, such as {empty[0]}"
        print(f"{name}: {line}", file=sys.stderr)


def list_folder(name: str, folder: str, skip: bool = False) -> list[File]:
    """All files below a local or remote folder; see `list_files`."""
    if not is_remote(folder):
        return list_files(name, f"{glob.escape(folder)}/**", skip)
    with reaching(f"{name}: {folder!r} cannot be listed"):
        system, path = _system(folder)
        listed = system.find(path, detail=True)
    return _described(system, listed)


def open_file(file: str) -> IO[bytes]:
    """Open a local or remote file for reading its stored bytes, with random access."""
    if not is_remote(file):
        return Path(file).open("rb")
    import fsspec

    opened: IO[bytes] = fsspec.open(file, "rb").open()
    return opened


def literal(path: str, exists: Callable[[str], bool] = os.path.lexists) -> int:
    """The length of the longest leading part of ``path`` that exists under its exact spelling."""
    end = len(path)
    while end > 0 and not exists(path[:end]):
        end = path.rfind("/", 0, end)
    return max(0, end)


def as_pattern(path: str, exists: Callable[[str], bool] = os.path.lexists) -> str:
    """``path`` as a glob, with the leading part escaped that exists under its exact spelling."""
    end = literal(path, exists)
    return glob.escape(path[:end]) + path[end:]


def _local(name: str, pattern: str) -> list[File]:
    if Path(pattern).is_dir():
        return _refuse_folder(name, pattern)
    pattern = as_pattern(pattern)
    folders = [_folder_fault(path) for path in _folders(pattern)]
    paths = sorted(glob.glob(pattern, recursive=True))
    if "**" in pattern:
        # It also matches the folders of these files.
        paths = [path for path in paths if not Path(path).is_dir()]
    return sorted([*filter(None, folders), *map(_file, paths)], key=_by_path)


def _refuse_folder(name: str, path: str) -> list[File]:
    hint = f"it is a folder, try {path.rstrip('/')}/*"
    raise InputError(f"{name}: no file matches {path!r}; {hint}")


def _folders(pattern: str) -> Iterable[str]:
    """Matches of the parts before the last slash: glob silently skips folders it cannot read."""
    parts = pattern.split("/")
    for end in range(1, len(parts)):
        if MAGIC.search(parts[end - 1]) and "**" not in parts[:end]:
            yield from sorted(glob.glob("/".join(parts[:end])))


def _folder_fault(path: str) -> File | None:
    """An unreadable folder, from which files may be missing; None for everything else."""
    if Path(path).is_symlink() and not Path(path).exists():
        return File(path, 0, None, "is a broken link")
    if Path(path).is_dir() and not os.access(path, os.R_OK | os.X_OK):
        return File(path, 0, None, "is a folder without read permission")
    return None


def _file(path: str) -> File:
    """The current state of a local file."""
    try:
        path.encode("utf-8")
        status = Path(path).stat()
    except UnicodeEncodeError:
        return File(ascii(path), 0, None, "has a name that is not UTF-8; rename it")
    except OSError as error:
        is_link = Path(path).is_symlink() and isinstance(error, FileNotFoundError)
        link = f"is a broken link to {Path(path).readlink()}" if is_link else None
        return File(path, 0, None, link or f"cannot be read: {error}")
    fault = None
    if stat.S_ISDIR(status.st_mode):
        fault = "is a folder: nothing in it would be read; narrow the pattern, or use **"
    elif not stat.S_ISREG(status.st_mode):
        fault = "is not a regular file"
    elif not os.access(path, os.R_OK):
        fault = "has no read permission; change its permissions"
    return File(path, 0 if fault else status.st_size, status.st_mtime_ns, fault)


def _system(path: str) -> tuple[Any, str]:
    import fsspec.core

    system, path = fsspec.core.url_to_fs(path)
    return system, path


def _remote(name: str, pattern: str) -> list[File]:
    with reaching(f"{name}: {pattern!r} cannot be listed"):
        system, path = _system(pattern)
        if "[" in path:  # rare, and otherwise no request is needed
            path = as_pattern(path, system.exists)
        listed = system.glob(path, detail=True)
    if "**" in pattern:
        listed = {path: entry for path, entry in listed.items() if entry["type"] != "directory"}
    return _described(system, listed)


def _described(system: Any, listed: dict[str, Any]) -> list[File]:
    files = []
    for path, entry in listed.items():
        version = next((entry[key] for key in VERSIONS if entry.get(key) is not None), None)
        fault = None
        if entry["type"] == "directory":
            fault = "is a folder: nothing in it would be read; narrow the pattern, or use **"
        address = system.unstrip_protocol(path)
        version = version if isinstance(version, int | None) else str(version)
        files.append(File(address, 0 if fault else int(entry["size"]), version, fault))
    return sorted(files, key=_by_path)


def _by_path(file: File) -> str:
    return file.path
