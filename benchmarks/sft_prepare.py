"""Command: measure how fast question sets become masked examples, and how that grows.

python -m benchmarks.sft_prepare [--examples 25000 50000 100000] [--data DIR] [--budget 0.25]

The generator writes sets in the schemas and proportions of MetaMathQA, MathInstruct and GSM8K. A
row joins several problems, so that it is as long as the average row of the real sets. One row in
ten of the later sets repeats a question of the first. The peer computes the same tokens and masks
like TRL: `datasets.map` with `apply_chat_template` in one process, on the same examples.
"""

import argparse
import itertools
import json
import random
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import corpus
from benchmarks.corpus import HOME, QUESTIONS, Usage, call, measured
from benchmarks.scale import exponent
from tinymathreason import cli
from tinymathreason.records.examples import ExamplesManifest

WHOLE = 590_000
"""Examples of the three real sets."""
SETS = {"MetaMathQA": 395, "MathInstruct": 188, "gsm8k": 7.5}
"""Thousands of examples of each."""
PROBLEMS_A_ROW = 4
"""With these, a row has about 540 bytes of text, like the rows of the real sets."""
REPEATED = 10
"""One row in this many of the later sets repeats a question."""
PEER_EXAMPLES = 10_000
VOCABULARY = 460
"""Entries of the tokenizer of the generator's few words."""


def write_sets(count: str, folder: str) -> None:
    """Write the sets, ``count`` rows in total, and their configuration; prints the bytes."""
    from tinymathreason.arithmetic import problems

    made, rng = problems(0), random.Random(0)
    to = Path(folder)
    to.mkdir(parents=True)
    first: list[str] = []
    size = 0
    sources = {}
    for name, share in SETS.items():
        rows = []
        for _ in range(max(1, round(int(count) * share / sum(SETS.values())))):
            several = list(itertools.islice(made, PROBLEMS_A_ROW))
            question = " ".join(problem.question for problem in several)
            if first and rng.randrange(REPEATED) == 0:
                question = rng.choice(first)
            if name == "MetaMathQA":
                first.append(question)
            steps, answer = "\n".join(p.steps for p in several), several[-1].answer
            size += len(question) + len(steps)
            match name:
                case "MetaMathQA":
                    solution = f"{steps}\n#### {answer}\nThe answer is: {answer}"
                    row = {"type": "x", "query": question, "response": solution}
                case "MathInstruct":
                    solution = f"{steps} The answer is {answer}"
                    row = {"source": "data/CoT/x.json", "instruction": question, "output": solution}
                case _:
                    row = {"question": question, "answer": f"{steps}\n#### {answer}"}
            rows.append(row)
        lines = [json.dumps(row) for row in rows]
        jsonl = name == "gsm8k"
        path = to / f"{name}.{'jsonl' if jsonl else 'json'}"
        path.write_text("\n".join(lines) if jsonl else f"[{','.join(lines)}]", encoding="utf-8")
        sources[name] = {"path": str(path), "format": path.suffix[1:]}
    sources["MetaMathQA"] |= {"question": "query", "answer": "response"}
    sources["MathInstruct"] |= {"question": "instruction", "answer": "output"}
    config = {
        "model_name_or_path": str(to.parent / "tokenizer"),
        "output_dir": str(to / "out"),
        "sources": sources,
        "max_length": 4096,
    }
    (to / "sft.yaml").write_text(json.dumps(config), encoding="utf-8")
    print(size)


def train_tokenizer(folder: str) -> None:
    """Train a tokenizer on generated problems."""
    from data_prep import tokenizer
    from tinymathreason.arithmetic import problem_documents

    texts = itertools.islice(problem_documents(0), 20_000)
    tokenizer.save(tokenizer.train(texts, VOCABULARY), Path(folder))


