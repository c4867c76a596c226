"""Command: measure the 1B model's training on one NVIDIA GPU, in MaxText's variants and PyTorch.

python -m benchmarks.pretrain_gpu [--data DIR] [--only NAME,...] [--limit-seconds S] [key=value ...]

It prints a line of JSON for each variant as soon as it is measured, the most important first, and
begins none for which the time that is left would not do. All train the same model on the same
batches, each in a process of its own, with float32 weights and moments and bfloat16 products:

- MaxText, with the overlay as it is and with other settings (`VARIANTS`);
- transformers' LlamaForCausalLM with torch.compile and fused AdamW (`benchmarks.torch_peer`), with
  attention across the documents of a row and within each, through torch's ``varlen_attn``.

A step is one micro-batch (``--parts``), which is what decides the speed. The batches come from the
overlay's mixture if it was built, else from ``--data`` or made-up documents
(`benchmarks.made_records`). ``make setup-gpu`` installs what it needs. ``--device cpu`` runs the
same with a tiny model, to test the script without a GPU.
"""

import argparse
import contextlib
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.card import Memory, jax_peak_tflops, peak_tflops, smi
from benchmarks.corpus import HOME, call
from benchmarks.torch_peer import warm
from benchmarks.training_parity import run_logged, write_overlay
from conversion.architecture import Architecture
from pretrain import overlay
from pretrain.model import Model
from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.config import nearest
from tinymathreason.files import read_json

TINY = ("base_emb_dim=32", "head_dim=8", "base_mlp_dim=48", "base_num_decoder_layers=2",
        "max_target_length=64", "vocab_size=320", "per_device_batch_size=2")  # fmt: skip
"""What ``--device cpu`` changes in quickstart.yml where no overlay is given."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to train: MaxText's keys and environment, or the peer's mask."""

    keys: tuple[str, ...] = ()
    """MaxText's keys as ``key=value``."""
    blocks: str = "heuristic"
    """One of `pretrain.blocks.MODES` for MaxText."""
    environment: dict[str, str] = field(default_factory=dict)
    mask: str = ""
    """One of `torch_peer.MASKS` for the peer, empty for MaxText."""


def _xla(*flags: str) -> str:
    return "compile_xla_flags=" + " ".join(f"--xla_gpu_{flag}" for flag in flags)


HIDING = "enable_latency_hiding_scheduler=True"
NO_TRITON_GEMM = "enable_triton_gemm=False"
TUNED = ("scan_layers=false", _xla(HIDING, NO_TRITON_GEMM))
VARIANTS = {
    "as_it_is": Variant(),
    "tuned": Variant(keys=TUNED),
    "torch_documents": Variant(mask="documents"),
    "torch": Variant(mask="none"),
    "unscanned": Variant(keys=("scan_layers=false",)),
    "no_triton_gemm": Variant(keys=(_xla(NO_TRITON_GEMM),)),
    "latency_hiding": Variant(keys=(_xla(HIDING),)),
    "12_rows_in_8": Variant(keys=("per_device_batch_size=12", "num_vocab_tiling=8")),
    "vocabulary_in_8": Variant(keys=("num_vocab_tiling=8",)),
    "command_buffers_all": Variant(
        keys=(_xla("enable_command_buffer=FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL"),)
    ),
    "preallocated": Variant(environment={"XLA_PYTHON_CLIENT_PREALLOCATE": "true"}),
    "12_rows_save_qkv": Variant(
        keys=("per_device_batch_size=12", "remat_policy=save_qkv_proj", "num_vocab_tiling=8")
    ),
    "minimal": Variant(keys=("remat_policy=minimal",)),
    "dot_product": Variant(keys=("attention=dot_product", "per_device_batch_size=4")),
    "searched": Variant(blocks="search"),
    "searched_tuned": Variant(blocks="search", keys=TUNED),
}
"""The variants by name, in the order in which they are measured.

A search of block sizes may take minutes. It is kept for the device, so it is made once.
"""


def tokens_per_step(values: dict[str, Any]) -> int:
    """Tokens of one optimiser step on one device: all of its micro-batches."""
    rows = values["per_device_batch_size"] * values["gradient_accumulation_steps"]
    return int(rows * values["max_target_length"])


def maxtext_seconds(metrics: Path, steps: int) -> float:
    """Seconds per step after the first ones.

    Upstream's seconds of one step end when the next one is dispatched; their sum is the time on the
    clock all the same, as each begins where the one before ended.
    """
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
    seconds = [json.loads(line)["perf/step_time_seconds"] for line in lines if line]
    if len(seconds) != steps:
        raise InputError(f"{metrics}: {len(seconds)} of {steps} steps; did the data end?")
    counted: list[float] = seconds[warm(steps) :]
    return sum(counted) / len(counted)


