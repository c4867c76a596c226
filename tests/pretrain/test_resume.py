"""A pretraining run that is killed ends with the very weights of one that is not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from conversion.checkpoint import Checkpoint
from data_prep.build import build
from data_prep.recipe import Recipe
from pretrain.train import checkpoints
from release.records import pretrain_curves
from tinymathreason.config import load

STEPS = 8
OVERLAY = """
base_config: {quickstart}
base_emb_dim: 32
head_dim: 8
base_mlp_dim: 48
base_num_decoder_layers: 2
vocab_size: 320
per_device_batch_size: 2
steps: 8
learning_rate_schedule_steps: 8
checkpoint_period: 2
eval_interval: 4
log_config: false
base_output_directory: {home}
grain_train_mixture_config_path: {home}/mixture/mixture.json
grain_eval_files: {home}/mixture/*/eval-*.array_record
tokenizer_path: {home}/mixture/tokenizer
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a small mixture of both generators and an overlay that reads it."""
    path = tmp_path_factory.mktemp("pretrain")
    overrides = [
        f"output_dir={path / 'mixture'}",
        "tokenizer.train.vocab_size=320",
        "tokenizer.train.sample_bytes=100_000",
        "sources.word_problems.documents=800",
        "sources.number_facts.documents=400",
    ]
    build(load(Recipe, "data_prep/recipes/quickstart.yaml", overrides))
    quickstart = Path("maxtext_configs/quickstart.yml").resolve()
    (path / "overlay.yml").write_text(OVERLAY.format(quickstart=quickstart, home=path))
    return path


def start(home, run_name: str, *overrides: str):
    log = (home / f"{run_name}.log").open("ab")
    with log:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "maxtext.train",
                "overlay.yml",
                f"run_name={run_name}",
                *overrides,
            ],
            cwd=home,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def saved(home, run_name: str) -> list[int]:
    return checkpoints({"base_output_directory": str(home), "run_name": run_name})


@pytest.mark.xdist_group("maxtext")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_killed_and_resumed_equals_undisturbed(home) -> None:
    whole = start(home, "whole")
    killed = start(home, "killed")
    deadline = time.monotonic() + 300
    while not any(step >= 2 for step in saved(home, "killed")):
        assert killed.poll() is None, (home / "killed.log").read_text()[-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert whole.wait() == 0, (home / "whole.log").read_text()[-2000:]
    assert start(home, "killed").wait() == 0, (home / "killed.log").read_text()[-2000:]

    last = STEPS - 1
    expected = Checkpoint(home / "whole" / "checkpoints" / str(last))
    found = Checkpoint(home / "killed" / "checkpoints" / str(last))
    assert expected.shapes == found.shapes
    for path in expected.shapes:
        np.testing.assert_array_equal(expected.read(path), found.read(path), err_msg=path)

    train, held_out, tokens = pretrain_curves(home / "whole")
    assert [step for step, _ in train] == list(range(STEPS))
    # At every evaluation all held-out documents of both sources are read.
    manifest = json.loads((home / "mixture" / "manifest.json").read_text())
    shards = [s for source in manifest["sources"].values() for s in source["shards"]]
    evaluated = sum(s["tokens"] for s in shards if "/eval-" in s["path"])
    log = (home / "whole.log").read_text()
    totals = [
        float(line.split("total_weights=")[1].split(",")[0])
        for line in log.splitlines()
        if "Completed eval after train step" in line
    ]
    assert len(totals) == len(held_out) >= 2
    assert all(0.8 * evaluated < total <= evaluated for total in totals)
    assert 0 < tokens <= STEPS * 2 * 128


@pytest.mark.xdist_group("maxtext")
def test_a_run_whose_data_ends_early_fails(home) -> None:
    ended = start(home, "ended", "num_epoch=1", "per_device_batch_size=200", "eval_interval=-1")
    assert ended.wait() == 2
    last = (home / "ended.log").read_text().strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "training ended before step 7" in last
