"""Command: compare the speed of an evaluation with lm-eval's default of one prompt at a time.

python -m benchmarks.evaluation --model DIR [--problems 200] [--rounds 3]

Both sides answer the same held-out word problems greedily with the same model in the same process,
in turns, after the model is loaded. The last figure is a whole evaluation of 1,319 problems, as
many as GSM8K has, from the start of a process to its result.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinymathreason import cli

GSM8K_PROBLEMS = 1319


def compared(model: Path, problems: int, rounds: int) -> dict[str, Any]:
    """Seconds of both sides, and the number of different answers."""
    from evaluation import catalogue
    from evaluation.model import open_lm
    from evaluation.responses import respond

    (task,) = catalogue.load("arithmetic", "chat", None, None, problems)
    peer, ours = open_lm(model, "transformers", 1), open_lm(model, "transformers", 64)
    task.build_all_requests(
        apply_chat_template=True, chat_template=ours.apply_chat_template, tokenizer_name="model"
    )
    requests = task.instances
    lengths = [len(ours.tok_encode(request.args[0])) for request in requests]
    spent: dict[str, list[float]] = {"ours": [], "peer": []}
    different = 0
    for _ in range(rounds):
        started = time.perf_counter()
        answers = [texts[0] for texts in respond(ours, requests, lengths, 1, lambda _: 64, 0, None)]
        spent["ours"].append(time.perf_counter() - started)
        started = time.perf_counter()
        expected = peer.generate_until(requests)
        spent["peer"].append(time.perf_counter() - started)
        different += sum(a != b for a, b in zip(answers, expected, strict=True))
    seconds = {name: statistics.median(times) for name, times in spent.items()}
    return {
        "benchmark": "evaluation",
        "peer": "lm-eval's HFLM at its default batch size of 1",
        "problems": problems,
        "rounds": rounds,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "problems_per_second": round(problems / seconds["ours"], 1),
        "times_the_peer": round(seconds["peer"] / seconds["ours"], 1),
        "answers_that_differ": different,
    }


def whole(model: Path) -> dict[str, Any]:
    """Seconds of one evaluation by its command."""
    words = ["-m", "evaluation.run", "--model", str(model), "--task", "arithmetic"]
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *words, "--limit", str(GSM8K_PROBLEMS)], check=True, capture_output=True
    )
    return {
        "benchmark": "evaluation_command",
        "problems": GSM8K_PROBLEMS,
        "seconds": round(time.perf_counter() - started, 1),
    }


def main(argv: Sequence[str]) -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.evaluation", description="Time an evaluation against lm-eval's defaults."
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of a tuned model")
    parser.add_argument("--problems", type=int, default=200, help="problems in each round")
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds, of which the median is printed"
    )
    arguments = parser.parse_args(argv)

    from evaluation.model import check_folder

    check_folder(arguments.model)
    print(json.dumps(compared(arguments.model, arguments.problems, arguments.rounds)), flush=True)
    print(json.dumps(whole(arguments.model)), flush=True)


if __name__ == "__main__":
    cli.run(main)
