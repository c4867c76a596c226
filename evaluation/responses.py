"""Answers lm-eval's requests in batches of similar length, and stores each batch when it is done.

A batch has the same requests and the same seed whatever was answered before it, so an evaluation
that was killed and continued gives the same bytes. On a GPU the size of a batch follows from the
free memory; greedy answers do not depend on it, except for the rounding of bfloat16.
"""

import json
from collections.abc import Callable, Sequence
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
        self.responses: list[Response] = []
        """Of all finished batches, in the order in which they were asked."""
        whole = self._read(path, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # The last line of a killed process may be cut short; it is overwritten.
        self._file = path.open("r+b" if whole else "wb")
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            self._write({"key": key})

    def add(self, responses: Sequence[Response]) -> None:
        """Store the responses of the next batch."""
        first = len(self.responses)
        self.responses += responses
        self._write({"first": first, "responses": responses})

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
                if record.get("first") != len(self.responses):
                    break  # an earlier line is missing, or an older program wrote it
                self.responses += record["responses"]
            whole += len(line)
        return whole


def respond(
    lm: Any,
    requests: Sequence[Any],
    lengths: Sequence[int],
    samples: int,
    batch_size: Callable[[int], int],
    seed: int,
    journal: Journal | None,
) -> list[list[Response]]:
    """The ``samples`` responses to each of lm-eval's requests, which are all of one type.

    ``lengths`` are those of the requests in tokens; ``batch_size`` is asked how many requests, of
    at most so many tokens, are answered at once. When the GPU's memory runs out, the batch and all
    after it are halved. Raises `InputError` when it runs out with one request.

    A bar shows the rate and the remaining time.
    """
    import torch
    from tqdm import tqdm

    # Longest first: batches have little padding, and memory runs out in the first one or never.
    order = sorted(range(len(requests)), key=lambda i: -lengths[i])
    units = [i for i in order for _ in range(samples)]
    responses = list(journal.responses) if journal else []
    most = len(units)
    # As the initial number, so that the rate is only that of this process.
    with tqdm(total=len(units), desc="requests", initial=len(responses)) as progress:
        while len(responses) < len(units):
            first = len(responses)
            size = min(most, batch_size(lengths[units[first]]))
            batch = units[first : first + size]
            torch.manual_seed((seed << 32) + first)  # different for every seed and batch
            answers = _ask(lm, [requests[i] for i in batch])
            if answers is None:
                if len(batch) == 1:
                    raise InputError(
                        f"the GPU's memory does not suffice for one prompt of "
                        f"{lengths[batch[0]]} tokens; free some of it, or give a smaller "
                        "--max-new-tokens"
                    )
                most = len(batch) // 2
                progress.write(f"out of memory with {len(batch)} prompts at once; now {most}")
                torch.cuda.empty_cache()
                continue
            if journal:
                journal.add(answers)
            responses += answers
            progress.update(len(batch))
    answered: list[list[Response]] = [[] for _ in requests]
    for i, response in zip(units, responses, strict=True):
        answered[i].append(response)
    return answered


def _ask(lm: Any, requests: list[Any]) -> list[Response] | None:
    """The responses to a batch; None when the GPU's memory does not suffice.

    The error is not passed on, since its traceback would keep the batch in the memory.
    """
    import torch

    try:
        responses: list[Response] = getattr(lm, requests[0].request_type)(
            requests, disable_tqdm=True
        )
    except torch.OutOfMemoryError:
        return None
    return responses


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
