"""The working folder of a build, where each task leaves the files that later tasks read.

Every file in it is written under another name and then renamed, so a file that exists is
complete. A *task* is a part of one source; tasks are numbered over all sources, in the order of the
recipe. A document's number is its task's number times 2**32 plus its row in the task.
"""

import dataclasses
import itertools
import json
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow

from data_prep import checksums, encoding, inputs, readers, tokenizer
from data_prep.contamination import questions
from data_prep.inputs import Inputs
from data_prep.recipe import Recipe, decisive
from data_prep.stages.artifacts import Artifact
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json
from tinymathreason.listing import File, UnreachableError, warn_empty
from tinymathreason.provenance import asking_hash
from tinymathreason.writes import failed_write

STAGES = ("classifiers", "documents", "duplicates", "decisions", "tokenizer", "records", "publish")
"""The stages of a build, each a run of datatrove's executor."""
SMALLER = "smaller recipes: data_prep/recipes/quickstart.yaml, data_prep/recipes/realdata.yaml"
"""What to try on a machine without the disk, the network or the credentials."""
START_OVER = "remove it to start over"
"""What to do with a working folder that cannot be used."""
KEYS_PER_RANGE = 1 << 25
"""Keys that one task of the duplicates stage sorts in memory, at 34 bytes each."""
KEYS_PER_DOCUMENT = 34
"""One key for a document's text, one for its id, and one for each band of hashes."""
LAYOUT = 4
"""Version of the working folder's files; a folder of another version is refused."""


@dataclass(frozen=True)
class Task:
    """A part of one source."""

    number: int
    """Its number among the tasks of all sources."""
    source: str
    """The name of its source."""
    part: int
    """Which part of the source it is, from 0."""
    parts: int
    """The number of parts of the source."""
    files: list[str]
    """The files of this part."""
    bytes: int
    """Size of these files; 0 when unknown."""


@dataclass
class Work:
    """A build's recipe, its tasks, and the folder through which they exchange files."""

    recipe: Recipe
    """What to build."""
    folder: Path
    """The working folder."""
    tasks: list[Task]
    """All parts of all sources, in order."""
    questions: list[str] = field(default_factory=list)
    """The benchmark questions that no document may contain."""
    inputs: Inputs = field(default_factory=dict)
    """The build's input files as they were when it began."""
    ranges: int = 1
    """Ranges into which the duplicates stage divides all keys; the result does not depend on it."""

    def path(self, artifact: Artifact, rank: int = 0, part: int = 0) -> Path:
        """The file of an artifact that the task ``rank`` of its stage writes."""
        return artifact.path(self.folder, rank, part)

    def record_path(self, kind: str, stage: str, rank: int) -> Path:
        """Where a task records its ``kind`` of information: progress, errors or hashes."""
        return self.folder / kind / stage / f"{rank:05}.json"

    def identity(self) -> dict[str, Any]:
        """What decides the result; a build can only be continued with the same ``early`` part.

        When the ``late`` part differs, the stages from the tokenizer on start over. What is in
        neither part only affects the last stage.
        """
        recipe = decisive(self.recipe.plain())
        sources = recipe["sources"]
        weights = {name: source.pop("weight") for name, source in sources.items()}
        early = ("seed", "near_duplicates", "on_bad_input", "classifiers", "priority")
        return {
            "early": {
                **{key: recipe[key] for key in early},
                "layout": LAYOUT,
                "sources": sources,
                "tasks": [dataclasses.asdict(task) for task in self.tasks],
                "questions": self.questions,
                "inputs": self.inputs,
            },
            "late": {
                "weights": weights,
                "tokenizer": recipe["tokenizer"],
                "eval_fraction": recipe["eval_fraction"],
                "tokenizer_files": self._tokenizer_hash(),
            },
        }

    def _tokenizer_hash(self) -> str | None:
        """SHA-256 of the tokenizer that the recipe names; None when one is to be trained."""
        path = self.recipe.tokenizer.path
        return None if path is None else asking_hash(path)

    def expected_bytes(self, task: Task) -> int:
        """Bytes of text that a task should read by the plan's estimate; 0 without a plan."""
        path, tasks = self.folder / "estimates.json", self.tasks_of(task.source)
        if not path.exists():
            return 0
        size = sum(each.bytes for each in tasks)
        share = task.bytes / size if size else 1 / len(tasks)
        return int(read_json(path)[task.source] * share)

    def input_error(self, error: Exception) -> InputError:
        """A fault of the machine, such as a full disk or a damaged file, as one line."""
        unwritten = failed_write(error, self.folder)
        is_arrows = isinstance(error, pyarrow.ArrowException) or getattr(error, "errno", 0) is None
        if unwritten is None and is_arrows:
            # Arrow's error for a file that has changed since it was written.
            return InputError(f"{self.folder} is damaged: {error}; {START_OVER}")
        line = str(unwritten or error)
        if not line.startswith(f"{self.folder}: "):
            line = f"{self.folder}: {line}"
        return InputError(f"{line}; run the same command again to continue")

    def tasks_of(self, source: str) -> list[Task]:
        """The tasks of one source."""
        return [task for task in self.tasks if task.source == source]


