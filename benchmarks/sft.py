"""Command: compare useful tokens per second of our fine-tuning with TRL's defaults, at equal loss.

python -m benchmarks.sft [--data DIR] [--device cuda|cpu] [--attention auto,sdpa] [--limit SECONDS]

All train from the same random weights on the same conversations, with the same ones in every step,
each in a process of its own. Ours is `sft.run` (packed rows, no recomputation), once for each
``--attention``; the other is TRL's SFTTrainer with the defaults of SFTConfig (micro-batches of
eight padded conversations, activation checkpointing), with as many micro-batches in a step as ours
has conversations. Useful tokens are prompts and answers without padding; the first steps do not
count. The loss is computed on held-out examples after the last step, in float32, with one
conversation in each row.

A JSON line follows each training as soon as it is known: ``contestant`` is ``ours`` or ``trl``. A
line with ``times_trl`` compares the two. TRL's training comes second, after the first
``--attention``. A training that fails has ``error`` in its line, and the command ends with status 1
after the others. ``--limit`` bounds the counted steps of each training; its process may take two
minutes more.

With ``--data``, the folder of `make realdata`, the examples are GSM8K's training problems and two
related datasets; otherwise the generator's. With ``--device cuda`` it is the 1B model, in bfloat16
with float32 weights and steps of eight rows of 4,096 tokens, and the lines also have the MFU. On a
CPU it is a small model, rows are as short as the longest conversation, and a step has rows for
eight conversations.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import card
from benchmarks.corpus import HOME, call
from benchmarks.sft_prepare import WHOLE
from benchmarks.sft_sides import CONVERSATIONS, VOCABULARY
from pretrain import overlay
from pretrain.model import Model
from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.files import write_json

PROXY = Path("maxtext_configs/tinymathreason_20m.yml")
FULL = Path("maxtext_configs/tinymathreason_1b_gpu.yml")
LEARNING_RATE = 3e-4
STEPS = 15
"""Optimiser steps of each training, of which the first third does not count."""
ROWS = 8
"""Packed rows of a step on a GPU."""
LENGTH = 4096
"""Tokens of a packed row on a GPU."""
SHORTEST = 40
"""Tokens that an example has at least, on average: that many more examples are read."""
MARGIN = 120
"""Seconds that a process may take beside its steps."""
PREPARATION = 600
"""Seconds that making the model and the examples may take."""


def sources(data: Path | None, examples: int) -> dict[str, Any]:
    """The sets to read, with ``examples`` rows in total."""
    if data is None:
        return {"word_problems": {"format": "arithmetic", "examples": examples}}
    names = {"question": "query", "answer": "response"}
    others = {"question": "instruction", "answer": "output"}
    sets: dict[str, Any] = {
        "MetaMathQA": {"format": "json", "path": str(data / "MetaMathQA" / "*.json"), **names},
        "MathInstruct": {"format": "json", "path": str(data / "MathInstruct" / "*.json"), **others},
        "gsm8k": {"format": "jsonl", "path": str(data / "gsm8k" / "train.jsonl")},
    }
    return {name: {**source, "examples": examples // len(sets)} for name, source in sets.items()}


def configuration(home: Path, data: dict[str, Any], steps: int, device: str) -> dict[str, Any]:
    """Our run's configuration, without the size of its steps."""
    return {
        "model_name_or_path": str(home / "model"),
        "output_dir": str(home / "ours"),
        "data_dir": str(home / "data"),
        "sources": data,
        "eval_fraction": 0.05,
        "max_steps": steps,
        "learning_rate": LEARNING_RATE,
        "packing": True,
        "max_length": LENGTH,
        "activation_checkpointing": False,
        "use_cpu": device == "cpu",
        "save_strategy": "no",
        "logging_steps": max(1, steps // 3),
        "report_to": "none",
        "disable_tqdm": True,
    }


def run(function: str, limit: float, *arguments: object) -> dict[str, Any]:
    """What a function of `benchmarks.sft_sides` printed last, from a process of its own.

    Raises `InputError` with the last line of its errors, or when it takes more than ``limit``
    seconds.
    """
    command = call("benchmarks.sft_sides", function, *arguments)
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=limit)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"stopped after {limit:.0f} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        last = (lines or [f"exit status {done.returncode}"])[-1]
        raise InputError(last.removeprefix("tinymathreason.cli.InputError: ")[:300])
    printed: dict[str, Any] = json.loads((done.stdout.splitlines() or ["{}"])[-1])
    return printed


