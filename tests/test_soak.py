"""The quickstart, killed at random moments, gives the same bytes as an undisturbed run."""

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

KILLS = 6
COMMAND = [
    sys.executable, "-m", "pipeline", "pipeline/configs/quickstart.yaml",
]  # fmt: skip


def digests(run: Path) -> dict[str, str]:
    """Hashes of what the run made: records of the mixture, both models, every completion."""
    files = [
        *run.glob("mixture/**/*.array_record"),
        run / "mixture/tokenizer/tokenizer.json",
        run / "base/model.safetensors",
        run / "sft/model/model.safetensors",
        *run.glob("evaluation/*/samples.jsonl"),
    ]
    return {
        str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(files)
    }


@pytest.mark.soak
def test_kill_9_at_random_moments_changes_no_byte(tmp_path) -> None:
    # A folder of its own: a user's runs/quickstart stays as it is.
    for name in ("data_prep", "maxtext_configs", "pipeline", "release", "sft", "tinymathreason"):
        (tmp_path / name).symlink_to(Path(name).resolve())
    run = tmp_path / "runs" / "quickstart"
    subprocess.run(COMMAND, cwd=tmp_path, check=True)
    expected = digests(run)
    assert len(expected) >= 8
    seconds = sum(json.loads((run / "report.json").read_text())["seconds"].values())

    shutil.rmtree(run)
    rng = random.Random(0)
    for _ in range(KILLS):
        process = subprocess.Popen(COMMAND, cwd=tmp_path, start_new_session=True)
        try:
            process.wait(rng.uniform(1, 2 * seconds / KILLS))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    subprocess.run(COMMAND, cwd=tmp_path, check=True)
    assert digests(run) == expected
