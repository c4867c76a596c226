"""Reads a source that has a selection: all of its rows first, then those that are chosen.

The first reading keeps a few numbers of each row, and the second gives the chosen examples, so the
memory does not grow with the texts. What is known of a file's rows is kept in a folder until all
examples are prepared: a command that was interrupted continues with the next file.
"""

import dataclasses
import hashlib
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from data_prep.contamination import QuestionIndex
from sft import selection
from sft.config import QuestionSource
from sft.encoding import BATCH, encode
from sft.examples import Example, file_examples, repetition, source_files
from tinymathreason.chat import Chat
from tinymathreason.cli import InputError
from tinymathreason.files import new_file
from tinymathreason.records.examples import Selected

OVER_BUDGET = "over_budget"
"""Reason of the rows that a selection leaves out. They are counted, and their texts not stored."""
SCHEMA = pyarrow.schema(
    [
        ("row", pyarrow.uint32()),
        ("reason", pyarrow.string()),
        ("digest", pyarrow.binary()),
        ("question", pyarrow.uint64()),
        ("cluster", pyarrow.uint64()),
        ("tokens", pyarrow.uint32()),
        ("level", pyarrow.string()),
        ("rejected", pyarrow.string()),
    ]
)
"""What is kept of each row of a file: its number, why it is rejected, the digest of its
conversation, the columns of `selection.CANDIDATE`, and a rejected example as JSON."""


class Survey:
    """The first readings, by source.

    ``inputs`` is a text that changes with whatever decides the examples; what another one left in
    ``folder`` is ignored. An example of more than ``max_length`` tokens is rejected.
    """

    def __init__(
        self, chat: Chat, max_length: int | None, seed: int, folder: Path, inputs: str
    ) -> None:
        self.selected: dict[str, Selected] = {}
        """What each selection had to choose from, and what it chose."""
        self.rejected: dict[str, Counter[str]] = defaultdict(Counter)
        """The rejected rows of each source, by reason."""
        self._chat, self._max_length, self._seed = chat, max_length, seed
        self._folder, self._inputs = folder, inputs
        self._parts: list[Path] = []

    def choose(
        self, name: str, source: QuestionSource, seen: set[bytes], benchmarks: QuestionIndex | None
    ) -> Iterator[Example]:
        """The examples of a source that its selection keeps; see `sft.examples.Choice`."""
        assert source.select is not None
        known: set[bytes] = set()
        files: list[str] = []
        tables: list[Any] = []
        left = source.examples
        for file in source_files(name, source):
            if left == 0:
                break
            part = self._part(name, file)
            if not part.is_file():
                rows = itertools.islice(file_examples(name, source, file), left)
                self._write(part, name, source, rows, benchmarks, (seen, known))
            table = _read(part)
            left = None if left is None else left - len(table)
            known.update(filter(None, table["digest"].to_pylist()))
            self.rejected[name].update(filter(None, table["reason"].to_pylist()))
            self._parts.append(part)
            files.append(file)
            tables.append(table.filter(pyarrow.compute.is_null(table["reason"])))
        candidates, levels = _candidates(tables)
        chosen, record = selection.choose(candidates, levels, source.select, self._seed)
        self.selected[name] = record
        if over := len(chosen) - int(chosen.sum()):
            self.rejected[name][OVER_BUDGET] = over
        ends = np.cumsum([len(table) for table in tables])
        for file, table, mask in zip(files, tables, np.split(chosen, ends[:-1]), strict=True):
            kept = table.filter(pyarrow.array(mask))
            seen.update(kept["digest"].to_pylist())
            wanted = frozenset(kept["row"].to_pylist())
            for _, example in file_examples(name, source, file, wanted):
                yield example

    def write_rejected(self, lines: TextIO) -> None:
        """Write the rejected rows, one JSON object a line, without those over the budget."""
        for part in self._parts:
            with pyarrow.parquet.ParquetFile(part.absolute()) as stored:
                for batch in stored.iter_batches(BATCH, columns=["rejected"]):
                    lines.writelines(f"{text}\n" for text in batch["rejected"].to_pylist() if text)

    def _part(self, name: str, file: str) -> Path:
        text = json.dumps([self._inputs, name, file])
        digest = hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()
        return self._folder / f"{digest}.parquet"

    def _write(
        self,
        part: Path,
        name: str,
        source: QuestionSource,
        rows: Iterator[tuple[int, Example]],
        benchmarks: QuestionIndex | None,
        seen: tuple[set[bytes], set[bytes]],
    ) -> None:
        """Write what is known of a file's rows; adds their digests to the last of ``seen``."""
        from tqdm import tqdm

        with (
            new_file(part) as aside,
            pyarrow.parquet.ParquetWriter(aside.absolute(), SCHEMA, compression="zstd") as writer,
            tqdm(desc=f"{name}, first reading", unit=" rows") as progress,
        ):
            for batch in itertools.batched(rows, BATCH):
                digests: list[bytes | None] = []
                for _, example in batch:
                    digest = None
                    if example.reason is None:
                        digest = example.digest
                        example.reason = repetition(example, digest, benchmarks, *seen)
                        seen[-1].add(digest)
                    digests.append(digest)
                writer.write_table(self._table(batch, digests, source.turns))
                progress.update(len(batch))

    def _table(
        self, batch: Sequence[tuple[int, Example]], digests: list[bytes | None], turns: str
    ) -> Any:
        examples = [example for _, example in batch if example.reason is None]
        encoded = encode(self._chat, examples, [turns] * len(examples), self._max_length)
        tokens = iter([sum(one.assistant_mask) for one in encoded if one is not None])
        rows = []
        for (number, example), digest in zip(batch, digests, strict=True):
            row: dict[str, Any] = {
                "row": number,
                "reason": example.reason,
                "digest": digest,
                "level": example.level,
            }
            if example.reason is None:
                row["question"] = selection.text_hash(example.question)
                row["cluster"] = selection.cluster(example.question)
                row["tokens"] = next(tokens)
            else:
                row["rejected"] = json.dumps(dataclasses.asdict(example))
            rows.append(row)
        return pyarrow.Table.from_pylist(rows, schema=SCHEMA)


def _read(part: Path) -> Any:
    columns = [name for name in SCHEMA.names if name != "rejected"]
    try:
        return pyarrow.parquet.read_table(part.absolute(), columns=columns)
    except pyarrow.ArrowException as error:
        raise InputError(f"{part}: {error}; remove it and run the same command again") from error


def _candidates(tables: Sequence[Any]) -> tuple[Any, list[str]]:
    """The rows that can be chosen, of `selection.CANDIDATE`, and the names of their levels."""
    table = pyarrow.concat_tables(tables)
    names = table["level"].to_pylist()
    levels = sorted(set(names))
    numbers = {name: number for number, name in enumerate(levels)}
    rows = np.zeros(len(table), dtype=selection.CANDIDATE)
    digests = np.frombuffer(b"".join(table["digest"].to_pylist()), dtype="<u8")
    rows["digest"] = digests.reshape(-1, 2)[:, 0]
    rows["level"] = [numbers[name] for name in names]
    for column in ("question", "cluster", "tokens"):
        rows[column] = table[column].to_numpy()
    return rows, levels
