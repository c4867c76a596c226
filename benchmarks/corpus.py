"""Helpers of the data benchmarks: text of any amount, recipes, and measured processes.

The memory of a new process includes what its parent held when it started, so a process that
measures others must stay small. Heavy imports are therefore inside functions, which run in
processes of their own; `call` makes the command.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinymathreason.cli import InputError

SOURCES = {
    "fineweb-edu": ("parquet", "fineweb-edu/*.parquet"),
    "open-web-math": ("parquet", "open-web-math/*.parquet"),
    "arxiv": ("jsonl", "proof-pile-2/arxiv/train/*.jsonl.zst"),
    "algebraic-stack": ("jsonl", "proof-pile-2/algebraic-stack/train/*.jsonl.zst"),
}
"""Format and files of each source, in the folder that ``make realdata`` also reads."""
QUESTIONS = Path("gsm8k") / "test.jsonl"
"""The benchmark questions that no document may contain, in the same folder."""
HOME = Path("runs/benchmarks")
"""The benchmarks' working folder; each removes its files, except Python's compiled modules."""
FILE_BYTES = 16_000_000
"""Most bytes of text in a file that `write_copies` writes."""
WINDOW = 32
"""Words of similar frequency that replace one another in a copy."""

_PIECE = re.compile(r"\\[A-Za-z]+|[A-Za-z]+|[^A-Za-z\\]+|\\")
_STAGE = re.compile(r"(\w+): \d+/\d+ tasks")
_TICKS = os.sysconf("SC_CLK_TCK")


def check_data(data: Path) -> Path:
    """The absolute path of the shared data; raises `InputError` when a part of it is missing."""
    for files in (str(QUESTIONS), *(files for _, files in SOURCES.values())):
        if not any(data.glob(files)):
            raise InputError(f"--data: {data / files} does not exist")
    return data.absolute()


def normalised(name: str, kind: str, files: Path, column: str = "text") -> list[str]:
    """The normalised texts of the files that a glob matches; an error calls them ``name``."""
    from data_prep.clean import normalise
    from tinymathreason.rows import read_columns

    return [normalise(text) for (text,) in read_columns(name, kind, str(files), [column])]


def texts(data: Path) -> dict[str, list[str]]:
    """The normalised documents of every source."""
    return {name: normalised(name, kind, data / files) for name, (kind, files) in SOURCES.items()}


def problems(data: Path, split: str) -> list[tuple[str, str]]:
    """Questions of GSM8K and their solutions, the latter with calculator annotations."""
    from tinymathreason.rows import read_columns

    path = str(data / QUESTIONS.with_stem(split))
    return list(read_columns(split, "jsonl", path, ["question", "answer"]))  # type: ignore[arg-type]


class Copies:
    """Documents, and copies of them with other words.

    Each copy replaces every word by another one of its length, case and frequency. So the text
    keeps its statistics, numbers, signs and LaTeX, but copies share hardly any run of words. Unlike
    more real text, copies have no new words.
    """

    def __init__(self, documents: list[str]) -> None:
        import numpy as np

        numbers: dict[str, int] = {}
        self._documents = [
            np.array([numbers.setdefault(p, len(numbers)) for p in _PIECE.findall(text)], np.int32)
            for text in documents
        ]
        self._pieces = list(numbers)
        counts = np.bincount(np.concatenate(self._documents), minlength=len(numbers))
        groups: dict[tuple[int, bool, bool], list[int]] = defaultdict(list)
        for k, piece in enumerate(self._pieces):
            if piece[0].isascii() and piece[0].isalpha():
                groups[len(piece), piece.islower(), piece.isupper()].append(k)
        self._windows = []
        for group in groups.values():
            group.sort(key=lambda k: -counts[k])
            self._windows += [group[k : k + WINDOW] for k in range(0, len(group), WINDOW)]

    def copy(self, number: int) -> Iterator[str]:
        """The documents of copy ``number``; copy 0 is the original."""
        import numpy as np

        rng, pieces = np.random.default_rng(number), list(self._pieces)
        for window in self._windows if number else ():
            for k, other in zip(window, rng.permutation(window).tolist(), strict=True):
                pieces[k] = self._pieces[other]
        for document in self._documents:
            yield "".join([pieces[k] for k in document.tolist()])


def write_copies(data: str, times: str, folder: str) -> None:
    """Write ``times`` copies of every source to ``folder`` as Parquet files; prints the counts."""
    import pyarrow
    import pyarrow.parquet

    written = Counter[str]()
    for name, documents in texts(Path(data)).items():
        copies, count = Copies(documents), int(times)
        total = count * sum(len(text.encode("utf-8")) for text in documents)
        limit = total / -(-total // FILE_BYTES)
        stream = (text for number in range(count) for text in copies.copy(number))
        done = 0.0
        for number in range(-(-total // FILE_BYTES)):
            path = Path(folder) / name / f"train-{number:05}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            batch: list[str] = []
            for text in stream:
                batch.append(text)
                done += len(text.encode("utf-8"))
                if done >= limit * (number + 1):
                    break
            pyarrow.parquet.write_table(
                pyarrow.table({"text": batch}), path, row_group_size=1000, compression="snappy"
            )
            written.update(documents=len(batch), files=1)
        written["bytes"] += round(done)
    print(json.dumps(written))


def write_recipe(
    path: Path, data: Path, sources: dict[str, tuple[str, str]], **settings: Any
) -> Path:
    """Write a recipe with equal weights for one local worker; returns its path. (JSON is YAML.)"""
    recipe = {
        "output_dir": str(path.with_suffix("")),
        "sources": {
            name: {"format": kind, "path": str(data / files), "weight": 1}
            for name, (kind, files) in sources.items()
        },
        "executor": {"kind": "local", "workers": 1},
        **settings,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(recipe), encoding="utf-8")
    return path


def train(data: str, folder: str) -> None:
    """Train a tokenizer of 32,000 entries on all documents; prints the bytes of their text."""
    from data_prep import tokenizer

    documents = [text for of_source in texts(Path(data)).values() for text in of_source]
    tokenizer.save(tokenizer.train(documents, 32_000), Path(folder))
    print(sum(len(text.encode("utf-8")) for text in documents))


def call(module: str, function: str, *arguments: object) -> list[str]:
    """The command that calls a function with string arguments in a process of its own."""
    code = f"import sys; from {module} import {function}; {function}(*sys.argv[1:])"
    return [sys.executable, "-c", code, *map(str, arguments)]


@dataclass
class Usage:
    """The resources that a process and its children used."""

    seconds: float = 0.0
    """Wall-clock time."""
    cpu_seconds: float = 0.0
    """User and system time."""
    peak_gb: float = 0.0
    """Peak resident memory of the largest process."""
    stages: dict[str, float] = field(default_factory=dict)
    """CPU seconds of each stage of a build; ``plan`` is everything before the first one."""
    disk: dict[str, int] = field(default_factory=dict)
    """Bytes of the watched folders at their largest, by the name of each subfolder or file."""
    output: str = ""
    """Its standard output."""
    errors: str = ""
    """Its standard error."""


def measured(command: list[str], *watched: Path) -> Usage:
    """Run a command and measure it; raises `RuntimeError` with its errors when it fails.

    All commands share compiled modules, even if the environment disables Python's cache.
    """
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(HOME.absolute() / "pyc")}
    usage, ended = Usage(), threading.Event()
    marks: dict[str, float] = {}

    def watch() -> None:
        while watched and not ended.wait(0.5):
            usage.disk = max(usage.disk, _sizes(watched), key=lambda sizes: sum(sizes.values()))

    started = time.monotonic()
    watcher = threading.Thread(target=watch)
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as output,
        subprocess.Popen(
            command,
            env={**os.environ, **compiled},
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        ) as process,
    ):
        assert process.stderr is not None
        watcher.start()
        try:
            for line in process.stderr:
                usage.errors += line
                stage = _STAGE.match(line)
                if stage or not marks:
                    marks[stage[1] if stage else "plan"] = _cpu(process.pid)
        finally:
            ended.set()
            watcher.join()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        usage.output = output.read()
    if process.returncode:
        raise RuntimeError(f"exit status {process.returncode}: {usage.errors[-3000:]}")
    usage.seconds = round(time.monotonic() - started, 2)
    usage.cpu_seconds = round(used.ru_utime + used.ru_stime, 2)
    usage.peak_gb = round(used.ru_maxrss * 1024 / 1e9, 3)
    before = 0.0
    for name, mark in marks.items():
        usage.stages[name], before = round(mark - before, 2), mark
    return usage


def _cpu(pid: int) -> float:
    """CPU seconds so far of a process and its finished children."""
    after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, after_name[11:15])) / _TICKS


def _sizes(folders: tuple[Path, ...]) -> dict[str, int]:
    """Bytes in folders by the first part of the path; a file with two names counts once."""
    sizes: Counter[str] = Counter()
    seen: set[int] = set()
    for folder in folders:
        for root, _, files in os.walk(folder):
            for name in files:
                path = Path(root) / name
                try:
                    entry = path.stat()
                except FileNotFoundError:
                    continue  # renamed in the meantime
                if entry.st_ino not in seen:
                    seen.add(entry.st_ino)
                    sizes[path.relative_to(folder).parts[0]] += entry.st_size
    return dict(sizes)
