"""Command: compare the 1B model's conversion with a plain copy and with upstream's converter.

python -m benchmarks.conversion [--home DIR] [--rounds N]

Each contestant runs once with the checkpoint outside the page cache and once with it in the cache.
The copy reads as many bytes as the compressed parameters have and writes as many as the converted
model has.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.full_size import CONFIG, prepare, sizes
from conversion.checkpoint import Checkpoint
from conversion.mapping import DTYPES, hf_tensors, stored
from conversion.safetensors_files import create
from pretrain import overlay
from tinymathreason import cli

COPY = """
import sys
target, read, write, files = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
buffer = memoryview(bytearray(8 << 20))
with open(target, "wb", buffering=0) as out:
    for name in files:
        with open(name, "rb", buffering=0) as file:
            while read > 0 and (count := file.readinto(buffer[:read])):
                read -= count
                write -= out.write(buffer[: min(count, write)])
    while write > 0:
        write -= out.write(buffer[:write])
"""


def measured(command: list[str], **environment: str) -> dict[str, float]:
    """Wall seconds, CPU seconds and peak resident GB of a command."""
    started = time.monotonic()
    with subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command}: exit status {process.returncode}")
    return {
        "seconds": time.monotonic() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_gb": usage.ru_maxrss * 1024 / 1e9,
    }


def page_cache(files: list[Path], keep: bool) -> None:
    """Put the files into the page cache, or remove them from it."""
    os.sync()
    for file in files:
        with file.open("rb", buffering=0) as data:
            if keep:
                while data.read(8 << 20):
                    pass
            else:
                os.posix_fadvise(data.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def upstream_command(step_dir: Path, tokenizer: Path, output: Path) -> list[str]:
    """Run upstream's converter on our shape, which it accepts as a changed llama3.1-8b."""
    keys = {
        "model_name": "llama3.1-8b",
        "override_model_config": True,
        **sizes().maxtext_config(),
        "scan_layers": True,
        "weight_dtype": "bfloat16",
        "load_parameters_path": step_dir / "items",
        "base_output_directory": output,
        "run_name": "benchmark",
        "hardware": "cpu",
        "skip_jax_distributed_system": True,
        "log_config": False,
    }
    return [
        *(sys.executable, "-m", "maxtext.checkpoint_conversion.to_huggingface"),
        str(overlay.upstream_configs() / "base.yml"),
        *(f"{key}={value}" for key, value in keys.items()),
        "--override_model_architecture",
        f"--hf_model_path={tokenizer}",
    ]


def phases(step_dir: Path, home: Path) -> dict[str, float]:
    """Seconds of one core for each GB of weights in each phase, on the largest array."""
    checkpoint, architecture = Checkpoint(step_dir), sizes()
    array = max(stored(architecture, True).values(), key=lambda array: np.prod(array.shape))
    shapes = {name: hf_tensors(architecture)[name] for name in array.names}
    tensors = [np.empty(shape, DTYPES["bfloat16"]).view(np.uint16) for shape in shapes.values()]
    spent = dict.fromkeys(("decode", "round", "transpose", "write"), 0.0)
    blocks = checkpoint.blocks(array.path)
    before = time.thread_time()
    for region, block in blocks:
        decoded = time.thread_time()
        rounded = block.astype(DTYPES["bfloat16"]).view(np.uint16)
        cast = time.thread_time()
        for index, part, inner in array.split(rounded, region):
            array.weight.place(part, inner, tensors[index], architecture)
        after = time.thread_time()
        spent["decode"] += decoded - before
        spent["round"] += cast - decoded
        spent["transpose"] += after - cast
        before = after
    folder = home / "phases"
    folder.mkdir(exist_ok=True)
    places = create(folder, shapes, "bfloat16", 10**12)
    before = time.thread_time()
    for place, tensor in zip(places.values(), tensors, strict=True):
        place.write(tensor.view(DTYPES["bfloat16"]))
    spent["write"] = time.thread_time() - before
    shutil.rmtree(folder)
    gigabytes = checkpoint.entries[array.path].nbytes / 1e9
    return {phase: round(seconds / gigabytes, 2) for phase, seconds in spent.items()}


def run(home: Path, rounds: int) -> dict[str, Any]:
    """The median of each contestant, and the ratios; the checkpoint stays in ``home``."""
    # In its own process: the peak memory of this one would count for those that it starts.
    subprocess.run([sys.executable, "-m", "benchmarks.full_size", str(home)], check=True)
    step_dir, tokenizer = prepare(home)
    data = sorted(step_dir.glob("items/**/d/*"))
    # The two moments are as large as the weights, so parameters are a third of the data.
    read = sum(file.stat().st_size for file in data) // 3
    write = 2 * sizes().parameters
    output = home / "output"
    ours = [
        *(sys.executable, "-m", "conversion.to_hf", "--skip-parity"),
        *("--checkpoint", str(step_dir), "--config", str(CONFIG), "--dtype", "bfloat16"),
        *("--tokenizer", str(tokenizer), "--output", str(output)),
    ]
    copy = [sys.executable, "-c", COPY, str(output), str(read), str(write), *map(str, data)]
    upstream = upstream_command(step_dir, tokenizer, output)
    offline = {"JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1", "DECOUPLE_GCLOUD": "TRUE"}
    results: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for state, warm in (("cold", False), ("warm", True)):
            for name, command in (("copy", copy), ("ours", ours), ("upstream", upstream)):
                page_cache(data, warm)
                usage = measured(command, **offline)
                print(f"{name}, {state}: {usage}", file=sys.stderr, flush=True)
                results.setdefault(f"{name}_{state}", []).append(usage)
                shutil.rmtree(output) if output.is_dir() else output.unlink()
    figures = {
        name: {key: round(statistics.median(f[key] for f in usage), 2) for key in usage[0]}
        for name, usage in results.items()
    }
    return {
        "benchmark": "conversion",
        "parameters": sizes().parameters,
        "read_bytes": read,
        "written_bytes": write,
        "rounds": rounds,
        "cores": len(os.sched_getaffinity(0)),
        **figures,
        "phases_cpu_seconds_per_gb": phases(step_dir, home),
        "times_a_copy_cold": ratio(figures, "ours_cold", "copy_cold"),
        "times_a_copy_warm": ratio(figures, "ours_warm", "copy_warm"),
        "times_faster_than_upstream_cold": ratio(figures, "upstream_cold", "ours_cold"),
        "times_faster_than_upstream_warm": ratio(figures, "upstream_warm", "ours_warm"),
    }


def ratio(figures: dict[str, dict[str, float]], a: str, b: str) -> float:
    """The seconds of ``a`` divided by those of ``b``."""
    return round(figures[a]["seconds"] / figures[b]["seconds"], 2)


def main(argv: Sequence[str]) -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.conversion", description="Time the conversion of the 1B model."
    )
    parser.add_argument(
        "--home", type=Path, default=Path("runs/full_size"), help="needs 20 GB; kept for next time"
    )
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(argv)
    print(json.dumps(run(arguments.home, arguments.rounds)))


if __name__ == "__main__":
    cli.run(main)
