"""Command: train the 1B model's tokenizer and compare its bytes per token with Llama's.

python -m benchmarks.tokenizer --data DIR

The peers are the tokenizers of Llama 2 and Llama 3, which MaxText brings along. A build rejects
near-duplicates and divides the shared data into training and held-out documents. Both still come
from the same books, which favours our tokenizer. One tokenizer is trained on the training
documents, and a second one on 200 MB: these documents and copies with other words
(`corpus.Copies`).
"""

import argparse
import importlib.resources
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.corpus import HOME, SOURCES, call, measured, write_recipe
from tinymathreason import cli
from tinymathreason.records.mixture import Mixture, Shard

ENTRIES = 32_000
"""Entries of the tokenizers that are trained."""
SAMPLE_BYTES = 200_000_000
"""Bytes of text on which the 1B recipe trains its tokenizer."""
HELD_OUT = 0.1
"""Share of the documents that is held out."""
MATHEMATICS = ("open-web-math", "arxiv", "algebraic-stack")
"""Sources whose bytes per token are the result."""
HELD_OUT_BYTES = 1_000_000
"""Held-out text of each source that is compared."""
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Llama 3 splits text before merging; its published file has only the ranks."""

Counter = Callable[[list[str]], int]
"""Counts the tokens of texts."""


def write_texts(mixture: str, folder: str) -> None:
    """Write a mixture's training documents, and 200 MB with copies; prints the bytes of both."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    from benchmarks.corpus import Copies
    from data_prep.stages.records import decode
    from data_prep.tokenizer import load

    tokenizer, plain, sources = load(Path(mixture) / "tokenizer"), [], []
    for name in SOURCES:
        files = sorted(map(str, (Path(mixture) / name).glob("train-*")))
        with ArrayRecordDataSource(files) as records:
            ids = [decode(records[number])[:-1].tolist() for number in range(len(records))]
        documents = tokenizer.decode_batch(ids, skip_special_tokens=False)
        plain += documents
        sources.append(Copies(documents))
    Path(folder).mkdir()
    sizes, number = {"plain": 0, "copies": 0}, 0
    with (Path(folder) / "plain.jsonl").open("w", encoding="utf-8") as lines:
        for text in plain:
            lines.write(json.dumps(text) + "\n")
            sizes["plain"] += len(text.encode("utf-8"))
    with (Path(folder) / "copies.jsonl").open("w", encoding="utf-8") as lines:
        while sizes["copies"] < SAMPLE_BYTES:
            for source in sources:
                for text in source.copy(number):
                    lines.write(json.dumps(text) + "\n")
                    sizes["copies"] += len(text.encode("utf-8"))
            number += 1
    print(json.dumps(sizes))


def train(texts: str, folder: str) -> None:
    """Train a tokenizer on the texts of a file."""
    from data_prep import tokenizer

    with Path(texts).open(encoding="utf-8") as lines:
        tokenizer.save(tokenizer.train(map(json.loads, lines), ENTRIES), Path(folder))


def peers() -> dict[str, Counter]:
    """The peers by name."""
    import gigatoken
    import tiktoken.load

    folder = Path(str(importlib.resources.files("maxtext"))) / "assets" / "tokenizers"
    llama2 = gigatoken.Tokenizer.from_sentencepiece(folder / "tokenizer.llama2")
    ranks = tiktoken.load.load_tiktoken_bpe(str(folder / "tokenizer_llama3.tiktoken"))
    llama3 = tiktoken.Encoding(
        "llama3", pat_str=LLAMA3_SPLIT, mergeable_ranks=ranks, special_tokens={}
    )
    return {
        "Llama 2 (32,000)": lambda texts: sum(
            len(ids) for ids in llama2.encode_batch(texts, parallel=False)
        ),
        "Llama 3 (128,256)": lambda texts: sum(len(llama3.encode_ordinary(text)) for text in texts),
    }


