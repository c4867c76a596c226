"""The first NVIDIA GPU of this machine: what nvidia-smi tells of it, its peak and its memory."""

import contextlib
import subprocess
import threading
from collections.abc import Iterator

from pretrain import topology
from pretrain.gpus import CARDS
from tinymathreason.cli import InputError

PEAKS = {
    "A100": CARDS["a100-80gb"].peak_flops / 1e12,
    "H100 80GB HBM3": CARDS["h100"].peak_flops / 1e12,
    "H200": CARDS["h200"].peak_flops / 1e12,
    "B200": CARDS["b200"].peak_flops / 1e12,
    "RTX 4090": CARDS["rtx4090"].peak_flops / 1e12,
    "NVIDIA A10": CARDS["a10"].peak_flops / 1e12,
}
"""Dense bfloat16 TFLOP/s by a part of the name that nvidia-smi gives.

The second is an H100 SXM; an H100 PCIe has another peak and is not known here.
"""
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
            "with one of 80 GB, or try the script with --device cpu"
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
        raise InputError("jax has no plugin for CUDA: run make setup-gpu")
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
