"""Command: measure everything that needs an NVIDIA GPU, in one run of at most eight minutes.

python -m benchmarks.gpu [--data DIR] [--minutes 8] [--device cuda|cpu] [--only PART,...]

The parts of `benchmarks.gpu_parts` run one after the other, the most important first, each in a
process of its own. Every line that a part prints is printed at once, as JSON with the part's name,
and appended to ``--output``, so that a run that is cut short loses nothing that it
measured. The first line describes the card, the driver and the versions.

Each part may take its share of the time that is left; what earlier parts did not need is shared
among the later ones. A part that takes longer is stopped with all its processes. A part that fails
ends in one line with the end of its log; the others run. No part needs another one's result.

``--device cpu`` runs the same with tiny sizes, to test the parts without a GPU. The exit status is
1 when a part did not finish.
"""

import argparse
import contextlib
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from benchmarks import gpu_parts
from benchmarks.corpus import HOME
from benchmarks.gpu_parts import GpuPart
from tinymathreason import cli
from tinymathreason.cli import InputError

GRACE = 5.0
"""Seconds between asking a part to stop and killing it."""
STARTING = 10.0
"""Seconds that a part may take beside its own limit, to start and to end."""
TAIL = 400
"""Characters of a log's end that are reported."""
ENVIRONMENT = {
    "DECOUPLE_GCLOUD": "TRUE",  # MaxText without Google's clients
    "HF_HUB_OFFLINE": "1",
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # Parts that use jax and torch in turn must not take the whole card.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
"""What every part finds in its environment, unless the user has set it."""


class JsonLines:
    """Prints lines of JSON and appends them to a file, each at once."""

    def __init__(self, output: Path) -> None:
        output.parent.mkdir(parents=True, exist_ok=True)
        self._output = output
        self._began = time.monotonic()
        self._lock = threading.Lock()

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    def line(self, part: str, **figures: Any) -> None:
        """Print and append a line about a part."""
        text = json.dumps({"part": part, "at": round(self.elapsed, 1), **figures})
        with self._lock:
            print(text, flush=True)
            with self._output.open("a", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())


def shares(parts: Sequence[GpuPart], left: float) -> float:
    """Seconds that the first of ``parts`` may take when ``left`` seconds remain for all of them."""
    return left * parts[0].weight / sum(part.weight for part in parts)


def run(parts: Sequence[GpuPart], seconds: float, report: JsonLines, logs: Path) -> list[str]:
    """Run all parts within ``seconds``; the status of each.

    ``logs`` gets a file of each part's log.
    """
    statuses = []
    for number, part in enumerate(parts):
        allowed = shares(parts[number:], seconds - report.elapsed)
        if allowed < part.least:
            report.line(
                part.name,
                status="skipped",
                error=f"{allowed:.0f} s are left for it, and it needs {part.least:.0f} s",
            )
            statuses.append("skipped")
            continue
        began = time.monotonic()
        log = logs / f"{part.name}.log"
        try:
            status, error = _run_one(part, allowed, report, log)
        except BaseException:  # Ctrl-C or SIGTERM: what was measured has been printed
            report.line(part.name, status="interrupted", took=round(time.monotonic() - began, 1))
            raise
        took = round(time.monotonic() - began, 1)
        report.line(part.name, status=status, took=took, **({"error": error} if error else {}))
        statuses.append(status)
    return statuses


def _run_one(part: GpuPart, allowed: float, report: JsonLines, log: Path) -> tuple[str, str]:
    """Run one part: ``finished``, ``failed`` or ``stopped``, and what went wrong."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            part.limited(max(0.0, allowed - STARTING)),
            env={**ENVIRONMENT, **part.environment, **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        assert process.stdout is not None
        reader = threading.Thread(target=_relay, args=(process.stdout, part.name, report, errors))
        reader.start()
        try:
            process.wait(timeout=allowed)
        except subprocess.TimeoutExpired:
            stop(process)
            return "stopped", f"took longer than {allowed:.0f} s; {tail(log)}"
        finally:
            stop(process)
            reader.join()
            process.stdout.close()
    if process.returncode:
        return "failed", f"exit status {process.returncode}; {tail(log)}"
    return "finished", ""


def _relay(lines: IO[bytes], part: str, report: JsonLines, log: IO[bytes]) -> None:
    """Report each line of JSON as soon as it comes; write all others to the log."""
    for line in lines:
        try:
            figures = json.loads(line)
        except ValueError:
            figures = None
        if isinstance(figures, dict):
            # The part's own names win, except for the two that order the lines.
            report.line(part, **{k: v for k, v in figures.items() if k not in ("part", "at")})
        else:
            log.write(line)
            log.flush()


def tail(log: Path) -> str:
    """The end of a log on one line."""
    text = log.read_text(encoding="utf-8", errors="replace")[-10 * TAIL :]
    return " ".join(text.split())[-TAIL:] or "its log is empty"


def descendants(pid: int) -> list[int]:
    """The process ``pid`` and all processes below it."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):  # it ended in the meantime
            status = (folder / "stat").read_text(encoding="utf-8", errors="replace")
            parents[int(folder.name)] = int(status.rpartition(")")[2].split()[1])
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a part and every process that it started, also those in sessions of their own."""
    below = descendants(process.pid)
    if process.poll() is None:
        _send(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE)
        below = list(dict.fromkeys([*below, *descendants(process.pid)]))
    _send(process.pid, signal.SIGKILL)
    for pid in below[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _send(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


@contextlib.contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Within the block a SIGTERM ends this process in order, and so the part that runs."""

    def leave(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv: Sequence[str]) -> None:
    """Parse the command line and run the parts."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.gpu", description="Measure everything that needs an NVIDIA GPU."
    )
    parser.add_argument("--data", type=Path, help="real text: the folder of `make realdata`")
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything together")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", help="names of parts, with commas")
    parser.add_argument(
        "--home", type=Path, default=HOME / "gpu", help="working folder; it is emptied"
    )
    parser.add_argument(
        "--output", type=Path, help="file to append the lines to (default: HOME.jsonl)"
    )
    arguments = parser.parse_args(argv)
    if not 0 < arguments.minutes <= 60:
        raise InputError(f"--minutes: expected more than 0, at most 60 (got {arguments.minutes})")
    home = arguments.home.absolute()
    output = arguments.output or home.with_suffix(".jsonl")
    data = arguments.data.absolute() if arguments.data else None
    if data and not data.is_dir():
        raise InputError(f"--data {data}: no such folder")
    host = gpu_parts.describe_host(arguments.device)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    parts = gpu_parts.parts(arguments.device, home, data)
    if arguments.only:
        parts = gpu_parts.chosen(parts, arguments.only.split(","))
    report = JsonLines(output)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    report.line("host", time=now, minutes=arguments.minutes, parts=[p.name for p in parts], **host)
    with sigterm_as_exit():
        statuses = run(parts, arguments.minutes * 60, report, home)
    counts = {status: statuses.count(status) for status in dict.fromkeys(statuses)}
    report.line("all", status="ended", **counts)
    if counts.keys() != {"finished"}:
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
