"""Read the history of a training run: its curves by step and its checkpoints.

The curves come from TensorBoard's event files, local or in a bucket. MaxText's ``metrics_file`` is
no alternative: its lines have no time, every host appends to it, and each evaluation empties it.
"""

import contextlib
import re
import struct
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

import fsspec.core
import numpy as np
import numpy.typing as npt

from tinymathreason.checkpoints import METADATA, maxtext_complete
from tinymathreason.cli import InputError
from tinymathreason.parsing import parse_json
from tinymathreason.records.base import Record

LOSS = "learning/loss"
HELD_OUT = "eval/avg_loss"
WEIGHTS = "learning/total_weights"
"""Tokens of a step that are not padding."""
RATE = "learning/current_learning_rate"
NORM = "learning/raw_grad_norm"
"""Norm of the gradient before clipping."""
TAGS = (LOSS, HELD_OUT, WEIGHTS, RATE, NORM)

CHUNK = 1 << 25
"""Bytes to read at once; the event file of a long run has hundreds of megabytes."""
FRAME = struct.Struct("<QI")
"""The header of a record: its length and the masked CRC-32C of the length. The record's own CRC
follows it: https://www.tensorflow.org/tutorials/load_data/tfrecord"""
WANTED = re.compile(b"|".join(re.escape(tag.encode()) for tag in TAGS))
"""Matches records of the tags above. Parsing all other records would take most of the time."""

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Series(NamedTuple):
    """One scalar by step: four arrays of equal length, with strictly ascending steps."""

    steps: Integers
    values: Floats
    times: Floats
    """Seconds since the epoch, by the clock of the host that wrote the event."""
    files: Integers
    """Index of the event file; every start of the training writes a new one."""


class EventFile:
    """The scalars read from one event file so far; `read` reads only what is new."""

    def __init__(self) -> None:
        self.offset = 0
        self.began: float | None = None
        self.damaged = False
        self._rows = {tag: array("d") for tag in TAGS}

    def read(self, system: Any, path: str, size: int) -> None:
        """Read the complete records between the last offset and ``size`` bytes.

        An incomplete record is left for the next call. Nothing is read after a damaged length.
        """
        limit = CHUNK
        while self.offset < size and not self.damaged:
            data = system.cat_file(path, start=self.offset, end=min(size, self.offset + limit))
            used = self._parse(data)
            self.offset += used
            if used:
                limit = CHUNK
            elif len(data) < limit:
                break
            else:
                limit *= 2

    def _parse(self, data: bytes) -> int:
        """Parse the complete records at the start of ``data``; returns their size in bytes."""
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
        from tensorboard.compat.proto.event_pb2 import Event

        here, end = 0, len(data)
        while here + FRAME.size <= end:
            length, check = FRAME.unpack_from(data, here)
            after = here + FRAME.size + length + 4
            if after > end or length == 0:
                self.damaged = check != _checksum(data[here : here + 8])
                break
            record = data[here + FRAME.size : after - 4]
            if self.began is None or WANTED.search(record):
                try:
                    self._add(Event.FromString(record))
                except DecodeError:
                    self.damaged = True
                    break
            here = after
        return here

    def _add(self, event: Any) -> None:
        if self.began is None:
            self.began = event.wall_time
        for value in event.summary.value:
            if value.tag in self._rows and value.HasField("simple_value"):
                row = (event.step, value.simple_value, event.wall_time)
                self._rows[value.tag].extend(row)

    def rows(self, tag: str) -> Floats:
        """Step, value and time of one scalar, one row per event."""
        return np.array(self._rows[tag]).reshape(-1, 3)


