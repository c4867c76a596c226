"""A command's process: it writes into a log, is measured, and ends when its caller ends."""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_PR_SET_PDEATHSIG = 1


class Ended(NamedTuple):
    """How a command ended, and what it took."""

    status: int
    """Its exit status; negative for a signal."""
    peak_bytes: int
    """Peak resident memory."""
    seconds: float
    """Wall time."""
    cpu_seconds: float
    """Processor time over all cores, with that of its own children."""


def call(words: Sequence[str], log_path: Path) -> Ended:
    """Run a command that appends to a log.

    On a terminal, one line shows the elapsed time and the last line of the log, which is usually
    the command's progress bar. The command is killed when this process dies.
    """
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment(),
            preexec_fn=lambda: signal_at_parents_death(signal.SIGKILL),
        )
    started = time.monotonic()
    try:
        while True:
            # Unlike Popen.wait, wait4 reports the memory of this child alone.
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.2)
            if sys.stdout.isatty():
                line = f"  {time.monotonic() - started:.0f} s  {last_line(log_path)}"
                width = shutil.get_terminal_size().columns - 1
                print(f"\r{line[:width]:{width}}", end="", flush=True)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        if sys.stdout.isatty():
            print(f"\r{'':{shutil.get_terminal_size().columns - 1}}\r", end="", flush=True)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Ended(
        status=process.returncode,
        peak_bytes=usage.ru_maxrss * 1024,
        seconds=time.monotonic() - started,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
    )


def last_line(log_path: Path) -> str:
    """The last line of a log that is not blank; each state of a progress bar counts as a line."""
    with log_path.open("rb") as log:
        log.seek(max(0, log_path.stat().st_size - 4096))
        text = log.read().decode("utf-8", errors="replace")
    lines = [line.strip() for line in re.split(r"[\r\n]", text) if line.strip()]
    return lines[-1] if lines else ""


def environment() -> dict[str, str]:
    """This process's environment with this Python first on the path, so that `python` means it."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}


def signal_at_parents_death(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent dies, however it dies (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
