"""The duplicates and decisions stages: documents that meet under a key are compared; one stays.

Keys lie on disk, sorted, a file for each task and run. A duplicates task takes one range of the
keys of all files, so its memory is bounded; the decisions are made in one task, over pairs.
"""

import bisect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep import similarity
from data_prep.arrays import save_array
from data_prep.stages.documents import KEY
from data_prep.stages.step import Documents, Step, running, stored
from data_prep.work import NUMBERED, Work
from tinymathreason.cli import InputError

EXACT, SAME_ID, NEAR = 0, 1, 2
"""Kinds of pairs, the strongest first."""
REASONS = ("exact_duplicate", "duplicate_id", "near_duplicate")
"""The reason for rejecting a document, by the kind of its pair."""
PAIR = np.dtype([("later", "<u8"), ("earlier", "<u8"), ("kind", "u1")])
"""Two documents by number, and what they have in common."""
DECISION = np.dtype([("row", "<u4"), ("kind", "u1"), ("of", "<u8")])
"""A document to reject by its row in its task, why, and the number of the one that stays."""
RECORDS_AT_ONCE = 1 << 18
"""Pairs compared together."""


class Compare(Step):
    """Find the pairs of duplicates that meet in one range of the keys."""

    name = "compare"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Documents:
        """Write the pairs, sorted; yields no documents."""
        work = self.work
        files = sorted((work.folder / "keys").glob(f"{NUMBERED}/{NUMBERED}.npy"))
        with running(work, "duplicates", rank, len(files)) as progress:
            low, high = (-(-(2**64) * part // work.ranges) for part in (rank, rank + 1))
            keys, documents = [], []
            for file in files:
                found = _slice(file, low, high)
                keys.append(found["key"])
                documents.append((np.uint64(file.parent.name) << np.uint64(32)) + found["row"])
                progress.add(len(found), found.nbytes, done=1)
            pairs = np.zeros((0, 2), dtype=np.uint64)
            if keys:
                pairs = similarity.meetings(keys, documents)
            kept = [
                _judged(work, pairs[k : k + RECORDS_AT_ONCE])
                for k in range(0, len(pairs), RECORDS_AT_ONCE)
            ]
            found_pairs = np.concatenate([np.zeros(0, dtype=PAIR), *kept])
            # Where each task's pairs begin: the decisions read them task by task.
            begins = np.arange(len(work.tasks) + 1, dtype=np.uint64) << np.uint64(32)
            save_array(work.path("pairs", rank, ".npy"), found_pairs)
            save_array(
                work.path("bounds", rank, ".npy"),
                np.searchsorted(np.ascontiguousarray(found_pairs["later"]), begins),
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
    return np.array(entries[first:last], dtype=KEY)


def _judged(work: Work, pairs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The pairs that are duplicates, each with its kind."""
    later, earlier = (_records(work, pairs[:, side]) for side in (0, 1))
    kinds = np.full(len(pairs), 255, dtype=np.uint8)
    if work.recipe.near_duplicates:
        kinds[similarity.similar(later, earlier)] = NEAR
    sources = np.unique([task.source for task in work.tasks], return_inverse=True)[1]
    of_later, of_earlier = (sources[(pairs[:, k] >> np.uint64(32)).astype(int)] for k in (0, 1))
    same_id = (later["id"] != 0) & (later["id"] == earlier["id"])
    kinds[same_id & (of_later == of_earlier)] = SAME_ID
    kinds[(later["digest"] == earlier["digest"]).all(axis=1)] = EXACT
    found = np.zeros(len(pairs), dtype=PAIR)
    found["later"], found["earlier"], found["kind"] = pairs[:, 0], pairs[:, 1], kinds
    return np.asarray(found[kinds != 255])


def _records(work: Work, documents: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The fingerprints of documents by number."""
    records = np.zeros(len(documents), dtype=similarity.RECORD)
    tasks = (documents >> np.uint64(32)).astype(np.int64)
    rows = (documents & np.uint64(2**32 - 1)).astype(np.int64)
    for task in np.unique(tasks).tolist():
        mine = tasks == task
        kept = np.load(work.path("fingerprints", task, ".npy"), mmap_mode="r")
        records[mine] = kept[rows[mine]]
    return records


class Decide(Step):
    """Go through all pairs in the order of the later document: it goes if the earlier one stays.

    So every rejected document is like one that is kept, and none is lost to a chain of likenesses.
    """

    name = "decide"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Documents:
        """Write each task's decisions, sorted by row; yields no documents."""
        work = self.work
        bounds = [np.load(work.path("bounds", part, ".npy")) for part in range(work.ranges)]
        dropped: dict[int, bytearray] = {}
        heirs: dict[int, int] = {}
        with running(work, "decisions", rank, len(work.tasks)) as progress:
            for task in work.tasks:
                pairs = np.unique(_of_task(work, task.number, bounds))
                dropped[task.number] = bytearray(_rows(work, task.number))
                decisions = np.array(list(_decide(pairs, dropped, heirs)), dtype=DECISION)
                if work.recipe.on_bad_input == "fail":
                    self._refuse_repeated_id(task.number, decisions)
                save_array(work.path("decisions", task.number, ".npy"), decisions)
                progress.add(len(pairs), pairs.nbytes, done=1)
        yield from ()

    def _refuse_repeated_id(self, task: int, decisions: npt.NDArray[Any]) -> None:
        for row, _, of in decisions[decisions["kind"] == SAME_ID][:1].tolist():
            again, first = (
                _place(self.work, task, row),
                _place(self.work, of >> 32, of & (2**32 - 1)),
            )
            raise InputError(f"{again}: the id is that of {first}")


def _of_task(work: Work, task: int, bounds: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The pairs of all ranges whose later document is of a task."""
    found = [np.zeros(0, dtype=PAIR)]
    for part, begins in enumerate(bounds):
        first, last = begins[task : task + 2].tolist()
        if first < last:
            # Opened anew each time: thousands of maps would be as many open files.
            pairs = np.load(work.path("pairs", part, ".npy"), mmap_mode="r")
            found.append(np.array(pairs[first:last], dtype=PAIR))
    return np.concatenate(found)


def _decide(
    pairs: npt.NDArray[Any], dropped: dict[int, bytearray], heirs: dict[int, int]
) -> Iterator[tuple[int, int, int]]:
    """The decisions of one task.

    ``dropped`` holds one more than the kind for each document that goes, by task and row. When one
    goes for its id, the next document with its text takes its place: its heir.
    """
    best: dict[int, tuple[int, int]] = {}
    previous = -1
    low = 2**32 - 1
    for later, earlier, kind in [*pairs.tolist(), (-1, 0, 0)]:
        if later != previous and previous in best:
            strongest, of = best.pop(previous)
            dropped[previous >> 32][previous & low] = strongest + 1
            yield previous & low, strongest, of
        previous = later
        if later < 0:
            continue
        gone = dropped[earlier >> 32][earlier & low]
        if gone == SAME_ID + 1 and kind == EXACT:
            heir = heirs.get(earlier, later)
            if heir == later or dropped[heir >> 32][heir & low]:
                heirs[earlier] = later
            else:
                earlier, gone = heir, 0
        if not gone:
            best[later] = min(best.get(later, (kind, earlier)), (kind, earlier))


def _rows(work: Work, task: int) -> int:
    """Documents that the documents stage kept of a task."""
    return len(np.load(work.path("fingerprints", task, ".npy"), mmap_mode="r"))


def _place(work: Work, task: int, row: int) -> str:
    columns = stored(work, task).read(columns=["file", "row"]).slice(row, 1)
    return f"{columns['file'][0].as_py()}: row {columns['row'][0].as_py()}"
