"""Command: compare the losses of the same training in MaxText and in a plain PyTorch loop.

python -m benchmarks.training_parity [--overlay FILE] [--steps N] [key=value ...]

MaxText trains on CPU in float32 from its own initial weights. Its checkpoint 0 has these weights,
because the first step of a warm-up has the rate 0. `conversion` turns them into the model that
`benchmarks.torch_loop` then trains on the same batches of upstream's pipeline.
"""

import argparse
import contextlib
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.corpus import HOME
from pretrain import overlay
from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.files import write_text

TOLERANCE = 1e-3
"""Accepted difference between the losses of a step, in nats."""
METRICS = {
    "loss": "learning/loss",
    "tokens": "learning/total_weights",
    "gradient_norm": "learning/raw_grad_norm",
    "rate": "learning/current_learning_rate",
}
"""Fields of `torch_loop.StepResult` by upstream's names for them."""


@dataclass(frozen=True)
class Run:
    """A finished training by MaxText."""

    config: Path
    """The complete overlay."""
    metrics: list[dict[str, float]]
    """Metrics of each step, by the names of `METRICS`."""
    initial: Path
    """Hugging Face folder of the initial weights."""
    final: Path
    """Hugging Face folder of the final weights."""


def write_overlay(
    home: Path, path: Path, steps: int, overrides: Sequence[str], **keys: Any
) -> Path:
    """Write an overlay into ``home``: ``path`` with ``overrides``, and then ``keys``, on top.

    It trains for this many steps and writes into ``home``, with a line of metrics for each step.
    Returns its path; raises `InputError` for a wrong key.
    """
    import yaml

    config, names = overlay.load(path, overrides), (word.partition("=")[0] for word in overrides)
    values = {
        "base_config": str(path.resolve()),
        **{name: config[name] for name in names},
        "steps": steps,
        "learning_rate_schedule_steps": steps,
        "skip_jax_distributed_system": True,
        "log_config": False,
        "eval_interval": -1,
        "enable_tensorboard": False,
        "metrics_file": str(home.resolve() / "metrics.jsonl"),
        "base_output_directory": str(home.resolve()),
        "run_name": "maxtext",
        **keys,
    }
    write_text(home / "overlay.yml", yaml.safe_dump(values, sort_keys=False))
    return home / "overlay.yml"


def write_config(home: Path, path: Path, steps: int, overrides: Sequence[str]) -> Path:
    """The overlay of a training in float32 on CPU that keeps its first and last weights.

    Raises `InputError` for a wrong key, and where there is no warm-up to keep the first step's
    rate at 0.
    """
    config = write_overlay(
        home,
        path,
        steps,
        overrides,
        hardware="cpu",
        dtype="float32",
        attention="dot_product",
        jax_cache_dir="",
        checkpoint_period=steps,
        max_num_checkpoints_to_keep=2,
        async_checkpointing=False,
    )
    values = overlay.load(config)
    if int(steps * values["warmup_steps_fraction"]) < 1:
        raise InputError(
            "warmup_steps_fraction: without a step of warm-up no checkpoint has the initial weights"
        )
    return config


def run_logged(command: list[str], log: Path, **environment: str) -> float:
    """Run a command with its output in ``log``; returns its peak memory in GB.

    Raises `InputError` with the last line of the log when it fails.
    """
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=stream, stderr=stream
        ) as process,
    ):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise InputError(f"exit status {process.returncode}, see {log}: {''.join(last)}")
    return usage.ru_maxrss * 1024 / 1e9


def run_maxtext(home: Path, config: Path) -> Run:
    """Train with upstream in a separate process, and convert the initial and the final weights.

    Raises `InputError` as `run_logged` does.
    """
    from conversion.export import Export
    from conversion.to_hf import convert

    values = overlay.load(config)
    # Without Google Cloud's clients it starts ten seconds faster.
    run_logged(
        [sys.executable, "-m", "maxtext.train", str(config)],
        home / "maxtext.log",
        DECOUPLE_GCLOUD="TRUE",
    )
    folders = []
    for name, step in (("initial", 0), ("final", values["steps"] - 1)):
        step_dir = Path(
            values["base_output_directory"], values["run_name"], "checkpoints", str(step)
        )
        options = Export(Path(values["tokenizer_path"]))
        with contextlib.redirect_stdout(sys.stderr):
            convert(step_dir, config, home / name, options, skip_parity=True)
        folders.append(home / name)
    lines = Path(values["metrics_file"]).read_text(encoding="utf-8").splitlines()
    metrics = [
        {name: json.loads(line)[key] for name, key in METRICS.items()} for line in lines if line
    ]
    return Run(config, metrics, *folders)