def measure(
    home: Path, path: Path, variant: Variant, steps: int, device: str, overrides: Sequence[str]
) -> dict[str, Any]:
    """Train one variant in ``home``; its rate, its share of the peak, and its memory."""
    home.mkdir(parents=True)
    config = write_overlay(
        home,
        path,
        steps,
        [*overrides, *variant.keys],
        hardware="gpu" if device == "cuda" else "cpu",
        enable_checkpointing=False,
    )
    values = overlay.load(config)
    output = home / "torch.json"
    environment = {
        "DECOUPLE_GCLOUD": "TRUE",
        # Preallocation would hide the memory that it needs.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_PLATFORMS": "cpu" if variant.mask or device == "cpu" else "cuda,cpu",
        **variant.environment,
    }
    if variant.mask:
        options = [config, steps, device, variant.mask, "keep", output]
        command = call("benchmarks.torch_peer", "peer", *options)
    else:
        # Our entry without its checks, since it requires a checkpoint at the end.
        command = [sys.executable, "-m", "pretrain.blocks", f"--blocks={variant.blocks}"]
        command.append(str(config))
    memory = Memory() if device == "cuda" else None
    with memory.watched() if memory else contextlib.nullcontext():
        resident_gb = run_logged(command, home / "log", **environment)
    if variant.mask:
        seconds = read_json(output)["seconds"]
    else:
        seconds = maxtext_seconds(Path(values["metrics_file"]), steps)
    tokens = tokens_per_step(values)
    figures: dict[str, Any] = {
        "rows": values["per_device_batch_size"],
        "parts": values["gradient_accumulation_steps"],
        "context": values["max_target_length"],
        "parameters": Architecture.from_maxtext(values).parameters,
        "steps": steps,
        "warm_steps": warm(steps),
        "step_seconds": round(seconds, 4),
        "tokens_per_second": round(tokens / seconds, 1),
    }
    if "XLA_PYTHON_CLIENT_PREALLOCATE" not in variant.environment:
        figures["peak_gb"] = round(memory.peak_gb if memory else resident_gb, 2)
    if device == "cuda":
        flops = Model.from_config(values).flops_per_token * tokens / seconds
        figures["mfu"] = round(flops / (peak_tflops() * 1e12), 4)
    return figures


def sweep(
    home: Path,
    path: Path,
    names: Sequence[str],
    steps: int,
    device: str,
    overrides: Sequence[str],
    limit: float,
) -> Iterator[dict[str, Any]]:
    """Measure the variants one after the other; a variant that fails gives its error.

    None begins with less time left than the quickest one took that succeeded.
    """
    began, quickest = time.monotonic(), 0.0
    for name in names:
        left = limit - (time.monotonic() - began)
        line: dict[str, Any] = {"benchmark": "pretrain_gpu", "variant": name}
        if left < quickest:
            yield {**line, "skipped": f"{left:.0f} s are left, and one took {quickest:.0f} s"}
            continue
        start = time.monotonic()
        try:
            line |= measure(home / name, path, VARIANTS[name], steps, device, overrides)
        except InputError as error:
            line["error"] = str(error)
        took = time.monotonic() - start
        if "error" not in line:
            quickest = min(quickest or took, took)
        yield {**line, "took": round(took, 1)}


def main(argv: Sequence[str]) -> None:
    """Parse the command line, train and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.pretrain_gpu", description="Time the 1B model's training on one GPU."
    )
    parser.add_argument("--overlay", type=Path, help="default: tinymathreason_1b_gpu.yml")
    parser.add_argument("--steps", type=int, default=24, help="at least 3; a third is to warm up")
    parser.add_argument("--parts", type=int, default=1, help="micro-batches of a step")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--data", type=Path, help="real text: the folder of `make realdata`")
    parser.add_argument("--only", help=f"variants, with commas, of: {', '.join(VARIANTS)}")
    parser.add_argument("--limit-seconds", type=float, default=float("inf"), help="for all")
    parser.add_argument(
        "--home", type=Path, default=HOME / "pretrain_gpu", help="working folder; it is emptied"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replace MaxText's value")
    arguments = parser.parse_args(argv)
    steps, home, device = arguments.steps, arguments.home.absolute(), arguments.device
    if steps < 3:
        raise InputError(f"--steps {steps}: a third is to warm up; expected at least 3")
    names = arguments.only.split(",") if arguments.only else list(VARIANTS)
    for name in names:
        if name not in VARIANTS:
            raise InputError(f"--only: {nearest(name, VARIANTS)}")
    if device == "cuda":
        jax_peak_tflops()
    path = arguments.overlay or Path("maxtext_configs") / (
        "tinymathreason_1b_gpu.yml" if device == "cuda" else "quickstart.yml"
    )
    overrides = [f"gradient_accumulation_steps={arguments.parts}"]
    if device == "cpu" and not arguments.overlay:
        overrides += TINY
        names = names if arguments.only else ["as_it_is", "torch"]
    overrides += arguments.overrides
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    overrides += records(home / "records", path, overrides, steps, arguments.data)
    for line in sweep(home, path, names, steps, device, overrides, arguments.limit_seconds):
        print(
            json.dumps({**line, "device": smi("name") if device == "cuda" else "cpu"}), flush=True
        )


def records(
    folder: Path, path: Path, overrides: Sequence[str], steps: int, data: Path | None
) -> list[str]:
    """The keys of data: none where the overlay's mixture is there and fits, else of new records."""
    from benchmarks import made_records

    values = overlay.load(path, overrides)
    fits = values["vocab_size"] == overlay.load(path)["vocab_size"]
    if not data and fits and Path(values["grain_train_mixture_config_path"] or ".").is_file():
        return []
    vocabulary, length = values["vocab_size"], values["max_target_length"]
    found = (
        made_records.of_text(data, vocabulary)
        if data
        else made_records.made_up(vocabulary, 8 * length)
    )
    # Half more rows than a step of 12 rows reads: MaxText reads ahead.
    tokens = max(tokens_per_step(values), 12 * length) * (steps + 8) * 3 // 2
    keys = made_records.write(folder, found, tokens, vocabulary)
    return [f"{key}={value}" for key, value in keys.items()]


if __name__ == "__main__":
    cli.run(main)
