"""Corpora with planted duplicates, and the decision of the stages about each document.

The text is that of the folder that `make test DATA=DIR` names, as `make realdata` reads it; where
there is none, text made of random words takes its place.
"""

import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

from benchmarks import corpus
from benchmarks.corpus import SOURCES
from data_prep.recipe import Recipe, Source, TokenizerSource, TokenizerTraining
from data_prep.stages import artifacts
from data_prep.stages.duplicates import REASONS, Compare, Decide
from data_prep.string_store import StringStore
from data_prep.work import Work, open_work

PLACES = (os.environ.get("DATA", "data"), "../shared/data")
DATA = next((Path(place) for place in PLACES if Path(place, "gsm8k").is_dir()), Path("data"))
IS_REAL = (DATA / "gsm8k" / "test.jsonl").is_file()

Row = dict[str, str]


def texts(source: str) -> list[str]:
    """The documents of one of `SOURCES`."""
    return all_texts()[source]


@cache
def all_texts() -> dict[str, list[str]]:
    """The documents of all `SOURCES`."""
    if not IS_REAL:
        return {source: generated(source, 500, 60, 1500) for source in SOURCES}
    return corpus.texts(DATA)


@cache
def problems(split: str) -> list[tuple[str, str]]:
    """Questions of GSM8K and their solutions."""
    if not IS_REAL:
        questions = generated(f"questions {split}", 1000, 30, 80)
        return list(zip(questions, generated(f"answers {split}", 1000, 30, 80), strict=True))
    return corpus.problems(DATA, split)


def generated(seed: str, count: int, least: int, most: int) -> list[str]:
    """Texts of ``least`` to ``most`` words, some far more frequent than others, and numbers."""
    source = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(source.choices(letters, k=source.randint(1, 9))) for _ in range(3000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    result = []
    for _ in range(count):
        chosen = source.choices(words, weights, k=source.randint(least, most))
        for place in range(0, len(chosen), 9):
            chosen[place] = str(source.randrange(1000))
        result.append(" ".join(chosen))
    return result


def shingles(text: str) -> set[tuple[str, ...]]:
    """Every run of three words, without hashing."""
    words = re.findall(r"[^\W_]+", text.lower())
    return {tuple(words[k : k + 3]) for k in range(max(1, len(words) - 2))}


def jaccard(left: str, right: str) -> float:
    """The exact similarity of two texts."""
    a, b = shingles(left), shingles(right)
    return len(a & b) / len(a | b)


def unrelated(candidates: Sequence[str], most: float = 0.3) -> list[str]:
    """The texts whose exact similarity with each earlier kept text is at most ``most``."""
    holders: dict[tuple[str, ...], list[int]] = {}
    kept: list[str] = []
    sizes: list[int] = []
    for text in candidates:
        runs = shingles(text)
        shared = Counter(k for run in runs for k in holders.get(run, ()))
        if any(n / (sizes[k] + len(runs) - n) > most for k, n in shared.items()):
            continue
        for run in runs:
            holders.setdefault(run, []).append(len(kept))
        kept.append(text)
        sizes.append(len(runs))
    return kept


def recipe(folder: Path, sources: dict[str, list[list[Row]]], **values: Any) -> Recipe:
    """A recipe with these sources, each a list of files, each a list of rows with text and id."""
    for name, files in sources.items():
        (folder / name).mkdir(parents=True)
        for number, rows in enumerate(files):
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / name / f"{number:03}.jsonl").write_text(lines)
    return Recipe(
        output_dir=folder / "mixture",
        tokenizer=TokenizerSource(train=TokenizerTraining(vocab_size=320, sample_bytes=100_000)),
        sources={
            name: Source(format="jsonl", path=f"{folder}/{name}/*", weight=1, id_field="id")
            for name in sources
        },
        **values,
    )


def decided(recipe: Recipe, folder: Path, ranges: int = 2) -> tuple[Work, dict[str, Any]]:
    """Run the stages up to the decisions in this process; returns the fate of every document by id.

    The fate is None for a document that stays, else the reason, and the id of the duplicate that
    stays or the question that it contains.
    """
    from data_prep.stages.documents import pipeline

    work = open_work(recipe, folder)
    work.ranges = ranges
    stages: list[tuple[Callable[[Work], list[Any]], int]] = [
        (pipeline, len(work.tasks)),
        (lambda work: [Compare(work)], ranges),
        (lambda work: [Decide(work)], 1),
    ]
    for steps, tasks in stages:
        for rank in range(tasks):
            stream: Any = None
            for step in steps(work):
                stream = step.run(stream, rank, tasks)
            assert list(stream) == []
    fates: dict[str, Any] = {}
    ids = [_ids(work, task.number) for task in work.tasks]
    for task in work.tasks:
        with work.path(artifacts.REJECTED_EARLY, task.number).open(encoding="utf-8") as lines:
            for line in map(json.loads, lines):
                fates[line["id"]] = (line["reason"], line.get("question"))
        fates.update(dict.fromkeys(ids[task.number]))
        decisions = np.load(work.path(artifacts.DECISIONS, part=task.number))
        for row, kind, of in decisions.tolist():
            fates[ids[task.number][row]] = (REASONS[kind], ids[of >> 32][of & (2**32 - 1)])
    return work, fates


def _ids(work: Work, task: int) -> list[str]:
    strings = StringStore(work.path(artifacts.IDS, task))
    rows = pyarrow.parquet.read_metadata(work.path(artifacts.DOCUMENTS, task)).num_rows
    return [strings[k] for k in range(rows)]