def _checksum(data: bytes) -> int:
    """TensorFlow's masked CRC-32C."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    return int(masked_crc32c(data))


class SavedStep(NamedTuple):
    """A complete checkpoint."""

    step: int
    time: float
    """Seconds since the epoch at which it was committed."""


class History:
    """The history of a run over all its starts; empty until `update` is called."""

    def __init__(self, run: str) -> None:
        """``run`` is a local folder or a ``gs://`` one; `InputError` if it does not exist."""
        self.run = run.rstrip("/") or run
        try:
            self._system, self._path = fsspec.core.url_to_fs(self.run)
        except (ImportError, ValueError) as error:
            raise InputError(f"{run}: cannot be opened: {error}") from error
        self._files: dict[str, EventFile] = {}
        with self._reaching():
            if not self._system.isdir(self._path):
                raise InputError(f"{run}: no such folder")

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn exceptions of gcsfs other than `OSError` into an `InputError`."""
        refusals: tuple[type[Exception], ...] = ()
        if "gs" in self._system.protocol:
            from gcsfs.retry import HttpError  # type: ignore[import-untyped]
            from google.auth.exceptions import GoogleAuthError

            refusals = (HttpError, GoogleAuthError)
        try:
            yield
        except refusals as error:
            raise InputError(f"{self.run}: cannot be read: {error}") from error

    def update(self) -> None:
        """Read the events written since the last call.

        Raises `InputError` or `OSError` when the folder cannot be read.
        """
        with self._reaching():
            self._system.invalidate_cache()
            files = self._system.find(f"{self._path}/tensorboard", detail=True)
            for path, entry in files.items():
                if "events.out.tfevents." in path.rpartition("/")[2]:
                    file = self._files.setdefault(path, EventFile())
                    file.read(self._system, path, entry["size"])

    def _ordered(self) -> list[EventFile]:
        # The file name contains the second in which the file was created.
        return [self._files[path] for path in sorted(self._files, key=lambda p: p.split("/")[-1])]

    def series(self, tag: str) -> Series:
        """One scalar of the steps that count; of a repeated step only the last run counts."""
        tables = [np.zeros((0, 4))]
        least = np.inf
        files = self._ordered()
        for number in reversed(range(len(files))):
            rows = files[number].rows(tag)
            numbers = np.full((len(rows), 1), float(number))
            tables.append(np.hstack([rows, numbers])[rows[:, 0] < least])
            # A start counts from its first loss: it may lack evaluations that an earlier one has.
            least = np.min(files[number].rows(LOSS)[:1, 0], initial=least)
        table = np.concatenate(tables[::-1])
        # Steps ascend within a start; if they ever do not, later ones count here as well.
        following = np.minimum.accumulate(np.append(table[:, 0], np.inf)[::-1])[-2::-1]
        steps, values, times, numbers = table[table[:, 0] < following].T
        return Series(steps.astype(np.int64), values, times, numbers.astype(np.int64))

    @property
    def recorded(self) -> int:
        """The number of training steps in the event files, including repeated ones."""
        return sum(len(file.rows(LOSS)) for file in self._files.values())

    @property
    def starts(self) -> list[float]:
        """The time at which each start created its event file, after importing and compiling."""
        return [file.began for file in self._ordered() if file.began is not None]

    @property
    def damaged(self) -> list[str]:
        """Event files with damaged records, each with the byte at which the damage begins."""
        return [f"{p} at byte {f.offset}" for p, f in sorted(self._files.items()) if f.damaged]

    def json(self, name: str) -> Any:
        """The value of a JSON file in the run's folder; None when there is no such file."""
        content = self._content(name)
        return None if content is None else parse_json(content, f"{self.run}/{name}")

    def record[R: Record](self, model: type[R], name: str) -> R | None:
        """A record in the run's folder; None when there is no such file."""
        content = self._content(name)
        return None if content is None else model.parse(content, f"{self.run}/{name}")

    def _content(self, name: str) -> bytes | None:
        with self._reaching():
            try:
                return bytes(self._system.cat_file(f"{self._path}/{name}"))
            except FileNotFoundError:
                return None

    def checkpoint(self) -> SavedStep | None:
        """The last complete checkpoint; None without one."""
        folder = f"{self._path}/checkpoints"
        with self._reaching():
            try:
                names = [path.rpartition("/")[2] for path in self._system.ls(folder, detail=False)]
            except FileNotFoundError:
                return None
            for step in sorted((int(name) for name in names if name.isdigit()), reverse=True):
                files = self._system.ls(f"{folder}/{step}", detail=False)
                if maxtext_complete(path.rpartition("/")[2] for path in files):
                    metadata = self.json(f"checkpoints/{step}/{METADATA}")
                    if metadata is not None:
                        return SavedStep(step, metadata["commit_timestamp_nsecs"] / 1e9)
        return None
