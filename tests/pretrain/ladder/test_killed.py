"""A ladder of two runs, killed at random moments, gives the same results as an undisturbed one."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pretrain.ladder import table

KILLS = 6
SECONDS = 150.0
"""About what an undisturbed ladder of this size takes."""


def command(folder: Path) -> list[str]:
    tasks = "{arithmetic: {problems: 20, answered: 20}}"
    return [
        sys.executable, "-m", "pretrain.ladder", "run", "pretrain/ladder/ladders/cpu.yaml",
        f"run={folder / 'run'}", f"mixture={folder / 'mixture'}", "law.sizes=[0.3M]",
        "law.tokens_per_parameter=[0.1, 0.2]", "law.seeds=[0]", "law.repeated=[]",
        "law.least_tokens=0", f"measure={{held_out_tokens: 2000, tasks: {tasks}}}",
    ]  # fmt: skip


def results(run: Path) -> tuple[pd.DataFrame, list[str]]:
    """The table without the times, and the hashes of the models."""
    models = sorted(run.glob("points/*/base/model.safetensors"))
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in models]
    return table.read(run / table.FILE).drop(columns=["seconds", "cpu_seconds"]), hashes


@pytest.mark.soak
def test_a_killed_ladder_goes_on_to_the_same_results(tmp_path: Path) -> None:
    build = ["bash", "data_prep/build_mixture.sh", "data_prep/recipes/ladder.yaml"]
    subprocess.run([*build, f"output_dir={tmp_path / 'mixture'}"], check=True)
    subprocess.run(command(tmp_path), check=True)
    expected, models = results(tmp_path / "run")
    assert len(expected) == len(models) == 2

    shutil.rmtree(tmp_path / "run")
    rng = random.Random(0)
    for _ in range(KILLS):
        process = subprocess.Popen(command(tmp_path), start_new_session=True)
        try:
            process.wait(rng.uniform(1, 2 * SECONDS / KILLS))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    subprocess.run(command(tmp_path), check=True)
    found, found_models = results(tmp_path / "run")
    pd.testing.assert_frame_equal(found, expected)
    assert found_models == models
