"""The whole quickstart, killed at random moments, ends with the bytes of an undisturbed run."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path("runs/quickstart")
KILLS = 6
COMMAND = [
    sys.executable, "-m", "tinymathreason.pipeline", "tinymathreason/pipelines/quickstart.yaml",
]  # fmt: skip


def digests() -> dict[str, str]:
    """Hashes of what the run made: records of the mixture, both models, every completion."""
    files = [
        *RUN.glob("mixture/**/*.array_record"),
        RUN / "mixture/tokenizer/tokenizer.json",
        RUN / "base/model.safetensors",
        RUN / "sft/model/model.safetensors",
        *RUN.glob("evaluation/*/samples.jsonl"),
    ]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}


@pytest.mark.soak
def test_kill_9_at_random_moments_changes_no_byte() -> None:
    shutil.rmtree(RUN, ignore_errors=True)
    subprocess.run(COMMAND, check=True)
    expected = digests()
    assert len(expected) >= 8
    seconds = sum(json.loads((RUN / "report.json").read_text())["seconds"].values())

    shutil.rmtree(RUN)
    rng = random.Random(0)
    for _ in range(KILLS):
        process = subprocess.Popen(COMMAND, start_new_session=True)
        try:
            process.wait(rng.uniform(1, 2 * seconds / KILLS))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    subprocess.run(COMMAND, check=True)
    assert digests() == expected
