"""Turns failed writes into one line, and checks for room before a command starts its work."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tinymathreason import disk
from tinymathreason.cli import InputError

PARTIAL = ".partial"
"""Suffix of files and folders that are being written, or that a killed writer left."""


class WriteError(InputError, OSError):
    """An output cannot be written: a full disk, a limit, no permission."""


def failed_write(error: BaseException, place: Path, then: str = "") -> "WriteError | None":
    """A failed write as one line that names ``place`` or the error's own file; None for others.

    ``then`` ends the line; it says what happens to the finished work.
    """
    if isinstance(error, InputError):
        line = str(error) if isinstance(error, WriteError) else None
    else:
        line = disk.explain(error, place) if disk.failure(error) is not None else None
    if line is None:
        return None
    return WriteError(f"{line}; {then}" if then else line)


@contextlib.contextmanager
def writing(place: Path, needed: int | None = None) -> Iterator[None]:
    """Turn a failed write in the block into a `WriteError`; ``needed`` is its size, if known.

    `disk.failure` recognises the errors of libraries too.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if disk.failure(error) is None:
            raise
        raise WriteError(disk.explain(error, place, needed)) from error


def check_room(folder: Path, needed: int = 0, largest: int = 0, remedy: str = "") -> None:
    """Raise `WriteError` unless ``folder``, which need not exist yet, can be written.

    ``needed`` is the total size in bytes and ``largest`` that of the largest file; ``remedy`` is
    another way to need less room. A quota shows only when it is exhausted.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            folder.lstat()  # fails for a name that is too long or below a file
        with tempfile.TemporaryFile(dir=disk.existing(folder), suffix=PARTIAL) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        # Without the name of the temporary file.
        raise WriteError(disk.explain(OSError(error.errno, error.strerror), folder)) from error
    most, room = disk.limit(), disk.free(disk.existing(folder))
    line = ""
    if most is not None and largest > most:
        line = disk.explain(OSError(errno.EFBIG, os.strerror(errno.EFBIG)), folder, largest)
    elif needed > room:
        line = disk.explain(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), folder, needed)
    if line:
        raise WriteError(f"{line}, or {remedy}" if remedy else line)