def held_out(folder: Path, shards: list[Shard]) -> list[str]:
    """Held-out texts of a source, up to `HELD_OUT_BYTES`; a text's tokens decode to it exactly."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    from data_prep.stages.records import decode
    from data_prep.tokenizer import load

    tokenizer, texts, size = load(folder / "tokenizer"), [], 0
    for shard in shards:
        if "/eval-" not in shard.path:
            continue
        with ArrayRecordDataSource(str(folder / shard.path)) as records:
            for number in range(len(records)):
                ids = decode(records[number])[:-1][:HELD_OUT_BYTES].tolist()
                texts.append(tokenizer.decode(ids, skip_special_tokens=False))
                size += len(texts[-1].encode("utf-8"))
                if size >= HELD_OUT_BYTES:
                    return texts
    return texts


def compare(mixture: str, *folders: str) -> None:
    """Print each tokenizer's number of tokens for a mixture's held-out documents."""
    from data_prep.tokenizer import Encoder

    counters: dict[str, Counter] = {}
    for folder in folders:
        encoder = Encoder(Path(folder))
        counters[Path(folder).name] = partial(_count, encoder)
    counters |= peers()
    sources = Mixture.load(Path(mixture) / "manifest.json").sources
    totals: dict[str, dict[str, int]] = {}
    for name in SOURCES:
        texts = held_out(Path(mixture), sources[name].shards)
        totals[name] = {"bytes": sum(len(text.encode("utf-8")) for text in texts)}
        totals[name] |= {peer: count(texts) for peer, count in counters.items()}
    totals["mathematics"] = {
        key: sum(totals[name][key] for name in MATHEMATICS) for key in ("bytes", *counters)
    }
    print(json.dumps(totals))


def _count(encoder: Any, texts: list[str]) -> int:
    return sum(len(ids) for ids in encoder(texts))


def lines(totals: dict[str, dict[str, int]], trained: Sequence[str]) -> list[dict[str, Any]]:
    """A line for each source: bytes per token, and the ratio of each peer's tokens to ours."""
    entries = []
    for source, counts in totals.items():
        size = counts.pop("bytes")
        entry: dict[str, Any] = {
            "benchmark": "tokenizer",
            "source": source,
            "held_out_bytes": size,
            "bytes_per_token": {name: round(size / count, 3) for name, count in counts.items()},
        }
        for name in trained:
            entry[f"times_{name}"] = {
                peer: round(count / counts[name], 3)
                for peer, count in counts.items()
                if peer not in trained
            }
        entries.append(entry)
    return entries


def main(argv: Sequence[str]) -> None:
    """Parse the command line, train, compare and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.tokenizer",
        description="Measure the tokenizer's training, and compare tokenizers.",
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of `make realdata`")
    data = corpus.check_data(parser.parse_args(argv).data)
    home = HOME / "tokenizer"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    # This build only splits the documents; its tokenizer is not compared.
    small = {"train": {"vocab_size": 1000, "sample_bytes": 2_000_000}}
    recipe = write_recipe(
        home / "mixture.json", data, SOURCES, tokenizer=small, eval_fraction=HELD_OUT
    )
    measured([sys.executable, "-m", "data_prep.build", str(recipe)])
    mixture, texts = home / "mixture", home / "texts"
    sizes = json.loads(measured(call("benchmarks.tokenizer", "write_texts", mixture, texts)).output)
    for name, size in sizes.items():
        usage = measured(
            call("benchmarks.tokenizer", "train", texts / f"{name}.jsonl", home / name)
        )
        figures = {
            "benchmark": "tokenizer",
            "trained": name,
            "entries": ENTRIES,
            "bytes": size,
            "seconds": usage.seconds,
            "cpu_seconds": usage.cpu_seconds,
            "peak_gb": usage.peak_gb,
        }
        print(json.dumps(figures), flush=True)
    folders = [home / name for name in sizes]
    counts = measured(call("benchmarks.tokenizer", "compare", mixture, *folders)).output
    for entry in lines(json.loads(counts), list(sizes)):
        print(json.dumps(entry))
    shutil.rmtree(home)


if __name__ == "__main__":
    cli.run(main)
