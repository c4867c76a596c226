"""Command: measure a model's accuracy on a task.

python -m evaluation.run --model DIR --task arithmetic [--data FILE] [--limit N] [--output DIR]
"""

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinymathreason import cli, provenance
from tinymathreason.cli import InputError
from tinymathreason.files import new_directory, read_json, write_json, write_text

BATCH_SIZE = 100
MAX_NEW_TOKENS = {"arithmetic": 48, "gsm8k": 256}
"""Longest completion by task; a worked solution that needs more counts as wrong."""


def evaluate(
    model: Path,
    task: str,
    data: str | None = None,
    limit: int | None = None,
    form: str | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Exact-match accuracy of greedy answers: the result, and one sample a problem.

    An answer counts when the number on the completion's first final line equals the right one.
    """
    from evaluation import tasks
    from evaluation.interval import wilson
    from tinymathreason.answers import read_final, same_number

    problems = tasks.load(task, data, limit)

    from evaluation.generate import Generator

    started = time.monotonic()
    generator = Generator(model, form)
    questions = [problem.question for problem in problems]
    completions = generator.answer(questions, MAX_NEW_TOKENS[task], BATCH_SIZE)
    samples = []
    for problem, completion in zip(problems, completions, strict=True):
        found = read_final(completion)
        samples.append(
            {
                "question": problem.question,
                "completion": completion,
                "expected": problem.answer,
                "found": found,
                "correct": same_number(found, problem.answer),
            }
        )
    correct = sum(bool(sample["correct"]) for sample in samples)
    low, high = wilson(correct, len(samples))
    result = {
        "task": task,
        "metric": "exact_match",
        "value": correct / len(samples),
        "low": low,
        "high": high,
        "n": len(samples),
        "form": generator.form,
        "seconds": round(time.monotonic() - started, 1),
        **provenance.record(),
    }
    return result, samples


def model_hash(model: Path) -> str:
    """SHA-256 over a model folder's weights, in the order of their files' names."""
    digest = hashlib.sha256()
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as weights:
            digest.update(hashlib.file_digest(weights, "sha256").digest())
    return digest.hexdigest()


def main(argv: Sequence[str]) -> None:
    """Parse the command line, evaluate and print the accuracy."""
    parser = argparse.ArgumentParser(
        prog="evaluation.run", description="Measure a model's accuracy on a task."
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of a Hugging Face model")
    parser.add_argument("--task", required=True, help="arithmetic or gsm8k")
    parser.add_argument("--data", help="the task's file, in the hub's schema, here or remote")
    parser.add_argument("--limit", type=int, help="take this many problems")
    parser.add_argument(
        "--form",
        choices=("chat", "plain"),
        help="how to ask: a base model is asked plain; default: chat if there is a template",
    )
    parser.add_argument("--output", type=Path, help="folder for results.json and samples.jsonl")
    arguments = parser.parse_args(argv)
    if arguments.limit is not None and arguments.limit < 1:
        parser.error(f"--limit: must be at least 1 (got {arguments.limit})")
    output = arguments.output
    inputs: dict[str, Any] = {}
    if output:
        # Hashing a large model takes seconds: only a stored result needs it.
        inputs = {
            "model": str(arguments.model),
            "model_sha256": model_hash(arguments.model),
            "task": arguments.task,
            "data": str(arguments.data or ""),
            "limit": arguments.limit,
            "asked": arguments.form,
        }
    if output and output.exists():
        result = read_json(output / "results.json")
        if {key: result.get(key) for key in inputs} != inputs:
            raise InputError(f"{output} holds the result of another evaluation; name another")
        print(f"{output} was already complete")
    else:
        result, samples = evaluate(
            arguments.model, arguments.task, arguments.data, arguments.limit, arguments.form
        )
        result.update(inputs)
        if output:
            with new_directory(output) as folder:
                write_json(folder / "results.json", result)
                lines = (json.dumps(sample, ensure_ascii=False) for sample in samples)
                write_text(folder / "samples.jsonl", "\n".join(lines) + "\n")
    print(
        f"{result['task']} ({result['form']} form): accuracy {result['value']:.1%}, "
        f"95 % interval {result['low']:.1%} to {result['high']:.1%}, {result['n']} problems"
    )


if __name__ == "__main__":
    cli.run(main)
