"""The working folder of a build: where each task leaves what later ones read.

Everything in it is written aside and renamed, so that a file is whole when it is there. A *task* is
a part of one source; tasks are numbered over all sources, in the order of the recipe, and the
number of a document is its task's number times 2**32 plus its row in the task.
"""

import dataclasses
import hashlib
import itertools
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow

from data_prep import checksums, inputs, readers, tokenizer
from data_prep.contamination import questions
from data_prep.inputs import Inputs
from data_prep.recipe import Recipe
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json
from tinymathreason.listing import File, UnreachableError, tell_empty
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
    inputs: Inputs = field(default_factory=dict)
    """What the build reads, as it was when the build began."""
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
                "inputs": self.inputs,
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
        """What to tell of an error that is the machine's, such as a full disk or a damaged file."""
        unwritten = failed_write(error, self.folder)
        is_arrows = isinstance(error, pyarrow.ArrowException) or getattr(error, "errno", 0) is None
        if unwritten is None and is_arrows:
            # Arrow tells so of what is not as it was written.
            return InputError(f"{self.folder} is damaged: {error}; {START_OVER}")
        line = str(unwritten or error)
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
START_OVER = "remove it to start over"
"""What to do with a working folder that is of no use."""
KEYS_A_RANGE = 1 << 25
"""Keys that one duplicates task sorts in memory, at 34 bytes each."""
KEYS_A_DOCUMENT = 34
"""Keys of a document: its text's, its id's and its bands'."""


def plan_tasks(recipe: Recipe, listed: dict[str, list[File]] | None = None) -> list[Task]:
    """The parts of every source, from the inputs alone."""
    listed = inputs.of_sources(recipe) if listed is None else listed
    tasks: list[Task] = []
    for name, source in recipe.sources.items():
        files = listed[name] if source.format in inputs.FILES else []
        parts = readers.count_tasks(source, len(files))
        for part in range(parts):
            mine = files[part::parts]
            size = sum(file.size for file in mine)
            tasks.append(Task(len(tasks), name, part, parts, [file.path for file in mine], size))
    return tasks


def open_work(recipe: Recipe, folder: Path) -> Work:
    """The working folder of ``recipe``, as an interrupted build left it or not yet begun.

    Changes nothing there. Raises `InputError` when other sources, or the same over other files,
    began there, and when the tokenizer that the recipe names is none.
    """
    if recipe.tokenizer.path is not None:
        tokenizer.load(recipe.tokenizer.path)
    try:
        listed = inputs.of_sources(recipe)
        work = Work(
            recipe,
            folder,
            plan_tasks(recipe, listed),
            questions(recipe.decontaminate),
            inputs.of_recipe(recipe, itertools.chain.from_iterable(listed.values())),
        )
    except UnreachableError as error:
        raise InputError(f"{error}; {SMALLER}") from error
    for name, files in listed.items():
        tell_empty(f"sources.{name}.path", files)
    path = folder / "plan.json"
    if path.exists():
        begun, plan = _begun(path), json.loads(json.dumps(work.plan()))
        # A build that began before they were recorded holds none.
        before = begun["early"].setdefault("inputs", plan["early"]["inputs"])
        if found := inputs.changes(before, plan["early"]["inputs"]):
            raise InputError(f"{folder}: its inputs have changed: {found}; {START_OVER}")
        begun["early"]["inputs"] = plan["early"]["inputs"]  # an unknown version is no other one
        if begun["early"] != plan["early"]:
            raise InputError(f"{folder}: holds an unfinished build of another recipe; {START_OVER}")
    return work


def _begun(path: Path) -> dict[str, Any]:
    """The plan of an unfinished build."""
    try:
        begun: dict[str, Any] = read_json(path)
    except InputError as error:
        raise InputError(f"{error}; {path.parent} is damaged: {START_OVER}") from error
    return begun


def begin(work: Work, texts: dict[str, float], documents: float) -> None:
    """Begin a build, or go on with it, for estimated bytes of text by source and documents in all.

    A mended tokenizer or weight makes only the later stages start over.
    """
    folder, plan = work.folder, json.loads(json.dumps(work.plan()))
    path = folder / "plan.json"
    begun = _begun(path) if path.exists() else plan
    checksums.check(folder, work.recipe.executor.workers)
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