def plan_tasks(recipe: Recipe, listed: dict[str, list[File]] | None = None) -> list[Task]:
    """Divide every source into tasks; the result depends on the inputs alone.

    ``listed`` holds the files of each source, if they are known.
    """
    listed = inputs.of_sources(recipe) if listed is None else listed
    tasks: list[Task] = []
    for name, source in recipe.sources.items():
        files = listed[name] if source.format in inputs.FILES else []
        parts = readers.count_tasks(source, len(files))
        for part in range(parts):
            chosen = files[part::parts]
            size = sum(file.size for file in chosen)
            tasks.append(Task(len(tasks), name, part, parts, [file.path for file in chosen], size))
    return tasks


def open_work(recipe: Recipe, folder: Path) -> Work:
    """The working folder of ``recipe``, which an interrupted build may have begun.

    Changes nothing there. Raises `InputError` when a build of another recipe, or of other input
    files, began there, and when the recipe names a tokenizer that cannot be used.
    """
    settings = recipe.tokenizer
    if settings.path is not None:
        loaded = tokenizer.load(settings.path)
        chosen = encoding.find(settings.path, settings.end_of_text, loaded)
        print(encoding.summary(chosen, loaded), file=sys.stderr, flush=True)
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
        warn_empty(f"sources.{name}.path", files)
    path = folder / "plan.json"
    if path.exists():
        begun, now = _begun(path)["early"], json.loads(json.dumps(work.identity()))["early"]
        if begun.get("layout") == LAYOUT:
            if changes := inputs.changes(begun["inputs"], now["inputs"]):
                raise InputError(f"{folder}: its inputs have changed: {changes}; {START_OVER}")
            begun["inputs"] = now["inputs"]  # equal, except for versions that are unknown
        if begun != now:
            raise InputError(
                f"{folder}: holds an unfinished build of another recipe or version; {START_OVER}"
            )
    return work


def _begun(path: Path) -> dict[str, Any]:
    """The identity of an unfinished build."""
    try:
        begun: dict[str, Any] = read_json(path)
    except InputError as error:
        raise InputError(f"{error}; {path.parent} is damaged: {START_OVER}") from error
    return begun


def begin(work: Work, texts: dict[str, float], documents: float) -> None:
    """Begin a build or continue it.

    ``texts`` are the estimated bytes of text of each source, ``documents`` the estimated number of
    documents of all sources. When only the tokenizer or the weights differ from those of the
    interrupted build, only the later stages start over.
    """
    folder, identity = work.folder, json.loads(json.dumps(work.identity()))
    path = folder / "plan.json"
    begun = _begun(path) if path.exists() else identity
    checksums.check(folder, work.recipe.executor.workers)
    if begun["late"] != identity["late"]:
        for stage in STAGES[STAGES.index("tokenizer") :]:
            shutil.rmtree(folder / "logs" / stage, ignore_errors=True)
    # The last stage has to run again as long as its result is not there.
    shutil.rmtree(folder / "logs" / "publish", ignore_errors=True)
    for partial in folder.rglob("*.partial*"):
        if partial.is_file():
            partial.unlink()
    if not (folder / "started.json").exists():
        ranges = 1 + int(documents) * KEYS_PER_DOCUMENT // KEYS_PER_RANGE
        write_json(folder / "started.json", {"time": time.time(), "ranges": ranges})
    work.ranges = read_json(folder / "started.json")["ranges"]
    write_json(folder / "estimates.json", texts)
    write_json(path, identity)
