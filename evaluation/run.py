"""Command: measure a model's accuracy on a benchmark, with lm-evaluation-harness.

python -m evaluation.run --model DIR_OR_ID --task gsm8k [--data FILE] [--output DIR]
"""

import argparse
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluation import groups, variants
from evaluation.config import EvalConfig
from evaluation.decoding import NEUTRAL, note
from tinymathreason import cli
from tinymathreason.arguments import positive
from tinymathreason.cli import InputError
from tinymathreason.files import locked, new_directory
from tinymathreason.provenance import asking_hash, model_hash
from tinymathreason.records.base import write_lines
from tinymathreason.records.evaluation import EvalRequest, Results
from tinymathreason.writes import check_room

BACKENDS = ("transformers", "vllm")
FORMS = ("chat", "plain")


def run(model: str, config: EvalConfig, output: Path | None) -> tuple[Results, bool]:
    """Evaluate into a folder, if there is one; the result, and whether it already existed.

    Raises `InputError` when the folder has the result of another evaluation and, before the model
    is loaded, when it cannot be written.
    """
    from evaluation.catalogue import task_hash
    from evaluation.measure import evaluate
    from evaluation.model import folder

    if output is not None and not output.exists():
        check_room(output)
    path = folder(model)
    inputs: dict[str, Any] = {
        "model": model,
        "model_sha256": model_hash(path),
        "asking_sha256": asking_hash(path),
        "request": EvalRequest(**asdict(config)),
        "task_sha256": task_hash(config.data, config.task),
    }
    if output is None:
        result, _ = evaluate(path, config)
        return Results(**result, **inputs), False
    if output.exists():
        if not (output / "results.json").is_file():
            raise InputError(f"{output}: exists and has no result; name another folder")
        results = Results.load(output / "results.json")
        if config.batch_size is None:  # any is right
            known = results.request.batch_size
            inputs["request"] = inputs["request"].model_copy(update={"batch_size": known})
        if {key: getattr(results, key) for key in inputs} != inputs:
            raise InputError(f"{output} holds the result of another evaluation; name another")
        return results, True
    journal = output.with_name(f"{output.name}.journal")
    with locked(journal, "evaluating"):
        result, samples = evaluate(path, config, journal / "responses.jsonl", inputs)
        results = Results(**result, **inputs)
        with new_directory(output) as aside:
            results.write(aside / "results.json")
            write_lines(aside / "samples.jsonl", samples)
        shutil.rmtree(journal)
    return results, False


def summary(results: Results) -> str:
    """The results as lines for a terminal."""
    lines = [
        f"{name}: {metric.value:.1%}, 95 % interval {metric.low:.1%} to "
        f"{metric.high:.1%}, {metric.n} problems"
        for name, metric in results.metrics.items()
    ]
    template = results.template_sha256
    template_line = f"chat template {template[:12]}" if template else "no template"
    decoding = ", ".join(
        f"{key} {value}"
        for key, value in sorted(results.decoding.model_dump().items())
        if value is not None and (key not in NEUTRAL or value != NEUTRAL[key])
    )
    lines.append(
        f"prompts: {results.shots} shots, {template_line}, prompt {results.prompt_version}"
    )
    lines.append(f"decoding: {decoding}")
    if ignored := note("the model's folder", results.ignored_settings):
        lines.append(ignored)
    lines.append(f"model: {results.model}")
    lines.append(f"SHA-256 of its configuration and weights: {results.model_sha256}")
    if results.cut_prompts:
        lines.append(f"{results.cut_prompts} prompts were truncated to the model's context")
    tables = [*groups.tables(results.groups)]
    if results.differences:
        tables.append(variants.table(results.differences))
    for table in tables:
        lines += ["", *table.splitlines()]
    return "\n".join([f"{results.task} ({results.form} form)", *(f"  {x}".rstrip() for x in lines)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evaluation.run", description="Measure a model's accuracy on a benchmark."
    )
    parser.add_argument("--model", required=True, help="its folder, or ORG/NAME[@REVISION]")
    parser.add_argument(
        "--task",
        required=True,
        help="arithmetic, gsm8k, gsm8k_variants, gsm_plus, gsm_plus_mini, svamp, asdiv, "
        "asdiv_cot_llama, mawps, math500, arc_easy, arc_challenge, hellaswag or mmlu",
    )
    parser.add_argument("--data", help="file, or folder as on the hub; default: the hub")
    parser.add_argument(
        "--limit",
        type=positive,
        help="take this many problems, of each subject in mmlu, and in gsm8k_variants originals",
    )
    parser.add_argument("--shots", type=int, help="worked examples; default: the task's own")
    parser.add_argument(
        "--form",
        choices=FORMS,
        help="form of the prompts: plain for a base model; default: chat if there is a template",
    )
    parser.add_argument(
        "--samples", type=positive, default=1, help="answers sampled for each problem, for pass@k"
    )
    parser.add_argument("--temperature", type=float, default=0.7, help="of several samples")
    parser.add_argument("--seed", type=int, default=0, help="of several samples and of variants")
    parser.add_argument("--max-new-tokens", type=positive, help="longest answer")
    parser.add_argument(
        "--batch-size",
        type=positive,
        help="prompts answered at once; default: 64 on a CPU, what fits its memory on a GPU",
    )
    parser.add_argument("--backend", choices=BACKENDS, default="transformers")
    parser.add_argument("--output", type=Path, help="folder for results.json and samples.jsonl")
    return parser


def main(argv: Sequence[str]) -> None:
    """Parse the command line, evaluate and print the result."""
    parser = _parser()
    given = vars(parser.parse_args(argv))
    model, output = given.pop("model"), given.pop("output")
    if given["shots"] is not None and given["shots"] < 0:
        parser.error(f"--shots: must be at least 0 (got {given['shots']})")
    if not 0 < given["temperature"] < math.inf:
        parser.error(f"--temperature: must be above 0 and finite (got {given['temperature']})")
    if not 0 <= given["seed"] < 2**31:
        parser.error(f"--seed: must be from 0 to 2147483647 (got {given['seed']})")
    result, was_there = run(model, EvalConfig(**given), output)
    if was_there:
        print(f"{output} was already complete")
    print(summary(result))


if __name__ == "__main__":
    cli.run(main)
