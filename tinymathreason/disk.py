"""Explains an error of the file system in one line: the file, the reason and the remedy.

Python reports a full disk by a number without a file name, and each library in its own words.
"""

import errno
import os
import pwd
import re
import resource
import shutil
import stat
import tempfile
from pathlib import Path

from tinymathreason.units import size

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Errors of writes only; Python ignores the signal that comes with EFBIG."""
NUMBERS = (
    *FULL, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR,
    errno.EEXIST, errno.EIO, errno.EMFILE, errno.ENFILE,
)  # fmt: skip
"""Errors that are explained with a remedy."""
_WITHOUT_NUMBER = re.compile(
    r"inline_container|PytorchStreamWriter|\d+ requested and \d+ written"
    r"|\b(open|write|close|sync)\(\) failed"
)
"""How torch, numpy and ArrayRecord report a failed write, whatever the reason."""
_NAMED = re.compile(r"\(\) failed: [^;]*; (?:opening|writing) ([^;]+)")
"""How ArrayRecord names the file, which need not be the last one that was opened."""


def failure(error: BaseException) -> int | None:
    """The errno of a file system error, 0 for a failed write without errno; None for other errors.

    A library's own exception counts only if it can come from nothing but a write.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in NUMBERS else None
    text = str(error)
    if match := re.search(r"\(os error (\d+)\)", text):  # Rust's libraries
        return int(match[1]) if int(match[1]) in NUMBERS else None
    for number in FULL:
        if os.strerror(number) in text:
            return number
    return 0 if _WITHOUT_NUMBER.search(text) else None


def explain(error: BaseException, place: Path | None = None, needed: int | None = None) -> str:
    """An error as one line for a user.

    ``place`` is the file or folder that was being written, for errors without a file name;
    ``needed`` is its size in bytes. An error outside `NUMBERS` keeps its own words.
    """
    number = failure(error)
    named = isinstance(error, OSError) and (error.filename2 or error.filename)
    if not named and (match := _NAMED.search(str(error))):
        named = match[1]
    if isinstance(named, str | bytes):
        file = Path(os.fsdecode(named))
        # A user does not know the temporary name.
        if place is None or not str(file).startswith(f"{place.with_name(f'.{place.name}.')}"):
            aside = re.fullmatch(r"\.(.+)\.partial", file.name)
            place = file.with_name(aside[1]) if aside else file
    if number is None:
        if isinstance(error, OSError) and error.strerror and named:
            return f"{place}: {error.strerror}"
        return str(error)
    why = os.strerror(number) if number else next(iter(str(error).splitlines()), "")
    if place is None:
        if number not in (*FULL, 0):
            return str(error)
        places = dict.fromkeys([Path.cwd(), Path(tempfile.gettempdir())])
        rooms = " and ".join(f"{size(free(p))} free in {p}" for p in places)
        return f"a file cannot be written ({why}; {rooms}); make room there"
    reason, remedy = _reason(number, place, needed)
    used = "cannot be written" if number in FULL or not _is_input(place) else "cannot be used"
    return f"{place}: {used} ({why}: {reason}); {remedy}"


def _is_input(place: Path) -> bool:
    """Whether it is a file that was to be read."""
    # Unlike Path's, os.path's functions return False for a name that is too long.
    return os.path.isfile(place) and not os.access(place, os.R_OK, effective_ids=True)  # noqa: PTH113


def _reason(number: int, place: Path, needed: int | None) -> tuple[str, str]:
    """The reason for an error at a place, and the remedy."""
    folder = existing(place.parent)
    wanted = f", {size(needed)} needed" if needed is not None else ""
    most = limit()
    if number in (errno.EFBIG, 0) and most is not None:
        remedy = "raise the limit: ulimit -f unlimited"
        return f"a file may have at most {size(most)} here, by ulimit -f{wanted}", remedy
    if number == errno.EFBIG:
        return f"the file system of {folder} takes no file of that size", "write elsewhere"
    if number in (errno.ENOSPC, 0):
        what = size(free(folder)) if os.statvfs(folder).f_favail else "no inode"
        return f"{what} free in {folder}{wanted}", "make room there or write elsewhere"
    if number == errno.EDQUOT:
        reason = f"the quota of {_user(os.geteuid())} in {folder} is exhausted{wanted}"
        return reason, "remove files of yours there or write elsewhere"
    if number == errno.EROFS:
        return f"{folder} is mounted read-only", "write elsewhere"
    if number in (errno.EACCES, errno.EPERM):
        owned = place if place.exists() else folder
        status = owned.stat()
        who = f"{_user(status.st_uid)}'s, {stat.filemode(status.st_mode)}"
        reason = f"{owned} is {who}, you are {_user(os.geteuid())}"
        return reason, "name another place, or have its permissions changed"
    if number == errno.ENAMETOOLONG:
        most = os.pathconf(folder, "PC_NAME_MAX")
        return f"a name may have at most {most} bytes there", "choose a shorter one"
    if number in (errno.EMFILE, errno.ENFILE):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return f"at most {most} files may be open, by ulimit -n", "raise the limit: ulimit -n 65536"
    if number == errno.EIO:
        return f"the device of {folder} fails", "check the system's log or write elsewhere"
    if number == errno.EISDIR:
        return "there is a folder of that name", "remove it or choose another name"
    file = next((p for p in (place, *place.parents) if p.is_file()), place)
    return f"{file} is a file, not a folder", "move it away or write elsewhere"


def limit() -> int | None:
    """The largest size in bytes of a file of this process (RLIMIT_FSIZE); None without a limit."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if most == resource.RLIM_INFINITY else most


def free(folder: Path) -> int:
    """Bytes that this user can still write in the file system of a folder."""
    return shutil.disk_usage(folder).free


def existing(folder: Path) -> Path:
    """The nearest existing folder: this one or one above it."""
    for path in (folder.absolute(), *folder.absolute().parents):
        if os.path.isdir(path):  # noqa: PTH112
            return path
    raise AssertionError("the root is a folder")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