def peer(folder: str) -> None:
    """Tokenise and mask stored examples as TRL does; prints examples per second."""
    import pyarrow.parquet
    from datasets import Dataset
    from transformers import AutoTokenizer

    from tinymathreason.chatml import TEMPLATE

    tokenizer = AutoTokenizer.from_pretrained(Path(folder).parent / "tokenizer")
    tokenizer.chat_template = TEMPLATE.read_text(encoding="utf-8")
    table = pyarrow.parquet.read_table(Path(folder) / "out" / "data" / "train.parquet")
    examples = Dataset(table.select(["messages", "input_ids", "labels"]).slice(0, PEER_EXAMPLES))

    def tokenise(example: dict[str, object]) -> dict[str, object]:
        encoded = tokenizer.apply_chat_template(
            example["messages"],
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        return {"ids": encoded["input_ids"], "masks": encoded["assistant_masks"]}

    started = time.monotonic()
    theirs = examples.map(tokenise)
    seconds = time.monotonic() - started
    different = sum(
        row["ids"] != row["input_ids"]
        or [label != -100 for label in row["labels"]] != [bool(mask) for mask in row["masks"]]
        for row in theirs
    )
    print(json.dumps({"a_second": round(len(theirs) / seconds), "different": different}))


def prepare(count: int, home: Path, data: Path | None, budget: float | None) -> Usage:
    """Write and prepare sets of ``count`` rows; prints the resources used.

    With a ``budget``, a selection keeps that share of each set.
    """
    folder = home / str(count)
    size = int(measured(call("benchmarks.sft_prepare", "write_sets", count, folder)).output)
    command = call("sft.prepare", "main")[:2]
    words = ["--config", str(folder / "sft.yaml")]
    if data:
        words.append(f"decontaminate=[{{path: {data / QUESTIONS}, fields: [question]}}]")
    if budget:
        rows = {name: count * share / sum(SETS.values()) for name, share in SETS.items()}
        words += [f"sources.{n}.select.examples={max(1, round(budget * rows[n]))}" for n in SETS]
    code = f"from sft.prepare import main; main({words!r})"
    usage = measured([*command, code])
    counts = ExamplesManifest.load(folder / "out" / "data" / "manifest.json").sources.values()
    line = {
        "benchmark": "sft_prepare",
        "examples": count,
        "budget": budget,
        "kept": sum(entry.kept for entry in counts),
        "bytes_of_text_a_row": round(size / count),
        "tokens_a_row": round(sum(e.tokens for e in counts) / sum(e.kept for e in counts)),
        "seconds": usage.seconds,
        "cpu_seconds": usage.cpu_seconds,
        "examples_a_second": round(count / usage.seconds),
        "peak_gb": usage.peak_gb,
    }
    print(json.dumps(line), flush=True)
    return usage


def main(argv: Sequence[str]) -> None:
    """Parse the command line, prepare at every size and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.sft_prepare", description="Measure the preparation of chat examples."
    )
    parser.add_argument("--examples", type=int, nargs="+", default=[25_000, 50_000, 100_000])
    parser.add_argument("--data", type=Path, help="folder of `make realdata`, to decontaminate")
    parser.add_argument("--budget", type=float, help="share of each set that a selection keeps")
    arguments = parser.parse_args(argv)
    sizes, budget = arguments.examples, arguments.budget
    if budget is not None and not 0 < budget < 1:
        raise cli.InputError(f"--budget: must be between 0 and 1 (got {budget})")
    if len(sizes) < 2 or sizes != sorted({*sizes}) or sizes[0] < 1000:
        raise cli.InputError("--examples: give two or more sizes, ascending, of at least 1,000")
    data = corpus.check_data(arguments.data) if arguments.data else None
    home = (HOME / "sft_prepare").absolute()
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    measured(call("benchmarks.sft_prepare", "train_tokenizer", home / "tokenizer"))
    prepare(sizes[0], home, data, budget)  # so that compiled modules are imported from now on
    shutil.rmtree(home / str(sizes[0]))
    usages = [prepare(count, home, data, budget) for count in sizes]
    seconds = [usage.seconds for usage in usages]
    line = statistics.linear_regression(sizes, seconds)
    work = statistics.linear_regression(sizes, [usage.cpu_seconds for usage in usages])
    tokenised = json.loads(
        measured(call("benchmarks.sft_prepare", "peer", home / str(sizes[-1]))).output
    )
    print(
        json.dumps(
            {
                "benchmark": "sft_prepare",
                "fixed_seconds": round(line.intercept, 1),
                "examples_a_second_beyond": round(1 / line.slope),
                # 1 is linear. The fixed cost, mostly imports, would make the exponent look better.
                "exponent_beyond": exponent(
                    [float(size) for size in sizes], [s - line.intercept for s in seconds]
                ),
                "examples_a_cpu_second_beyond": round(1 / work.slope),
                f"estimated_seconds_for_{WHOLE}": round(line.intercept + line.slope * WHOLE),
                f"estimated_cpu_seconds_for_{WHOLE}": round(work.intercept + work.slope * WHOLE),
                "estimated_peak_gb": round(
                    statistics.linear_regression(sizes, [u.peak_gb for u in usages]).slope * WHOLE
                    + usages[0].peak_gb,
                    1,
                ),
                "peer": "datasets.map with apply_chat_template, as TRL tokenises",
                "peer_examples_a_second": tokenised["a_second"],
                "ratio": round(1 / line.slope / tokenised["a_second"], 2),
                "examples_that_differ": tokenised["different"],
            }
        )
    )
    shutil.rmtree(home)


if __name__ == "__main__":
    cli.run(main)
