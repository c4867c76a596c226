"""A path or a pattern in, here or remote; the files that it names, none left out in silence, out.

What exists under a pattern's own spelling is a path: ``d[1]/*.jsonl`` are the files of ``d[1]``,
if there is such a folder.
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
"""What remote systems call that which changes with a file's content, the surest first."""
MAGIC = re.compile(r"[*?[]")
"""What makes a component of a path a pattern."""


class UnreachableError(InputError):
    """What another machine holds cannot be had."""


class File(NamedTuple):
    """A file that a path or a pattern names."""

    path: str
    """Where it is; an address when it is remote."""
    size: int
    """Its bytes; 0 with a fault."""
    version: int | str | None
    """Changes with its content: nanoseconds of its last change here, or what its system tells."""
    fault: str | None = None
    """Why it cannot be read, in words."""


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Turn whatever goes wrong into one line; the libraries log each of their attempts."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    except Exception as error:  # each library raises its own kinds
        raise UnreachableError(f"{what}: {error}") from error
    finally:
        logging.disable(before)


def is_remote(path: str) -> bool:
    """Whether a path is an address, such as ``gs://bucket/file``."""
    return "://" in path


def list_files(name: str, pattern: str, skip: bool = False) -> list[File]:
    """The files that ``pattern`` names, here or remote, sorted by name.

    Raises `InputError` naming ``name`` when there are none, when the place cannot be reached, and
    for what matches and cannot be read, unless ``skip``: then it is listed with its fault.
    """
    found = _remote(name, pattern) if is_remote(pattern) else _local(name, pattern)
    if not found:
        raise InputError(f"{name}: no file matches {pattern!r}")
    for file in found:
        if file.fault and not skip:
            raise InputError(f"{name}: {file.path} {file.fault}")
    return found


def tell_empty(name: str, files: Sequence[File]) -> None:
    """Say on the terminal which files hold nothing: it is allowed, and seldom meant."""
    empty = [file.path for file in files if not (file.size or file.fault)]
    if empty:
        told = f"{len(empty):,} of {len(files):,} files are empty, such as {empty[0]}"
        print(f"{name}: {told}", file=sys.stderr)


def list_folder(name: str, folder: str, skip: bool = False) -> list[File]:
    """All files below a folder, here or remote; see `list_files`."""
    if not is_remote(folder):
        return list_files(name, f"{glob.escape(folder)}/**", skip)
    with reaching(f"{name}: {folder!r} cannot be listed"):
        system, path = _system(folder)
        listed = system.find(path, detail=True)
    return _described(system, listed)


def open_file(file: str) -> IO[bytes]:
    """The stored bytes of a file, here or remote, at random access."""
    if not is_remote(file):
        return Path(file).open("rb")
    import fsspec

    opened: IO[bytes] = fsspec.open(file, "rb").open()
    return opened


def literal(path: str, exists: Callable[[str], bool] = os.path.lexists) -> int:
    """Characters of the longest leading part of ``path`` that exists as it is written."""
    end = len(path)
    while end > 0 and not exists(path[:end]):
        end = path.rfind("/", 0, end)
    return max(0, end)


def as_pattern(path: str, exists: Callable[[str], bool] = os.path.lexists) -> str:
    """``path`` as a glob in which the leading part that exists as it is written means itself."""
    end = literal(path, exists)
    return glob.escape(path[:end]) + path[end:]


def _local(name: str, pattern: str) -> list[File]:
    if Path(pattern).is_dir():
        return _refuse_folder(name, pattern)
    pattern = as_pattern(pattern)
    folders = [_folder_fault(path) for path in _folders(pattern)]
    paths = sorted(glob.glob(pattern, recursive=True))
    if "**" in pattern:
        # It matches the folders of the files that it matches.
        paths = [path for path in paths if not Path(path).is_dir()]
    return sorted([*filter(None, folders), *map(_file, paths)], key=_by_path)


def _refuse_folder(name: str, path: str) -> list[File]:
    hint = f"it is a folder, try {path.rstrip('/')}/*"
    raise InputError(f"{name}: no file matches {path!r}; {hint}")


def _folders(pattern: str) -> Iterable[str]:
    """What the parts before the last slash match: glob goes on in silence where it cannot look."""
    parts = pattern.split("/")
    for end in range(1, len(parts)):
        if MAGIC.search(parts[end - 1]) and "**" not in parts[:end]:
            yield from sorted(glob.glob("/".join(parts[:end])))


def _folder_fault(path: str) -> File | None:
    """A folder that files may be missing from; None for one that can be read, and for a file."""
    if Path(path).is_symlink() and not Path(path).exists():
        return File(path, 0, None, "is a link to nothing")
    if Path(path).is_dir() and not os.access(path, os.R_OK | os.X_OK):
        return File(path, 0, None, "is a folder that may not be read")
    return None


def _file(path: str) -> File:
    """A file of this machine as it is now."""
    try:
        path.encode("utf-8")
        found = Path(path).stat()
    except UnicodeEncodeError:
        return File(ascii(path), 0, None, "has a name that is not UTF-8; rename it")
    except OSError as error:
        is_link = Path(path).is_symlink() and isinstance(error, FileNotFoundError)
        why = f"is a link to nothing: {Path(path).readlink()}" if is_link else f"is lost: {error}"
        return File(path, 0, None, why)
    fault = None
    if stat.S_ISDIR(found.st_mode):
        fault = "is a folder: nothing in it would be read; narrow the pattern, or use **"
    elif not stat.S_ISREG(found.st_mode):
        fault = "is no regular file"
    elif not os.access(path, os.R_OK):
        fault = "may not be read; change its permissions"
    return File(path, 0 if fault else found.st_size, found.st_mtime_ns, fault)


def _system(path: str) -> tuple[Any, str]:
    import fsspec.core

    system, path = fsspec.core.url_to_fs(path)
    return system, path


def _remote(name: str, pattern: str) -> list[File]:
    with reaching(f"{name}: {pattern!r} cannot be listed"):
        system, path = _system(pattern)
        if "[" in path:  # rare in names and in patterns: the others are not asked for
            path = as_pattern(path, system.exists)
        listed = system.glob(path, detail=True)
    if "**" in pattern:
        listed = {path: entry for path, entry in listed.items() if entry["type"] != "directory"}
    return _described(system, listed)


def _described(system: Any, listed: dict[str, Any]) -> list[File]:
    found = []
    for path, entry in listed.items():
        version = next((entry[key] for key in VERSIONS if entry.get(key) is not None), None)
        fault = None
        if entry["type"] == "directory":
            fault = "is a folder: nothing in it would be read; narrow the pattern, or use **"
        address = system.unstrip_protocol(path)
        told = version if isinstance(version, int | None) else str(version)
        found.append(File(address, 0 if fault else int(entry["size"]), told, fault))
    return sorted(found, key=_by_path)


def _by_path(file: File) -> str:
    return file.path
