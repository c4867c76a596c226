"""Limits of a machine in a block: the size of files, and a user without root's rights."""

import contextlib
import ctypes
import errno
import os
import resource
from collections.abc import Iterator

CAPABILITIES = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: with them root ignores permissions (Linux)."""
VERSION = 0x20080522
"""Version of the structures of capget and capset."""


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """Limit files to ``size`` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Make permissions apply in this thread, for root too."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(VERSION, 0)
    # Effective, permitted and inheritable ones: the first 32, then the others.
    held = (ctypes.c_uint32 * 6)()

    def call(function, data) -> None:
        if function(header, data):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), errno.errorcode[number])

    call(libc.capget, held)
    call(libc.capset, (ctypes.c_uint32 * 6)(held[0] & ~CAPABILITIES, *held[1:]))
    try:
        yield
    finally:
        call(libc.capset, held)
