"""Command: measure how fast upstream's input pipeline reads our records, and raw text.

python -m benchmarks.input_pipeline --data DIR [--tokens N] [--rounds N]

A build of the shared data with the 1B model's vocabulary is read by upstream's Grain pipeline with
the settings of the 1B overlay: mixed, packed by concat_then_split to the full context, batched and
shifted. The peer is the same pipeline over the same documents as text, which it tokenises itself
(tokenize_train_data). A rate is tokens per CPU second of the process, after a first batch has
filled the buffers; with worker processes, only wall-clock time can be measured.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.corpus import HOME, SOURCES, call, measured, write_recipe
from tinymathreason import cli

OVERLAY = Path("maxtext_configs/tinymathreason_1b.yml")
NEEDED = 75_000
"""Tokens per second that one of the four hosts of a v4-32 needs, of 300,000 in total."""
BATCH = 72
"""Rows in a batch of one host of a v4-32: a quarter of 288."""
ENTRIES = 32_000
"""Entries of the tokenizer, as in the 1B model's recipe."""


def write_texts(mixture: str, folder: str) -> None:
    """Write the training documents of a mixture as records of text, and their mixture.json."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource
    from maxtext.input_pipeline.protos import example_pb2

    from data_prep.stages.artifacts import COLUMN
    from data_prep.stages.records import decode, writer
    from data_prep.tokenizer import load
    from tinymathreason.files import read_json, write_json

    tokenizer = load(Path(mixture) / "tokenizer")
    draws = read_json(Path(mixture) / "mixture.json")
    for name, draw in draws.items():
        target = Path(folder) / name
        target.mkdir(parents=True)
        for path in sorted((Path(mixture) / name).glob("train-*")):
            records = writer(target / path.name)
            with ArrayRecordDataSource([str(path)]) as source:
                for number in range(len(source)):
                    # Without the end token, which is not part of the text.
                    ids = decode(source[number])[:-1].tolist()
                    text = tokenizer.decode(ids, skip_special_tokens=False)
                    example = example_pb2.Example()
                    example.features.feature[COLUMN].bytes_list.value.append(text.encode("utf-8"))
                    records.write(example.SerializeToString(deterministic=True))
            records.close()
        draw["path"] = f"{target.absolute()}/train-*"
    write_json(Path(folder) / "mixture.json", draws)


def draw(tokens: str, *overrides: str) -> None:
    """Print the time of drawing this many tokens after a first batch."""
    # Worker processes also import jax.
    os.environ["JAX_PLATFORMS"] = "cpu"
    from benchmarks.batches import batches

    stream = batches(OVERLAY, overrides)
    next(stream)
    drawn = 0
    started, cpu = time.monotonic(), time.process_time()
    while drawn < int(tokens):
        drawn += int((next(stream)["inputs_segmentation"] > 0).sum())
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    print(json.dumps({"tokens": drawn, "seconds": seconds, "cpu_seconds": cpu}))


def rates(mixture: Path, tokenizer: Path, tokens: int, rounds: int, *more: str) -> dict[str, float]:
    """Tokens per CPU second and per wall-clock second: the median of the rounds."""
    command = call(
        "benchmarks.input_pipeline",
        "draw",
        tokens,
        f"grain_train_mixture_config_path={mixture.absolute()}",
        f"tokenizer_path={tokenizer.absolute()}",
        f"per_device_batch_size={BATCH}",
        *more,
    )
    results = []
    for _ in range(rounds):
        results.append(json.loads(measured(command).output.splitlines()[-1]))
        print(f"{mixture}, {more}: {results[-1]}", file=sys.stderr, flush=True)
    return {
        f"tokens_per_{key}": round(statistics.median(r["tokens"] / r[f"{key}s"] for r in results))
        for key in ("cpu_second", "second")
    }


def measure(data: Path, home: Path, tokens: int, rounds: int) -> dict[str, Any]:
    """Build both forms of the documents in ``home``, draw from both, and compare."""
    recipe = write_recipe(
        home / "mixture.json",
        data,
        SOURCES,
        tokenizer={"train": {"vocab_size": ENTRIES}},
        eval_fraction=0.005,
    )
    measured([sys.executable, "-m", "data_prep.build", str(recipe)])
    mixture, texts = home / "mixture", home / "texts"
    measured(call("benchmarks.input_pipeline", "write_texts", mixture, texts))

    def drawn(folder: Path, tokens: int, *more: str) -> dict[str, float]:
        return rates(folder / "mixture.json", mixture / "tokenizer", tokens, rounds, *more)

    alone = "grain_worker_count=0"
    ours = drawn(mixture, tokens, alone)
    # Complete documents like ours; by default upstream keeps only the first 4,096 tokens of each.
    as_text = ("tokenize_train_data=true", "use_truncation=false")
    peer = drawn(texts, tokens // 4, alone, *as_text)
    one_worker = drawn(mixture, tokens, "grain_worker_count=1")
    return {
        "benchmark": "input_pipeline",
        "entries": ENTRIES,
        "batch": BATCH,
        "tokens": tokens,
        "rounds": rounds,
        "needed_tokens_per_second": NEEDED,
        "records": ours,
        "records_one_worker": {"tokens_per_second": one_worker["tokens_per_second"]},
        "text": peer,
        "times_needed": round(ours["tokens_per_cpu_second"] / NEEDED, 2),
        "times_text": round(ours["tokens_per_cpu_second"] / peer["tokens_per_cpu_second"], 2),
        "workers_per_host": math.ceil(NEEDED / ours["tokens_per_cpu_second"]),
        "workers_per_host_text": math.ceil(NEEDED / peer["tokens_per_cpu_second"]),
    }


def main(argv: Sequence[str]) -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.input_pipeline",
        description="Measure upstream's input pipeline on our data.",
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of `make realdata`")
    parser.add_argument("--tokens", type=int, default=8_000_000, help="a quarter of it from text")
    parser.add_argument("--rounds", type=int, default=1, help="the median is reported")
    parser.add_argument(
        "--home",
        type=Path,
        default=HOME / "input_pipeline",
        help="folder, is emptied",
    )
    arguments = parser.parse_args(argv)
    data, home = corpus.check_data(arguments.data), arguments.home
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    print(json.dumps(measure(data, home, arguments.tokens, arguments.rounds)))
    shutil.rmtree(home)


if __name__ == "__main__":
    cli.run(main)
