"""Runs a command: bad input ends in one line on stderr and a non-zero exit status."""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence

from tinymathreason import disk


class InputError(ValueError):
    """The user's input is wrong; the message says what, where, and what to do about it."""


def run(main: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None) -> None:
    """Call ``main`` with the arguments and end the process.

    Exit status: 0 when ``main`` returns; 2 for an `InputError` or an `OSError` (missing file, full
    disk), which `disk.explain` puts into words; 130 after Ctrl-C. Any other exception is a bug and
    keeps its traceback.
    """
    _wait_passively()
    try:
        main(sys.argv[1:] if argv is None else argv)
    except (InputError, OSError) as error:
        line = str(error) if isinstance(error, InputError) else disk.explain(error)
        _flush()
        print(f"error: {' '.join(line.split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        _flush()
        print("interrupted: run the same command again", file=sys.stderr)
        sys.exit(130)


def _flush() -> None:
    """Write what was printed before the error; in a log it would otherwise come after it."""
    with contextlib.suppress(OSError):  # nobody reads it any more, or the disk is full
        sys.stdout.flush()


def _wait_passively() -> None:
    """Make the threads of this process and of its children sleep while they wait.

    OpenMP's threads spin by default. On a busy machine they then take the processor from the
    threads that they wait for, and training is three to four times as slow. Takes effect only
    before torch is imported, and keeps the user's own setting.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
