"""A block that writes in; its failure as one line out, or the lack of room before it begins."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tinymathreason import disk
from tinymathreason.cli import InputError

PARTIAL = ".partial"
"""Among the suffixes of what is being written, or was left half-written by a writer that died."""


class WriteError(InputError, OSError):
    """What a user asked for cannot be written: a full disk, a limit, no permission."""


def failed_write(error: BaseException, place: Path, then: str = "") -> "WriteError | None":
    """A failed write as one line that names ``place``, or the error's own file; None if it is none.

    ``then`` ends the line: what becomes of the work that was done.
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
    """Turn a write that fails in the block into a `WriteError`; ``needed`` are its bytes, if known.

    Libraries' own kinds of error are known to `disk.failure`.
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
    """Raise `WriteError` unless ``folder``, which need not be there yet, can be written.

    ``needed`` are bytes in all, ``largest`` those of the largest file; ``remedy`` is what else a
    user can do about too little room. A quota is known only when it is used up.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            folder.lstat()  # a name that is too long, or below a file
        with tempfile.TemporaryFile(dir=disk.existing(folder), suffix=PARTIAL) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        # Without the name of the file that was tried.
        raise WriteError(disk.explain(OSError(error.errno, error.strerror), folder)) from error
    most, room = disk.limit(), disk.free(disk.existing(folder))
    line = ""
    if most is not None and largest > most:
        line = disk.explain(OSError(errno.EFBIG, os.strerror(errno.EFBIG)), folder, largest)
    elif needed > room:
        line = disk.explain(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), folder, needed)
    if line:
        raise WriteError(f"{line}, or {remedy}" if remedy else line)
