"""Command: compare the 1B model's training in MaxText and in PyTorch on one NVIDIA GPU.

python -m benchmarks.pretrain_gpu [--overlay FILE] [--steps N] [--device cuda|cpu] [key=value ...]

Both train on the batches of the overlay's mixture, each in a separate process, with float32 weights
and moments and bfloat16 products. The peer is transformers' LlamaForCausalLM with torch.compile,
scaled dot-product attention and fused AdamW. Unlike MaxText it attends across the documents of a
row, since PyTorch has no flash kernel with such a mask.

The project's lock has jax only for CPU and TPU. On the GPU's machine install, besides the extras
pretrain and sft, jax's plugin of the same version, for example:

pip install "jax[cuda12]==$(python -c 'import jax; print(jax.__version__)')"

``--device cpu`` runs the same with a tiny overlay, to test the script without a GPU.
"""

import argparse
import contextlib
import itertools
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.corpus import HOME, call
from benchmarks.training_parity import run_logged, write_overlay
from conversion.architecture import Architecture
from pretrain import overlay, topology
from pretrain.model import Model
from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json

PEAKS = {"A100": 312.0, "H100 80GB HBM3": 989.0, "H200": 989.0}
"""Dense bfloat16 TFLOP/s by a part of the name that nvidia-smi gives, from NVIDIA's data sheets.

The second is an H100 SXM; an H100 PCIe has another peak and is not known here.
"""
WARM = 10
"""First steps that do not count, in which programs are compiled and memory is allocated."""
SMI = ("nvidia-smi", "--format=csv,noheader,nounits", "--id=0")


