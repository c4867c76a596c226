"""Command: compare the speed of an evaluation with lm-eval's default of one prompt at a time.

python -m benchmarks.evaluation [--model DIR] [--device cuda|cpu] [--data DIR] [--problems 200]

The first line is a whole evaluation of 1,319 problems, as many as GSM8K has, from the start of a
process to its result: of GSM8K with ``--data``, else of held-out word problems. For the second one
both sides answer the same word problems greedily with the same model in the same process, in turns,
after the model is loaded; on a GPU only if ``--problems`` is given, since the peer takes long.

Without a model it makes one with random weights, whose answers are as long as they may be: the 1B
model on a GPU, the quickstart's on a CPU.
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

from benchmarks import chat_model
from benchmarks.corpus import HOME
from tinymathreason import cli
from tinymathreason.files import read_json

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


def whole(
    model: Path, data: Path | None, home: Path, problems: int, limit: float
) -> dict[str, Any]:
    """Seconds of one evaluation by its command, or why it did not end within ``limit`` seconds."""
    words = ["-m", "evaluation.run", "--model", str(model), "--task", "arithmetic"]
    if data is not None:
        words[-1:] = ["gsm8k", "--data", str(data / chat_model.QUESTIONS)]
    words += ["--form", "chat", "--limit", str(problems), "--output", str(home / "result")]
    found = {"benchmark": "evaluation_command", "problems": problems}
    started = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return {**found, "error": f"stopped after {limit:.0f} s"}
    if done.returncode:
        return {**found, "error": done.stderr.strip().splitlines()[-1][:300]}
    seconds = time.perf_counter() - started
    result = read_json(home / "result" / "results.json")
    used = {key: result["decoding"][key] for key in ("batch_size", "dtype", "max_gen_toks")}
    answering = result["seconds"]  # with the loading of the model
    estimate = seconds + answering * max(0, GSM8K_PROBLEMS / problems - 1)
    return {
        **found,
        "seconds": round(seconds, 1),
        "problems_per_second": round(problems / seconds, 1),
        f"estimated_seconds_of_{GSM8K_PROBLEMS}": round(estimate, 1),
        **used,
    }


def main(argv: Sequence[str]) -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.evaluation", description="Time an evaluation against lm-eval's defaults."
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cpu")
    parser.add_argument("--data", type=Path, help="the folder of `make realdata`")
    parser.add_argument("--model", type=Path, help="folder of a tuned model; default: a made one")
    parser.add_argument("--overlay", type=Path, help="sizes of the made model")
    parser.add_argument("--problems", type=int, help="in each round; default: 200, or 0 on a GPU")
    parser.add_argument(
        "--whole", type=int, default=GSM8K_PROBLEMS, help="problems of the whole evaluation"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds, of which the median is printed"
    )
    parser.add_argument("--limit", type=float, default=300, help="seconds of the whole evaluation")
    parser.add_argument(
        "--home", type=Path, default=HOME / "evaluation", help="working folder; it is emptied"
    )
    arguments = parser.parse_args(argv)

    from evaluation.model import check_folder

    if arguments.model is not None:
        check_folder(arguments.model)
    gpu = arguments.device == "cuda"
    problems = (0 if gpu else 200) if arguments.problems is None else arguments.problems
    common = chat_model.describe(arguments.device)
    home = arguments.home.absolute()
    with chat_model.opened(arguments, home) as (model, _):
        found = whole(model, arguments.data, home, arguments.whole, arguments.limit)
        print(json.dumps({**found, **common}), flush=True)
        if problems:
            found = compared(model, problems, arguments.rounds)
            print(json.dumps({**found, **common}), flush=True)


if __name__ == "__main__":
    cli.run(main)
