"""Command: compare data preparation with datatrove's stock blocks, and measure tokenising alone.

python -m benchmarks.data_prep --data DIR [--rounds N] [--regex-words]

Both turn the sources' files into ArrayRecord files with the same tokenizer, which is trained
beforehand, in one process with one worker: read, normalise, reject exact and near-duplicates and
documents with a question of GSM8K, tokenise, write. A rate is MB of text read per CPU second of the
process, imports included, with compiled modules. `benchmarks.stock` describes the peer.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.corpus import HOME, QUESTIONS, SOURCES, Usage, call, measured, write_recipe
from tinymathreason import cli
from tinymathreason.records.mixture import Mixture

BATCH = 256
"""Texts tokenised in one call."""
WITH_SPECIAL = 20
"""One text out of this many is repeated with special tokens written into it."""


def stock_command(data: Path, tokenizer: Path, output: Path, words: str) -> list[str]:
    """The command of the peer."""
    return call("benchmarks.stock", "build", data, tokenizer / "tokenizer.json", output, words)


def recipe(data: Path, tokenizer: Path, output: Path) -> Path:
    """Write our recipe for ``output``; returns its path."""
    benchmark = {"path": str(data / QUESTIONS), "fields": ["question"]}
    settings = {"tokenizer": {"path": str(tokenizer)}, "decontaminate": [benchmark]}
    path = output.with_name(f"{output.name}.json")
    return write_recipe(path, data, SOURCES, eval_fraction=0.005, **settings)


def prepare(data: Path, home: Path, rounds: int, words: list[str]) -> Iterator[dict[str, Any]]:
    """Measure both alternately; yields the figures of each, and the ratios."""
    tokenizer, output = home / "tokenizer", home / "output"
    size = int(measured(call("benchmarks.corpus", "train", data, tokenizer)).output)
    path = recipe(data, tokenizer, output)
    build = [sys.executable, "-m", "data_prep.build", str(path)]
    contestants = {"ours": build}
    for kind in words:
        contestants[f"stock, {kind} words"] = stock_command(data, tokenizer, output, kind)
    measured(build)  # from then on, both import compiled modules
    shutil.rmtree(output)
    measured([sys.executable, "-c", "import benchmarks.stock, spacy.lang.en"])
    measurements: dict[str, list[Usage]] = {name: [] for name in contestants}
    kept = {}
    for _ in range(rounds):
        for name, command in contestants.items():
            usage = measured(command)
            print(f"{name}: {usage}", file=sys.stderr, flush=True)
            measurements[name].append(usage)
            if name == "ours":
                manifest = Mixture.load(output / "manifest.json")
                documents = [entry.documents.kept for entry in manifest.sources.values()]
                tokens = sum(entry.tokens for entry in manifest.sources.values())
                kept[name] = {"kept": sum(documents), "tokens": tokens}
            else:
                figures = json.loads(usage.output.splitlines()[-1])
                usage.stages = figures.pop("stages")
                kept[name] = figures
            shutil.rmtree(output)
    rates = {}
    for name, usages in measurements.items():
        cpu = statistics.median(usage.cpu_seconds for usage in usages)
        rates[name] = size / 1e6 / cpu
        yield {
            "benchmark": "data_prep",
            "contestant": name,
            "text_bytes": size,
            "rounds": rounds,
            "cpu_seconds": round(cpu, 2),
            "seconds": round(statistics.median(usage.seconds for usage in usages), 2),
            "peak_gb": max(usage.peak_gb for usage in usages),
            "mb_per_cpu_second": round(rates[name], 3),
            "stages_cpu_seconds": {
                stage: round(statistics.median(usage.stages[stage] for usage in usages), 2)
                for stage in usages[0].stages
            },
            **kept[name],
        }
    steps = measured(call("benchmarks.data_prep", "steps", path)).output
    yield {"benchmark": "data_prep", "documents_stage_cpu_seconds": json.loads(steps)}
    yield {
        "benchmark": "data_prep",
        "mb_per_cpu_second": round(rates["ours"], 2),
        **{f"times_{n}": round(rates["ours"] / rates[n], 1) for n in rates if n != "ours"},
    }


def steps(path: str) -> None:
    """Print the CPU seconds of each step of the documents stage, in a separate build."""
    from data_prep.recipe import Recipe
    from data_prep.stages.documents import pipeline
    from data_prep.work import open_work
    from tinymathreason.config import load

    spent: dict[str, float] = {}

    def timed(stream: Iterator[Any], name: str) -> Iterator[Any]:
        """``stream``, timed: a step's time includes that of the steps before it."""
        while True:
            before = time.process_time()
            try:
                value = next(stream)
            except StopIteration:
                return
            finally:
                spent[name] = spent.get(name, 0.0) + time.process_time() - before
            yield value

    folder = Path(path).with_suffix(".steps")
    work = open_work(load(Recipe, path), folder)
    for task in work.tasks:
        stream: Iterator[Any] = iter(())
        for step in pipeline(work):
            stream = timed(step.run(stream, task.number, len(work.tasks)), step.name)
        for _ in stream:
            pass
    shutil.rmtree(folder)
    names = list(spent)
    before = [0.0, *(spent[name] for name in names)]
    print(json.dumps({name: round(spent[name] - before[k], 2) for k, name in enumerate(names)}))


