"""The progress of a build: tasks record theirs in the working folder, and a thread prints it."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from data_prep.stages.artifacts import NUMBERED
from data_prep.work import Work
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json

EVERY = 5.0
"""Seconds between two prints."""
UNITS = {"duplicates": "keys", "decisions": "pairs"}
"""What a stage counts, if not documents."""


class Progress:
    """What one task has done so far, recorded for `watch`."""

    EVERY = 1.0
    """Seconds between two records."""

    def __init__(self, path: Path, total: int) -> None:
        """Record to ``path`` how much of ``total`` (in the units of `add`'s ``done``) is done."""
        self._path = path
        self._started = self._recorded = time.monotonic()
        self._counts = {"documents": 0, "bytes": 0, "done": 0, "total": total}

    def add(self, documents: int, size: int, done: int | None = None) -> None:
        """Count documents and their bytes; ``done`` is their part of the total, if not ``size``."""
        self._counts["documents"] += documents
        self._counts["bytes"] += size
        self._counts["done"] += size if done is None else done
        if time.monotonic() - self._recorded >= self.EVERY:
            self.record()

    def record(self) -> None:
        """Write the counts now."""
        self._recorded = time.monotonic()
        seconds = round(self._recorded - self._started, 3)
        write_json(self._path, {**self._counts, "seconds": seconds})


@contextlib.contextmanager
def watch(work: Work, stage: str, tasks: int) -> Iterator[None]:
    """Print a stage's progress, and that of its running tasks, to stderr until the block ends."""
    started, ended = time.time(), threading.Event()
    before = len(_finished(work, stage))

    def print_lines() -> None:
        while not ended.wait(EVERY):
            for line in lines(work, stage, tasks, started, before):
                print(line, file=sys.stderr, flush=True)

    thread = threading.Thread(target=print_lines, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    print(lines(work, stage, tasks, started, before)[0], file=sys.stderr, flush=True)


def _finished(work: Work, stage: str) -> set[str]:
    return {path.name for path in (work.folder / "logs" / stage / "completions").glob("[0-9]*")}


def lines(work: Work, stage: str, tasks: int, started: float, before: int = 0) -> list[str]:
    """One line for the stage, and one for each running task.

    ``before`` tasks were finished when this run ``started``, in seconds since the epoch.
    """
    finished = _finished(work, stage)
    documents = size = 0
    parts = float(len(finished))
    running = []
    for path in sorted((work.folder / "progress" / stage).glob(f"{NUMBERED}.json")):
        try:
            counts = read_json(path)
        except InputError:
            continue  # it was replaced after it was listed
        if path.stat().st_mtime < started:
            continue  # of an interrupted build
        documents, size = documents + counts["documents"], size + counts["bytes"]
        if path.stem not in finished:
            part = min(1.0, counts["done"] / counts["total"]) if counts["total"] else 0.0
            parts += part
            rate = _rate(stage, counts["documents"], counts["bytes"], counts["seconds"])
            running.append(f"  task {int(path.stem)}: {part:4.0%} {rate}")
    seconds = max(time.time() - started, 1e-9)
    done = parts - before
    left = f" ETA {_clock(seconds * (tasks - parts) / done)}" if done and parts < tasks else ""
    head = f"{stage}: {len(finished)}/{tasks} tasks, {_clock(seconds)}"
    return [f"{head}, {_rate(stage, documents, size, seconds)}{left}", *running]


def _rate(stage: str, count: int, size: int, seconds: float) -> str:
    seconds, unit = max(seconds, 1e-9), UNITS.get(stage, "documents")
    return f"{count:,} {unit}, {count / seconds:,.0f}/s, {size / seconds / 1e6:.1f} MB/s"


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
