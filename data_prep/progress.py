"""What the tasks of a stage tell of themselves in; lines with rates and the time left out."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from data_prep.work import NUMBERED, Work
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json

EVERY = 5.0
"""Seconds between two lines."""


class Progress:
    """What a task has done so far, told to whoever watches the working folder."""

    EVERY = 1.0
    """Seconds between two reports."""

    def __init__(self, path: Path, total: int) -> None:
        self._path = path
        self._started = self._told = time.monotonic()
        self._counts = {"documents": 0, "bytes": 0, "done": 0, "total": total}

    def add(self, documents: int, size: int, done: int | None = None) -> None:
        """Count documents, their bytes, and how much of the task's ``total`` is done."""
        self._counts["documents"] += documents
        self._counts["bytes"] += size
        self._counts["done"] += size if done is None else done
        if time.monotonic() - self._told >= self.EVERY:
            self.tell()

    def tell(self) -> None:
        """Write the counts now."""
        self._told = time.monotonic()
        seconds = round(self._told - self._started, 3)
        write_json(self._path, {**self._counts, "seconds": seconds})


@contextlib.contextmanager
def watch(work: Work, stage: str, tasks: int) -> Iterator[None]:
    """Print a stage's progress to stderr, and that of each running task, until the block ends."""
    started, ended = time.time(), threading.Event()
    before = len(_finished(work, stage))

    def tell() -> None:
        while not ended.wait(EVERY):
            for line in lines(work, stage, tasks, started, before):
                print(line, file=sys.stderr, flush=True)

    thread = threading.Thread(target=tell, daemon=True)
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
    """One line for the stage, and one for each task that runs now.

    ``before`` tasks were finished when this run ``started``, in seconds of the clock.
    """
    finished = _finished(work, stage)
    documents = size = 0
    parts = float(len(finished))
    running = []
    for path in sorted((work.folder / "progress" / stage).glob(f"{NUMBERED}.json")):
        try:
            told = read_json(path)
        except InputError:
            continue  # replaced between being listed and being read
        if path.stat().st_mtime < started:
            continue  # an earlier, interrupted build's
        documents, size = documents + told["documents"], size + told["bytes"]
        if path.stem not in finished:
            part = min(1.0, told["done"] / told["total"]) if told["total"] else 0.0
            parts += part
            rate = _rate(stage, told["documents"], told["bytes"], told["seconds"])
            running.append(f"  task {int(path.stem)}: {part:4.0%} {rate}")
    seconds = max(time.time() - started, 1e-9)
    done = parts - before
    left = f" ETA {_clock(seconds * (tasks - parts) / done)}" if done and parts < tasks else ""
    head = f"{stage}: {len(finished)}/{tasks} tasks, {_clock(seconds)}"
    return [f"{head}, {_rate(stage, documents, size, seconds)}{left}", *running]


UNITS = {"duplicates": "keys", "decisions": "pairs"}
"""What a stage counts, where it is not documents."""


def _rate(stage: str, count: int, size: int, seconds: float) -> str:
    seconds, unit = max(seconds, 1e-9), UNITS.get(stage, "documents")
    return f"{count:,} {unit}, {count / seconds:,.0f}/s, {size / seconds / 1e6:.1f} MB/s"


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
