"""The duplicates and decisions stages: compare documents that share a key, and keep one of them.

Keys lie on disk, sorted, in one file for each task and run. A duplicates task compares one range of
the keys of all files, which bounds its memory. All decisions are made in one task, over pairs.
"""

import bisect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep import similarity
from data_prep.arrays import save_array
from data_prep.stages import artifacts
from data_prep.stages.step import Documents, Step, running, stored_documents
from data_prep.work import Work
from tinymathreason.cli import InputError

EXACT, SAME_ID, NEAR = 0, 1, 2
"""Kinds of duplicates, the strongest first."""
REASONS = ("exact_duplicate", "duplicate_id", "near_duplicate")
"""The reason for rejecting a document, by the kind of its pair."""
PAIRS_PER_BATCH = 1 << 18
"""Pairs compared together."""

_NO_DUPLICATE = 255
_LOW_BITS = 2**32 - 1


class Compare(Step):
    """Find the pairs of duplicates that share a key in one range of the keys."""

    name = "compare"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Documents:
        """Write the pairs, sorted; yields no documents."""
        work = self.work
        files = artifacts.KEYS.files(work.folder)
        with running(work, "duplicates", rank, len(files)) as progress:
            low, high = (-(-(2**64) * part // work.ranges) for part in (rank, rank + 1))
            keys, documents = [], []
            for file in files:
                entries = _slice(file, low, high)
                keys.append(entries["key"])
                documents.append((np.uint64(file.parent.name) << np.uint64(32)) + entries["row"])
                progress.add(len(entries), entries.nbytes, done=1)
            candidates = np.zeros((0, 2), dtype=np.uint64)
            if keys:
                candidates = similarity.meetings(keys, documents)
            batches = [
                _duplicates(work, candidates[k : k + PAIRS_PER_BATCH])
                for k in range(0, len(candidates), PAIRS_PER_BATCH)
            ]
            pairs = np.concatenate([np.zeros(0, dtype=artifacts.PAIR), *batches])
            # Where each task's pairs begin, as the decisions are made task by task.
            begins = np.arange(len(work.tasks) + 1, dtype=np.uint64) << np.uint64(32)
            save_array(work.path(artifacts.PAIRS, rank), pairs)
            save_array(
                work.path(artifacts.PAIR_BOUNDS, rank),
                np.searchsorted(np.ascontiguousarray(pairs["later"]), begins),
            )
        yield from ()


def _slice(file: Path, low: int, high: int) -> npt.NDArray[Any]:
    """The entries of a sorted file with ``low <= key < high``."""
    entries = np.load(file, mmap_mode="r")
    # numpy's own search would first copy all keys of the file.
    first, last = (
        bisect.bisect_left(range(len(entries)), key, key=lambda k: int(entries[k]["key"]))
        for key in (low, high)
    )
    return np.array(entries[first:last], dtype=artifacts.KEY)


def _duplicates(work: Work, candidates: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The candidate pairs (later, earlier), uint64[n, 2], that are duplicates, with their kind."""
    later, earlier = (_fingerprints(work, candidates[:, side]) for side in (0, 1))
    kinds = np.full(len(candidates), _NO_DUPLICATE, dtype=np.uint8)
    if work.recipe.near_duplicates:
        kinds[similarity.similar(later, earlier)] = NEAR
    sources = np.unique([task.source for task in work.tasks], return_inverse=True)[1]
    source_of_later, source_of_earlier = (
        sources[(candidates[:, side] >> np.uint64(32)).astype(int)] for side in (0, 1)
    )
    same_id = (later["id"] != 0) & (later["id"] == earlier["id"])
    kinds[same_id & (source_of_later == source_of_earlier)] = SAME_ID
    kinds[(later["digest"] == earlier["digest"]).all(axis=1)] = EXACT
    pairs = np.zeros(len(candidates), dtype=artifacts.PAIR)
    pairs["later"], pairs["earlier"], pairs["kind"] = candidates[:, 0], candidates[:, 1], kinds
    return np.asarray(pairs[kinds != _NO_DUPLICATE])


def _fingerprints(work: Work, documents: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The fingerprints of documents, by their numbers."""
    records = np.zeros(len(documents), dtype=similarity.RECORD)
    tasks = (documents >> np.uint64(32)).astype(np.int64)
    rows = (documents & np.uint64(_LOW_BITS)).astype(np.int64)
    for task in np.unique(tasks).tolist():
        of_task = tasks == task
        stored = np.load(work.path(artifacts.FINGERPRINTS, task), mmap_mode="r")
        records[of_task] = stored[rows[of_task]]
    return records


class Decide(Step):
    """Go through all pairs in the order of the later document; reject it if the earlier one stays.

    So every rejected document is a duplicate of one that is kept, and no chain of similar documents
    removes one that is unlike all kept ones.
    """

    name = "decide"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Documents:
        """Write each task's decisions, sorted by row; yields no documents."""
        work = self.work
        bounds = [
            np.load(work.path(artifacts.PAIR_BOUNDS, number)) for number in range(work.ranges)
        ]
        rejected: dict[int, bytearray] = {}
        heirs: dict[int, int] = {}
        with running(work, "decisions", rank, len(work.tasks)) as progress:
            for task in work.tasks:
                pairs = np.unique(_pairs_of(work, task.number, bounds))
                rejected[task.number] = bytearray(_count_documents(work, task.number))
                decisions = np.array(
                    list(_decide(pairs, rejected, heirs)), dtype=artifacts.DECISION
                )
                if work.recipe.on_bad_input == "fail":
                    self._refuse_repeated_id(task.number, decisions)
                save_array(work.path(artifacts.DECISIONS, part=task.number), decisions)
                progress.add(len(pairs), pairs.nbytes, done=1)
        yield from ()

    def _refuse_repeated_id(self, task: int, decisions: npt.NDArray[Any]) -> None:
        for row, _, duplicate_of in decisions[decisions["kind"] == SAME_ID][:1].tolist():
            again, first = (
                _place(self.work, task, row),
                _place(self.work, duplicate_of >> 32, duplicate_of & _LOW_BITS),
            )
            raise InputError(f"{again}: has the same id as {first}")


def _pairs_of(work: Work, task: int, bounds: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The pairs of all ranges whose later document belongs to a task."""
    parts = [np.zeros(0, dtype=artifacts.PAIR)]
    for number, begins in enumerate(bounds):
        first, last = begins[task : task + 2].tolist()
        if first < last:
            # Mapped anew each time, since thousands of maps would be as many open files.
            pairs = np.load(work.path(artifacts.PAIRS, number), mmap_mode="r")
            parts.append(np.array(pairs[first:last], dtype=artifacts.PAIR))
    return np.concatenate(parts)


def _decide(
    pairs: npt.NDArray[Any], rejected: dict[int, bytearray], heirs: dict[int, int]
) -> Iterator[tuple[int, int, int]]:
    """The decisions of one task: row, kind, and number of the document that stays.

    ``rejected`` holds, by task and row, 0 for a document that stays and the kind plus 1 for one
    that is rejected. When a document is rejected for its id, the next document with its text takes
    its place: its heir.
    """
    best: dict[int, tuple[int, int]] = {}
    previous = -1
    for later, earlier, kind in [*pairs.tolist(), (-1, 0, 0)]:
        if later != previous and previous in best:
            strongest, duplicate_of = best.pop(previous)
            rejected[previous >> 32][previous & _LOW_BITS] = strongest + 1
            yield previous & _LOW_BITS, strongest, duplicate_of
        previous = later
        if later < 0:
            continue
        rejection = rejected[earlier >> 32][earlier & _LOW_BITS]
        if rejection == SAME_ID + 1 and kind == EXACT:
            heir = heirs.get(earlier, later)
            if heir == later or rejected[heir >> 32][heir & _LOW_BITS]:
                heirs[earlier] = later
            else:
                earlier, rejection = heir, 0
        if not rejection:
            best[later] = min(best.get(later, (kind, earlier)), (kind, earlier))


def _count_documents(work: Work, task: int) -> int:
    """Documents that the documents stage kept in a task."""
    return len(np.load(work.path(artifacts.FINGERPRINTS, task), mmap_mode="r"))


def _place(work: Work, task: int, row: int) -> str:
    """Where a document stood in the input."""
    columns = stored_documents(work, task).read(columns=["file", "row"]).slice(row, 1)
    return f"{columns['file'][0].as_py()}: row {columns['row'][0].as_py()}"
