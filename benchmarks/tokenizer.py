"""Command: train the 1B model's tokenizer, and compare it with Llama 2's and Llama 3's.

python -m benchmarks.tokenizer --data DIR

A build divides the shared data into training and held-out documents, after it has rejected near
duplicates, so that no held-out document is like one of training; still both come from the same
books, which flatters ours. One tokenizer is trained on the training documents, a second one on
200 MB: those and copies of them in which other words stand (`benchmarks.corpus.Copies`).
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.corpus import HOME, SOURCES, call, measured, write_recipe
from tinymathreason import cli

ENTRIES = 32_000
"""Of the tokenizer."""
SAMPLE_BYTES = 200_000_000
"""Text that the 1B recipe trains its tokenizer on."""
HELD_OUT = 0.1
"""Share of the documents that are held out."""
MATHEMATICS = ("open-web-math", "arxiv", "algebraic-stack")
"""Sources whose bytes per token decide."""


def write_texts(mixture: str, folder: str) -> None:
    """Write the training documents of a mixture, and 200 MB of copies; prints the bytes of both."""
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
    """Train on the texts of a file."""
    from data_prep import tokenizer

    with Path(texts).open(encoding="utf-8") as lines:
        tokenizer.save(tokenizer.train(map(json.loads, lines), ENTRIES), Path(folder))


def compare(mixture: str, *folders: str) -> None:
    """Print the tokens that tokenizers and the peers make of a mixture's held-out documents."""
    from data_prep.peers import held_out, peers
    from data_prep.tokenizer import Encoder

    counters: dict[str, Any] = {}
    for folder in folders:
        encoder = Encoder(Path(folder))
        counters[Path(folder).name] = lambda texts, e=encoder: sum(len(ids) for ids in e(texts))
    counters |= peers()
    manifest = json.loads((Path(mixture) / "manifest.json").read_text(encoding="utf-8"))
    found: dict[str, dict[str, int]] = {}
    for name in SOURCES:
        texts = held_out(Path(mixture), manifest["sources"][name]["shards"])
        found[name] = {"bytes": sum(len(text.encode("utf-8")) for text in texts)}
        found[name] |= {peer: count(texts) for peer, count in counters.items()}
    found["mathematics"] = {
        key: sum(found[name][key] for name in MATHEMATICS) for key in ("bytes", *counters)
    }
    print(json.dumps(found))


def lines(found: dict[str, dict[str, int]], trained: Sequence[str]) -> list[dict[str, Any]]:
    """A line for each source: bytes per token, and how many times those of a peer ours are."""
    shown = []
    for source, counts in found.items():
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
        shown.append(entry)
    return shown


def main(argv: Sequence[str]) -> None:
    """Parse the command line, train, compare and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.tokenizer",
        description="Time the tokenizer's training; compare tokenizers.",
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of `make realdata`")
    data = corpus.found(parser.parse_args(argv).data)
    home = HOME / "tokenizer"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    # Only to divide the documents: its own tokenizer matters to nobody.
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
