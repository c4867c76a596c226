"""Answers lm-eval's requests in batches of similar length, and stores each batch when it is done.

A batch has the same requests and the same seed whatever was answered before it, so an evaluation
that was killed and continued gives the same bytes.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinymathreason.cli import InputError

Response = Any
"""A text; for a choice, its log-likelihood and whether it is the greedy continuation."""


class Journal:
    """The responses of finished batches, in a file with one line for each batch.

    ``key`` identifies the evaluation; a file with another key is started anew.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.batches: dict[int, list[Response]] = {}
        """Responses by the number of the batch."""
        whole = self._read(path, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # The last line of a killed process may be cut short; it is overwritten.
        self._file = path.open("r+b" if whole else "wb")
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            self._write({"key": key})

    def add(self, batch: int, responses: Sequence[Response]) -> None:
        """Store the responses of a batch."""
        self.batches[batch] = list(responses)
        self._write({"batch": batch, "responses": responses})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()

    def _read(self, path: Path, key: str) -> int:
        """Read the finished batches of this key; the number of bytes in their complete lines."""
        if not path.is_file():
            return 0
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                record = json.loads(line if line.endswith(b"\n") else b"")
            except ValueError:
                break  # cut short, by a kill or a full disk
            if whole == 0 and record != {"key": key}:
                return 0
            if whole:
                self.batches[record["batch"]] = record["responses"]
            whole += len(line)
        return whole


def respond(
    lm: Any,
    requests: Sequence[Any],
    lengths: Sequence[int],
    samples: int,
    batch_size: int,
    seed: int,
    journal: Journal | None,
) -> list[list[Response]]:
    """The ``samples`` responses to each of lm-eval's requests, which are all of one type.

    ``lengths`` are those of the requests in tokens. A bar shows the rate and the remaining time.
    """
    import torch
    from tqdm import tqdm

    # Longest first: batches have little padding, and memory runs out in the first one or never.
    order = sorted(range(len(requests)), key=lambda i: -lengths[i])
    units = [i for i in order for _ in range(samples)]
    answered: list[list[Response]] = [[] for _ in requests]
    kept = journal.batches if journal else {}
    with tqdm(total=len(units), desc="requests") as progress:
        for number, batch in enumerate(itertools.batched(units, batch_size)):
            if number in kept:
                responses = kept[number]
                progress.initial += len(batch)  # so that the rate is only that of this process
            else:
                torch.manual_seed((seed << 32) + number)  # different for every seed and batch
                ask = getattr(lm, requests[0].request_type)
                responses = ask([requests[i] for i in batch], disable_tqdm=True)
                if journal:
                    journal.add(number, responses)
            for i, response in zip(batch, responses, strict=True):
                answered[i].append(response)
            progress.update(len(batch))
    return answered


def check_lengths(lengths: Sequence[int], most: int, shots: int, room: int, context: int) -> int:
    """The number of requests with more than ``most`` tokens, which lm-eval truncates.

    Raises `InputError` when there are shots: the first ones would be cut off.
    """
    long = sum(length > most for length in lengths)
    if long and shots:
        raise InputError(
            f"shots: {long} of {len(lengths)} prompts with {shots} shots do not fit the model's "
            f"context of {context} with {room} tokens for an answer; give a smaller --shots"
        )
    return long