def tokenise(data: str, folder: str, rounds: str) -> None:
    """Print the time of our encoder and of Hugging Face's for the same texts, and differences."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from benchmarks.corpus import texts
    from data_prep.tokenizer import Encoder, load
    from tinymathreason.chatml import SPECIAL_TOKENS

    documents = [text for of_source in texts(Path(data)).values() for text in of_source]
    for text in documents[::WITH_SPECIAL]:
        cut = len(text) // 2
        documents.append(f"{text[:cut]}{' '.join(SPECIAL_TOKENS)}{text[cut:]}{SPECIAL_TOKENS[0]}")
    batches = [documents[k : k + BATCH] for k in range(0, len(documents), BATCH)]
    theirs = load(Path(folder))
    spent: dict[str, list[float]] = {"load": [], "ours": [], "theirs": []}
    different = 0
    for _ in range(int(rounds)):
        start = time.process_time()
        encoder = Encoder(Path(folder))
        loaded = time.process_time()
        ours = [list(encoder(batch)) for batch in batches]
        encoded = time.process_time()
        expected = [theirs.encode_batch(batch, add_special_tokens=False) for batch in batches]
        last = time.process_time()
        for name, seconds in zip(
            spent, (loaded - start, encoded - loaded, last - encoded), strict=True
        ):
            spent[name].append(seconds)
        different = sum(
            left.tolist() != right.ids
            for mine, other in zip(ours, expected, strict=True)
            for left, right in zip(mine, other, strict=True)
        )
    tokens = sum(len(ids) for batch in ours for ids in batch)
    median = {name: statistics.median(seconds) for name, seconds in spent.items()}
    figures = {
        "benchmark": "tokenise",
        "documents": len(documents),
        "documents_that_differ": different,
        "tokens": tokens,
        "rounds": int(rounds),
        "cpu_seconds": {name: round(seconds, 2) for name, seconds in median.items()},
        "million_tokens_per_cpu_second": round(tokens / 1e6 / median["ours"], 1),
        "theirs": round(tokens / 1e6 / median["theirs"], 2),
        "times_encode_batch": round(median["theirs"] / median["ours"], 1),
    }
    print(json.dumps(figures))


def main(argv: Sequence[str]) -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.data_prep", description="Time data preparation against datatrove's blocks."
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of `make realdata`")
    parser.add_argument("--rounds", type=int, default=1, help="the median is reported")
    parser.add_argument(
        "--regex-words",
        action="store_true",
        help="also measure the peer with words by regular expressions instead of spaCy",
    )
    arguments = parser.parse_args(argv)
    data, home = corpus.check_data(arguments.data), HOME / "data_prep"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    for figures in prepare(
        data, home, arguments.rounds, ["spacy", *(["regex"] if arguments.regex_words else [])]
    ):
        print(json.dumps(figures), flush=True)
    alone = call("benchmarks.data_prep", "tokenise", data, home / "tokenizer", arguments.rounds)
    print(measured(alone).output, end="", flush=True)
    shutil.rmtree(home)


if __name__ == "__main__":
    cli.run(main)
