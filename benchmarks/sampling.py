"""Command: measure how fast answers are sampled, with each cache and number of rows.

python -m benchmarks.sampling [--device cuda|cpu] [--data DIR] [--model DIR] [--limit 60]

The plain loop has a cache that grows and 128 rows, as on a CPU; it is the first line. Every line is
one way to sample, with the rate after its first batch, whose seconds include compiling, and how
many times as fast as the plain loop it is. Without a model it makes one with random weights: the 1B
model on a GPU, the quickstart's on a CPU.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import chat_model
from benchmarks.corpus import HOME
from tinymathreason import cli

PLAIN = 128
"""Rows of the plain loop."""
SAMPLES = 8
"""Answers to a question."""


def measure(
    model: Path, questions: Sequence[str], cache: str, rows: int, new: int, limit: float
) -> dict[str, Any]:
    """The rate of batches of ``rows`` answers of at most ``new`` tokens, for ``limit`` seconds.

    At least one batch after the first is measured, however long it takes.
    """
    from sft.config import Sampling
    from sft.sampler import Sampler
    from tinymathreason.chat import Chat

    sampling = Sampling(
        samples=SAMPLES,
        max_new_tokens=new,
        batch_size=rows,
        cache=cache,  # type: ignore[arg-type]
    )
    tokenizer = _tokenizer(model)
    chat = Chat(tokenizer, tokenizer.chat_template)
    sampler = Sampler(model, chat, sampling)
    count = max(1, rows // SAMPLES)
    batches = _batches(questions, count)
    started = time.perf_counter()
    sampler(next(batches), 0)
    first = time.perf_counter() - started
    tokens = done = 0
    started = time.perf_counter()
    while not done or time.perf_counter() - started < limit - first:
        sampler(next(batches), done + 1)
        done += 1
        tokens += sampler.generated
    seconds = time.perf_counter() - started
    return {
        "cache": cache,
        "rows": count * SAMPLES,
        "new_tokens": new,
        "first_batch_seconds": round(first, 2),
        "batches": done,
        "seconds": round(seconds, 2),
        "tokens": tokens,
        "tokens_per_second": round(tokens / seconds, 1),
    }


def _tokenizer(model: Path) -> Any:
    from evaluation.model import load_tokenizer

    return load_tokenizer(model)


def _batches(questions: Sequence[str], count: int) -> Iterator[list[str]]:
    """Endless batches; the longest question is in the first, as in `sft.preferences`."""
    ordered = sorted(questions, key=len, reverse=True)
    start = 0
    while True:
        yield [ordered[(start + i) % len(ordered)] for i in range(count)]
        start += count


def ways(device: str, most: int) -> list[tuple[str, int]]:
    """The caches and numbers of rows that are measured, the plain loop first."""
    plain, small = (PLAIN, 256) if device == "cuda" else (16, 16)
    small = min(small, most)
    found = [("dynamic", plain), ("static", small), ("dynamic", most), ("static", most)]
    return list(dict.fromkeys(found))


def main(argv: Sequence[str]) -> None:
    """Parse the command line, measure each way and print a line for it."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.sampling", description="Measure how fast answers are sampled."
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cpu")
    parser.add_argument("--data", type=Path, help="the folder of `make realdata`")
    parser.add_argument("--model", type=Path, help="folder of a tuned model; default: a made one")
    parser.add_argument("--overlay", type=Path, help="sizes of the made model")
    parser.add_argument("--new-tokens", type=int, help="longest answer; default: 256, or 32 on CPU")
    parser.add_argument("--limit", type=float, default=15, help="seconds of each way")
    parser.add_argument(
        "--home", type=Path, default=HOME / "sampling", help="working folder; it is emptied"
    )
    arguments = parser.parse_args(argv)
    gpu = arguments.device == "cuda"
    common = {"benchmark": "sampling", **chat_model.describe(arguments.device)}
    new = arguments.new_tokens or (256 if gpu else 32)
    home = arguments.home.absolute()
    with chat_model.opened(arguments, home) as (model, questions):
        from sft.config import Sampling
        from sft.sampler import batch_size

        longest = chat_model.longest(model, questions)
        most = batch_size(model, Sampling(max_new_tokens=new), longest) if gpu else 64
        plain = None
        for number, (cache, rows) in enumerate(ways(arguments.device, most)):
            try:
                figures = measure(model, questions, cache, rows, new, arguments.limit)
            except RuntimeError as error:  # out of memory, or a compiler that fails
                figures = {"cache": cache, "rows": rows, "error": str(error).splitlines()[0][:300]}
            rate = figures.get("tokens_per_second")
            if number == 0:
                plain = rate
            if plain and rate:
                figures["times_plain"] = round(rate / plain, 2)
            figures["peak_gb"] = chat_model.peak_gb(arguments.device)
            print(json.dumps({**common, "prompt_tokens": longest, **figures}), flush=True)


if __name__ == "__main__":
    cli.run(main)
