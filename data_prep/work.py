"""The working folder of a build: where each task leaves what later ones read.

Everything in it is written aside and renamed, so that a file is whole when it is there. A *task* is
a part of one source; tasks are numbered over all sources, in the order of the recipe, and the
number of a document is its task's number times 2**32 plus its row in the task.
"""

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep import readers, rows, tokenizer
from data_prep.contamination import questions
from data_prep.recipe import Recipe
from tinymathreason.cli import InputError
from tinymathreason.files import new_file, read_json, write_json
from tinymathreason.writes import failed_write

STAGES = ("documents", "duplicates", "decisions", "tokenizer", "records", "publish")
"""The stages of a build, each a run of datatrove's executor."""


@dataclass(frozen=True)
class Task:
    """A part of one source."""

    number: int
    """Over all sources."""
    source: str
    """The name of its source."""
    part: int
    """Which part of the source it is..."""
    parts: int
    """... out of how many."""
    files: list[str]
    """The files of this part."""
    bytes: int
    """Size of the files that this task reads; 0 when unknown."""


@dataclass
class Work:
    """A build's recipe, its tasks, and the folder in which they meet."""

    recipe: Recipe
    """What to build."""
    folder: Path
    """The working folder."""
    tasks: list[Task]
    """All parts of all sources, in order."""
    questions: list[str] = field(default_factory=list)
    """The benchmark questions that no document may contain."""
    ranges: int = 1
    """Parts into which the duplicates stage divides all keys; the result is the same for any."""

    def path(self, kind: str, number: int, suffix: str) -> Path:
        """Where task ``number`` leaves its ``kind`` of file."""
        return self.folder / kind / f"{number:05}{suffix}"

    def plan(self) -> dict[str, Any]:
        """What a build that goes on must have in common with the one that began.

        ``late`` is what the stages since the tokenizer's depend on: with another one they start
        over. What is in neither part matters to the last stage alone.
        """
        recipe = self.recipe.plain()
        sources = {name: dict(source) for name, source in recipe["sources"].items()}
        weights = {name: source.pop("weight") for name, source in sources.items()}
        early = ("seed", "near_duplicates", "on_bad_input", "priority")
        return {
            "early": {
                **{key: recipe[key] for key in early},
                "sources": sources,
                "tasks": [dataclasses.asdict(task) for task in self.tasks],
                "questions": self.questions,
            },
            "late": {
                "weights": weights,
                "tokenizer": recipe["tokenizer"],
                "eval_fraction": recipe["eval_fraction"],
                "tokenizer.json": self._digest(),
            },
        }

    def _digest(self) -> str | None:
        """SHA-256 of the tokenizer that the recipe names."""
        path = self.recipe.tokenizer.path
        if path is None:
            return None
        return hashlib.sha256((path / "tokenizer.json").read_bytes()).hexdigest()

    def expected(self, task: Task) -> int:
        """Bytes of text that a task should read, as the plan estimated them; 0 without a plan."""
        path, mine = self.folder / "estimates.json", self.of(task.source)
        if not path.exists():
            return 0
        size = sum(each.bytes for each in mine)
        share = task.bytes / size if size else 1 / len(mine)
        return int(read_json(path)[task.source] * share)

    def failed(self, error: Exception) -> InputError:
        """What to tell of an error that is the machine's, such as a full disk."""
        line = str(failed_write(error, self.folder) or error)
        if not line.startswith(f"{self.folder}: "):
            line = f"{self.folder}: {line}"
        return InputError(f"{line}; the same command goes on from here")

    def of(self, source: str) -> list[Task]:
        """The tasks of one source."""
        return [task for task in self.tasks if task.source == source]


NUMBERED = "[0-9]" * 5
"""Matches what `Work.path` names, but no file that is being written or was left half-written."""
SMALLER = "smaller recipes: data_prep/recipes/quickstart.yaml, data_prep/recipes/realdata.yaml"
"""What to try on a machine without the disk, the network or the credentials."""
KEYS_A_RANGE = 1 << 25
"""Keys that one duplicates task sorts in memory, at 34 bytes each."""
KEYS_A_DOCUMENT = 34
"""Keys of a document: its text's, its id's and its bands'."""