def load_model(folder: Path) -> Any:
    """The float32 LlamaForCausalLM of a folder, in training mode."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa", use_safetensors=True
    )
    return model.train()


def compare(run: Run, steps: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The largest differences between the steps of MaxText and those of the loop.

    Losses in nats; norms and rates as a share of MaxText's. Raises `RuntimeError` when both did not
    see batches of the same number of tokens: then they did not read the same data.
    """
    if [step["tokens"] for step in run.metrics] != [step["tokens"] for step in steps]:
        raise RuntimeError("the two trainings did not see the same batches")
    apart: dict[str, list[float]] = {name: [] for name in ("loss", "gradient_norm", "rate")}
    for theirs, ours in zip(run.metrics, steps, strict=True):
        for name, differences in apart.items():
            scale = 1.0 if name == "loss" else abs(theirs[name]) or 1.0
            differences.append(abs(theirs[name] - ours[name]) / scale)
    largest = max(apart["loss"])
    return {
        "max_loss_difference": largest,
        "at_step": apart["loss"].index(largest),
        # Written so that NaN fails.
        "within_tolerance": all(difference < TOLERANCE for difference in apart["loss"]),
        "max_gradient_norm_difference": max(apart["gradient_norm"]),
        "max_rate_difference": max(apart["rate"]),
    }


def weights_apart(model: Any, run: Run) -> float:
    """Distance of a trained model from MaxText's, as a share of MaxText's total change."""
    ours, start, end = (
        weights.state_dict() for weights in (model, load_model(run.initial), load_model(run.final))
    )
    apart = sum(float((ours[name] - end[name]).square().sum()) for name in end)
    gone = sum(float((start[name] - end[name]).square().sum()) for name in end)
    return math.sqrt(apart / gone)


def measure(home: Path, path: Path, steps: int, overrides: Sequence[str]) -> dict[str, Any]:
    """Train with both in ``home``, and compare."""
    from benchmarks import torch_loop
    from benchmarks.batches import batches
    from conversion.architecture import Architecture

    config = write_config(home, path, steps, overrides)
    values = overlay.load(config)
    settings, sizes = (
        torch_loop.Hyperparameters.from_maxtext(values),
        Architecture.from_maxtext(values),
    )
    started = time.monotonic()
    run = run_maxtext(home, config)
    trained = time.monotonic()
    model = load_model(run.initial)
    data = itertools.islice(batches(config), steps)
    ours = [asdict(step) for step in torch_loop.train(model, data, settings, sizes)]
    figures = compare(run, ours)
    return {
        "benchmark": "training_parity",
        "overlay": str(path),
        "parameters": sizes.parameters,
        "steps": steps,
        "tokens": int(sum(step["tokens"] for step in ours)),
        **figures,
        "tolerance": TOLERANCE,
        "weights_apart": weights_apart(model, run),
        "loss_maxtext": [run.metrics[0]["loss"], run.metrics[-1]["loss"]],
        "loss_torch": [ours[0]["loss"], ours[-1]["loss"]],
        "clipped_steps": sum(0 < settings.clip < step["gradient_norm"] for step in ours),
        "seconds_maxtext": round(trained - started, 1),
        "seconds_torch": round(time.monotonic() - trained, 1),
    }


def main(argv: Sequence[str]) -> None:
    """Parse the command line, train and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.training_parity",
        description="Compare a training by MaxText with the same one in plain PyTorch.",
    )
    parser.add_argument("--overlay", type=Path, default=Path("maxtext_configs/quickstart.yml"))
    parser.add_argument("--steps", type=int, default=100, help="also the schedule's length")
    parser.add_argument(
        "--home", type=Path, default=HOME / "training_parity", help="working folder; it is emptied"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replace MaxText's value")
    arguments = parser.parse_args(argv)
    shutil.rmtree(arguments.home, ignore_errors=True)
    arguments.home.mkdir(parents=True)
    print(
        json.dumps(measure(arguments.home, arguments.overlay, arguments.steps, arguments.overrides))
    )


if __name__ == "__main__":
    cli.run(main)
