"""Two processes train together with jax.distributed, each with half of the weights and data."""

import os
import signal
from pathlib import Path

import pytest

from pretrain import run
from pretrain.train import main
from tests.pretrain.test_resume import (
    check_equal,
    config,
    leaves,
    losses,
    prepare,
    start,
    tail,
    wait_for_step,
)
from tinymathreason.cli import InputError

STEPS = 100
ADDRESS = f"127.{os.getpid() >> 16 & 255}.{os.getpid() >> 8 & 255}.{os.getpid() & 255 | 2}"
"""MaxText's port is fixed; an address of their own keeps the processes apart from other runs."""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    path = tmp_path_factory.mktemp("two_hosts")
    prepare(path, STEPS)
    return path


def start_both(home: Path, name: str):
    return [
        start(
            home,
            name,
            "skip_jax_distributed_system=false",
            host=host,
            JAX_COORDINATOR_ADDRESS=ADDRESS,
            JAX_COORDINATOR_BIND_ADDRESS=f"{ADDRESS}:1234",
            JAX_PROCESS_COUNT="2",
            PROCESSES_IN_JOB="2",
            JOB_INDEX="0",
            JOB_COMPLETION_INDEX=str(host),
        )
        for host in range(2)
    ]


def finish_both(home: Path, name: str) -> None:
    statuses = [process.wait() for process in start_both(home, name)]
    assert statuses == [0, 0], tail(home, name, 0) + tail(home, name, 1)


@pytest.mark.xdist_group("maxtext")
def test_two_hosts_killed_and_resumed_equal_undisturbed(home, monkeypatch) -> None:
    finish_both(home, "whole")
    both = start_both(home, "hit")
    wait_for_step(home, "hit", 25, *both)
    for process in both:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert 0 <= run.checkpoints(config(home, "hit"))[-1] < STEPS - 1

    monkeypatch.chdir(home)
    with pytest.raises(InputError, match="hosts were 2, are 1"):
        main(["overlay.yml", "run_name=hit"])

    finish_both(home, "hit")
    expected = losses(home, "whole", 0)
    assert sorted(expected) == list(range(STEPS))
    assert losses(home, "whole", 1) == expected
    for host in range(2):
        check_equal(home, "hit", STEPS - 1, expected, host)
    wanted = leaves(home, "whole", STEPS - 1)
    # Each host has its own iterator, and only one host writes the records.
    iterators = [wanted[f"process_{host}-of-2.json"] for host in range(2)]
    assert iterators[0] != iterators[1]
    assert [entry.hosts for entry in run.starts(config(home, "hit"))] == [2, 2]
    assert [entry.devices for entry in run.starts(config(home, "hit"))] == [2, 2]