def plan_tasks(recipe: Recipe) -> list[Task]:
    """The parts of every source, from the inputs alone."""
    tasks: list[Task] = []
    for name, source in recipe.sources.items():
        files: list[tuple[str, int]] = []
        if source.format in ("parquet", "jsonl", "text"):
            files = rows.list_files(f"sources.{name}.path", source.path)
        parts = readers.count_tasks(source, len(files))
        for part in range(parts):
            mine = files[part::parts]
            size = sum(size for _, size in mine)
            tasks.append(Task(len(tasks), name, part, parts, [path for path, _ in mine], size))
    return tasks


def open_work(recipe: Recipe, folder: Path) -> Work:
    """The working folder of ``recipe``, as an interrupted build left it or not yet begun.

    Changes nothing there. Raises `InputError` when other sources, or the same over other files,
    began there, and when the tokenizer that the recipe names is none.
    """
    if recipe.tokenizer.path is not None:
        tokenizer.load(recipe.tokenizer.path)
    try:
        work = Work(recipe, folder, plan_tasks(recipe), questions(recipe.decontaminate))
    except rows.UnreachableError as error:
        raise InputError(f"{error}; {SMALLER}") from error
    path = folder / "plan.json"
    if path.exists():
        begun, plan = read_json(path), json.loads(json.dumps(work.plan()))
        if begun["early"] != plan["early"]:
            raise InputError(
                f"{folder}: holds an unfinished build of another recipe or of other files; "
                "remove it to start over"
            )
    return work


def begin(work: Work, texts: dict[str, float], documents: float) -> None:
    """Begin a build, or go on with it, for estimated bytes of text by source and documents in all.

    A mended tokenizer or weight makes only the later stages start over.
    """
    folder, plan = work.folder, json.loads(json.dumps(work.plan()))
    path = folder / "plan.json"
    begun = read_json(path) if path.exists() else plan
    if begun["late"] != plan["late"]:
        for stage in STAGES[STAGES.index("tokenizer") :]:
            shutil.rmtree(folder / "logs" / stage, ignore_errors=True)
    # Without its result, the last stage is not complete.
    shutil.rmtree(folder / "logs" / "publish", ignore_errors=True)
    for left in folder.rglob("*.partial*"):
        if left.is_file():
            left.unlink()
    if not (folder / "started.json").exists():
        ranges = 1 + int(documents) * KEYS_A_DOCUMENT // KEYS_A_RANGE
        write_json(folder / "started.json", {"time": time.time(), "ranges": ranges})
    work.ranges = read_json(folder / "started.json")["ranges"]
    write_json(folder / "estimates.json", texts)
    write_json(path, plan)


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array under ``path``, whole or not at all."""
    # numpy writes past Python what is open for writing only, and tells of a full disk in numbers.
    with new_file(path) as aside, aside.open("w+b") as stream:
        np.save(stream, array)


class Strings:
    """Many strings in one file, read singly: the ids of a task's documents."""

    def __init__(self, path: Path) -> None:
        self._ends = np.load(path.with_suffix(".npy"), mmap_mode="r")
        self._path = path

    def __getitem__(self, number: int) -> str:
        start = int(self._ends[number - 1]) if number else 0
        with self._path.open("rb") as stream:
            stream.seek(start)
            return stream.read(int(self._ends[number]) - start).decode("utf-8")

    @staticmethod
    def save(path: Path, strings: list[str]) -> None:
        """Write the strings; the file beside it holds where each ends."""
        encoded = [string.encode("utf-8") for string in strings]
        with new_file(path) as aside:
            aside.write_bytes(b"".join(encoded))
        save_array(path.with_suffix(".npy"), np.cumsum([len(e) for e in encoded], dtype=np.int64))


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


@contextmanager
def running(work: Work, stage: str, rank: int, total: int) -> Iterator[Progress]:
    """Do a task: its progress is told, and what stops it is left for who started the executor.

    Ray and Slurm do not bring an exception back.
    """
    error_path = work.path(f"errors/{stage}", rank, ".json")
    error_path.unlink(missing_ok=True)
    progress = Progress(work.path(f"progress/{stage}", rank, ".json"), total)
    try:
        yield progress
    except Exception as error:
        is_machines = isinstance(error, OSError) or failed_write(error, work.folder)
        if not (is_machines or isinstance(error, InputError)):
            raise
        told = work.failed(error) if is_machines else error
        with suppress(OSError):
            write_json(error_path, {"message": str(told)})
        if told is error:
            raise
        raise told from error
    progress.tell()