def smi(query: str) -> str:
    """nvidia-smi's values for the first GPU; `InputError` without one."""
    try:
        answer = subprocess.run(
            [*SMI, f"--query-gpu={query}"], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(
            "--device cuda: nvidia-smi finds no NVIDIA GPU; run this on a machine "
            "with one of 80 GB, or try the script with --device cpu and a tiny overlay"
        ) from error
    return answer.stdout.strip()


def peak_tflops() -> float:
    """Dense bfloat16 TFLOP/s of the first GPU; `InputError` when it is not in `PEAKS`."""
    name = smi("name")
    known = [peak for part, peak in PEAKS.items() if part in name]
    if not known:
        raise InputError(f"{name}: no peak is known for this GPU; known are {', '.join(PEAKS)}")
    return known[0]


def jax_peak_tflops() -> float:
    """`peak_tflops`; `InputError` also when jax cannot use the GPU."""
    peak = peak_tflops()
    if not topology.has_cuda():
        raise InputError(
            "jax has no plugin for CUDA: install jax[cuda12] in the version of the installed jax"
        )
    return peak


class Memory:
    """Memory of the first GPU in a block, from nvidia-smi every half second."""

    def __init__(self) -> None:
        self._before = self._most = float(smi("memory.used"))

    @property
    def peak_gb(self) -> float:
        """The largest amount in use, minus the amount at the start."""
        return (self._most - self._before) * 2**20 / 1e9

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch during the block."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.5):
                self._most = max(self._most, float(smi("memory.used")))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def warm(steps: int) -> int:
    """The number of first steps that do not count."""
    return min(WARM, steps // 3)


def maxtext_seconds(metrics: Path, steps: int) -> float:
    """Seconds per step after the first ones.

    Upstream's seconds of one step end when the next one is dispatched; their sum is the time on the
    clock all the same, as each begins where the one before ended.
    """
    lines = metrics.read_text(encoding="utf-8").splitlines()
    seconds = [json.loads(line)["perf/step_time_seconds"] for line in lines if line]
    if len(seconds) != steps:
        raise InputError(f"{metrics}: {len(seconds)} of {steps} steps; did the data end?")
    counted: list[float] = seconds[warm(steps) :]
    return sum(counted) / len(counted)


def peer(config: str, steps: str, device: str, recompute: str, output: str) -> None:
    """Train with PyTorch; writes seconds per step after the first ones, and all losses."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from benchmarks.batches import batches

    values = overlay.load(config)
    sizes = Architecture.from_maxtext(values)
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(
        LlamaConfig(**sizes.hf_config(1, 0, "float32")), attn_implementation="sdpa"
    )
    model.to(device).train()
    if recompute == "recompute":
        model.gradient_checkpointing_enable()
    optimiser = torch.optim.AdamW(
        model.parameters(),
        lr=values["learning_rate"],
        betas=(values["adam_b1"], values["adam_b2"]),
        eps=values["adam_eps"],
        weight_decay=values["adam_weight_decay"],
        fused=True,
    )

    def batch_loss(inputs: Any, targets: Any) -> Any:
        with torch.autocast(device, dtype=torch.bfloat16):
            logits = model(input_ids=inputs, use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    # A CPU, which only tests the script, may have no C++ compiler.
    compiled = torch.compile(batch_loss, backend="inductor" if device == "cuda" else "eager")
    ends, losses = [], []
    for batch in itertools.islice(batches(Path(config)), int(steps)):
        inputs, targets, segments = (
            torch.from_numpy(batch[key]).to(device).long()
            for key in ("inputs", "targets", "targets_segmentation")
        )
        mean = compiled(inputs, targets.masked_fill(segments == 0, -100))
        mean.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), values["gradient_clipping_threshold"])
        optimiser.step()
        optimiser.zero_grad()
        losses.append(mean.item())  # waits for the device
        ends.append(time.monotonic())
    if len(ends) < int(steps):
        raise InputError(f"the data ended after {len(ends)} of {steps} steps")
    first = warm(len(ends)) - 1
    seconds = (ends[-1] - ends[first]) / (len(ends) - 1 - first)
    write_json(Path(output), {"seconds": seconds, "losses": losses})


def measure(home: Path, config: Path, steps: int, device: str, recompute: bool) -> dict[str, Any]:
    """Train with both, one after the other; rates, shares of the peak, and memory."""
    values = overlay.load(config)
    sizes = Architecture.from_maxtext(values)
    tokens = values["per_device_batch_size"] * sizes.context
    peak = jax_peak_tflops() if device == "cuda" else None
    output = home / "torch.json"
    options = [config, steps, device, "recompute" if recompute else "keep", output]
    contestants = {
        # Upstream's own entry point, since ours requires a checkpoint at the end.
        "maxtext": [sys.executable, "-m", "maxtext.trainers.pre_train.train", str(config)],
        "torch": call("benchmarks.pretrain_gpu", "peer", *options),
    }
    environments = {
        # Preallocation would hide the memory that it needs.
        "maxtext": {"JAX_PLATFORMS": device, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        "torch": {"JAX_PLATFORMS": "cpu"},
    }
    figures: dict[str, dict[str, float]] = {}
    for name, command in contestants.items():
        memory = Memory() if device == "cuda" else None
        environment = {"DECOUPLE_GCLOUD": "TRUE", **environments[name]}
        with memory.watched() if memory else contextlib.nullcontext():
            resident_gb = run_logged(command, home / f"{name}.log", **environment)
        if name == "maxtext":
            seconds = maxtext_seconds(Path(values["metrics_file"]), steps)
        else:
            seconds = read_json(output)["seconds"]
        figures[name] = {
            "tokens_per_second": round(tokens / seconds, 1),
            "peak_gb": round(memory.peak_gb if memory else resident_gb, 2),
        }
        if peak:
            flops = Model.from_config(values).flops_per_token * tokens / seconds
            figures[name]["mfu"] = round(flops / (peak * 1e12), 4)
    return {
        "benchmark": "pretrain_gpu",
        "device": smi("name") if peak else "cpu",
        "peak_tflops": peak,
        "parameters": sizes.parameters,
        "batch": values["per_device_batch_size"],
        "context": sizes.context,
        "steps": steps,
        "warm_steps": warm(steps),
        "torch_recomputes": recompute,
        **figures,
        "times_torch": round(
            figures["maxtext"]["tokens_per_second"] / figures["torch"]["tokens_per_second"], 3
        ),
    }


def main(argv: Sequence[str]) -> None:
    """Parse the command line, train and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.pretrain_gpu", description="Time the 1B model's training on one GPU."
    )
    parser.add_argument(
        "--overlay", type=Path, default=Path("maxtext_configs/tinymathreason_1b_gpu.yml")
    )
    parser.add_argument("--steps", type=int, default=50, help="at least 3")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--recompute", action="store_true", help="the peer recomputes activations to save memory"
    )
    parser.add_argument(
        "--home", type=Path, default=HOME / "pretrain_gpu", help="working folder; it is emptied"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replace MaxText's value")
    arguments = parser.parse_args(argv)
    if arguments.steps < 3:
        raise InputError(f"--steps {arguments.steps}: a third is to warm up; expected at least 3")
    if arguments.device == "cuda":
        jax_peak_tflops()
    home, device = arguments.home, arguments.device
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    config = write_overlay(
        home,
        arguments.overlay,
        arguments.steps,
        arguments.overrides,
        hardware="gpu" if device == "cuda" else "cpu",
        enable_checkpointing=False,
    )
    print(json.dumps(measure(home, config, arguments.steps, device, arguments.recompute)))


if __name__ == "__main__":
    cli.run(main)