def train(function: str, limit: float, *arguments: object) -> dict[str, Any]:
    """The figures of one side, or its ``error``."""
    try:
        figures = run(function, limit + MARGIN, *arguments, limit)
    except InputError as error:
        return {"error": str(error)}
    seconds = figures["steady_seconds"]
    figures["useful_tokens_per_second"] = (
        round(figures["steady_tokens"] / seconds, 1) if seconds else None
    )
    return figures


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """How many times as fast ours was, and the ratio of the losses where both took all steps."""
    rates = ours["useful_tokens_per_second"], theirs["useful_tokens_per_second"]
    same = ours["steps"] == theirs["steps"] and ours["tokens"] == theirs["tokens"]
    return {
        "times_trl": round(rates[0] / rates[1], 2) if all(rates) else None,
        "same_tokens": same,
        "loss_ratio": round(ours["held_out_loss"] / theirs["held_out_loss"], 5) if same else None,
    }


def main(argv: Sequence[str]) -> None:
    """Parse the command line, train all and print a line for each."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.sft", description="Compare fine-tuning with TRL's defaults."
    )
    parser.add_argument("--data", type=Path, help="the folder of `make realdata`")
    parser.add_argument(
        "--overlay", type=Path, help="the model's sizes; the default depends on the device"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="optimiser steps, at least 6")
    parser.add_argument("--rows", type=int, default=ROWS, help="packed rows of a step on a GPU")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cpu")
    parser.add_argument(
        "--attention",
        default="auto",
        help="attn_implementation of our side, or several with commas",
    )
    parser.add_argument(
        "--limit", type=float, default=120, help="seconds of the counted steps of a training"
    )
    parser.add_argument("--no-peer", action="store_true", help="train only ours")
    parser.add_argument(
        "--home", type=Path, default=HOME / "sft", help="working folder; it is emptied"
    )
    arguments = parser.parse_args(argv)
    if arguments.steps < 6:
        parser.error(f"--steps: must be at least 6 (got {arguments.steps})")
    gpu = arguments.device == "cuda"
    peak = card.peak_tflops() if gpu else None
    sizes = arguments.overlay or (FULL if gpu else PROXY)
    values = overlay.load(sizes)
    home = arguments.home.absolute()
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    tokens = arguments.steps * (arguments.rows * LENGTH if gpu else CONVERSATIONS * 256)
    data = sources(
        arguments.data.absolute() if arguments.data else None, max(600, tokens // SHORTEST)
    )
    config = configuration(home, data, arguments.steps, arguments.device)
    write_json(home / "ours.yaml", config)
    entries = values["vocab_size"] if gpu else VOCABULARY
    counts = run("make_inputs", PREPARATION, home, sizes, entries)
    mean = counts["tokens"] / counts["examples"]
    length, rows = LENGTH, arguments.rows
    if not gpu:
        # On a CPU attention grows with the square of a row, so rows are as short as possible.
        length = max(256, -(-counts["longest"] // 64) * 64)
        rows = max(1, round(CONVERSATIONS * mean / length))
    split = (rows, 1) if gpu else (1, rows)
    config |= dict(
        zip(("per_device_train_batch_size", "gradient_accumulation_steps"), split, strict=True)
    )
    config["max_length"] = length
    common = {
        "benchmark": "sft",
        "device": card.smi("name") if gpu else "cpu",
        "overlay": str(sizes),
        "tokens_per_example": round(mean, 1),
    }
    shape = Model.from_config(values)
    results = []

    def report(contestant: str, figures: dict[str, Any]) -> None:
        rate = figures.get("useful_tokens_per_second")
        if peak is not None and rate:
            figures["mfu"] = round(rate * shape.flops_per_token / (peak * 1e12), 4)
        if rate:
            hours = round(2 * WHOLE * mean / rate / 3600, 1)
            figures[f"estimated_hours_of_two_epochs_of_{WHOLE}"] = hours
        print(json.dumps({**common, "contestant": contestant, **figures}), flush=True)
        results.append(figures)

    theirs: dict[str, Any] = {"error": "not trained"}
    for number, how in enumerate(arguments.attention.split(",")):
        shutil.rmtree(home / "ours", ignore_errors=True)
        write_json(home / "ours.yaml", config | {"attn_implementation": how})
        figures = {"attn_implementation": how, **train("ours", arguments.limit, home)}
        report("ours", figures)
        if number == 0 and not arguments.no_peer:
            run("write_steps", PREPARATION, home)
            theirs = train("peer", arguments.limit, home, arguments.device, LEARNING_RATE)
            report("trl", theirs)
        if "error" not in figures and "error" not in theirs:
            compared = {"attn_implementation": how, **compare(figures, theirs)}
            print(json.dumps({**common, "contestant": "both", **compared}), flush=True)
    shutil.rmtree(home)
    if any("error" in figures for figures in results):
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
