"""What the tasks of a stage tell of themselves in; lines with rates and the time left out."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

from data_prep.work import NUMBERED, Work
from tinymathreason.cli import InputError
from tinymathreason.files import read_json

EVERY = 5.0
"""Seconds between two lines."""


@contextlib.contextmanager
def watch(work: Work, stage: str, tasks: int) -> Iterator[None]:
    """Print a stage's progress to stderr, and that of each running task, until the block ends."""
    started, ended = time.time(), threading.Event()

    def tell() -> None:
        while not ended.wait(EVERY):
            for line in lines(work, stage, tasks, started):
                print(line, file=sys.stderr, flush=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    print(lines(work, stage, tasks, started)[0], file=sys.stderr, flush=True)


def lines(work: Work, stage: str, tasks: int, started: float) -> list[str]:
    """One line for the stage, and one for each task that runs now."""
    finished = {path.name for path in (work.folder / "logs" / stage / "completions").glob("[0-9]*")}
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
            running.append(f"  task {int(path.stem)}: {part:4.0%} {_rate(told, told['seconds'])}")
    seconds = max(time.time() - started, 1e-9)
    left = "" if not parts or parts >= tasks else f" ETA {_clock(seconds * (tasks / parts - 1))}"
    head = f"{stage}: {len(finished)}/{tasks} tasks, {_clock(seconds)}"
    return [f"{head}, {_rate({'documents': documents, 'bytes': size}, seconds)}{left}", *running]


def _rate(counts: dict[str, float], seconds: float) -> str:
    seconds = max(seconds, 1e-9)
    return (
        f"{counts['documents']:,.0f} documents, {counts['documents'] / seconds:,.0f}/s, "
        f"{counts['bytes'] / seconds / 1e6:.1f} MB/s"
    )


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
