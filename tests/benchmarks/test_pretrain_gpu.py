"""The GPU benchmark runs on a CPU, and says in one line where it cannot run."""

import json
import math
import os

import pytest

from benchmarks import pretrain_gpu
from benchmarks.pretrain_gpu import Memory, main, maxtext_seconds, warm
from pretrain import topology
from tests.pretrain.test_training_parity import OVERLAY, VOCABULARY, write_mixture
from tests.support.checkpoints import save_tokenizer
from tinymathreason.cli import InputError

SMI = """#!/bin/sh
# Answers as nvidia-smi does; memory grows with every question.
case "$*" in
  *memory.used*) echo x >> {folder}/asked; expr 1000 \\* $(wc -l < {folder}/asked);;
  *) echo "{name}";;
esac
"""


@pytest.fixture
def gpu(tmp_path, monkeypatch):
    """Puts a stand-in of nvidia-smi on the path, for a GPU of a name."""

    def install(name: str) -> None:
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir(exist_ok=True)
        program.write_text(SMI.format(folder=tmp_path, name=name))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    return install


@pytest.mark.processor
@pytest.mark.xdist_group("maxtext")
def test_both_train_three_steps_on_cpu(tmp_path, capsys) -> None:
    save_tokenizer(VOCABULARY, tmp_path / "tokenizer")
    keys = {
        **OVERLAY,
        "grain_train_mixture_config_path": str(write_mixture(tmp_path)),
        "tokenizer_path": str(tmp_path / "tokenizer"),
    }
    (tmp_path / "tiny.yml").write_text(json.dumps(keys))
    home = tmp_path / "home"
    arguments = ["--overlay", str(tmp_path / "tiny.yml"), "--home", str(home), "--device", "cpu"]
    main([*arguments, "--steps", "3", "--recompute", "per_device_batch_size=4"])
    result = json.loads(capsys.readouterr().out)
    assert result["device"] == "cpu"
    assert (result["batch"], result["context"], result["steps"], result["warm_steps"]) == (
        4,
        32,
        3,
        1,
    )
    for name in ("maxtext", "torch"):
        assert result[name]["tokens_per_second"] > 0
        assert 0.1 < result[name]["peak_gb"] < 20
        assert "mfu" not in result[name]
    ratio = result["maxtext"]["tokens_per_second"] / result["torch"]["tokens_per_second"]
    assert result["times_torch"] == pytest.approx(ratio, abs=1e-3)
    losses = json.loads((home / "torch.json").read_text())["losses"]
    assert losses[0] == pytest.approx(math.log(VOCABULARY), rel=0.05)
    assert not (home / "maxtext" / "checkpoints").exists()


def test_seconds_are_those_after_the_first_steps(tmp_path) -> None:
    assert [warm(steps) for steps in (3, 6, 30, 50)] == [1, 2, 10, 10]
    lines = [json.dumps({"perf/step_time_seconds": seconds}) for seconds in (9, 2, 4)]
    (tmp_path / "metrics").write_text("\n".join(lines) + "\n")
    assert maxtext_seconds(tmp_path / "metrics", 3) == 3
    with pytest.raises(InputError, match="3 of 4 steps"):
        maxtext_seconds(tmp_path / "metrics", 4)


def test_without_a_gpu_it_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="no NVIDIA GPU"):
        main([])


def test_an_unknown_gpu_and_a_jax_without_cuda_are_reported(gpu, monkeypatch) -> None:
    gpu("NVIDIA H100 PCIe")
    with pytest.raises(InputError, match="NVIDIA H100 PCIe: no peak"):
        main([])
    gpu("NVIDIA H200")
    monkeypatch.setattr(topology, "has_cuda", lambda: False)
    with pytest.raises(InputError, match=r"jax\[cuda12\]"):
        main([])
    monkeypatch.setattr(topology, "has_cuda", lambda: True)
    assert pretrain_gpu.peak_tflops() == 989


@pytest.mark.clock
def test_memory_is_the_most_that_was_used_meanwhile(gpu, tmp_path) -> None:
    gpu("NVIDIA A100-SXM4-80GB")
    memory = Memory()
    with memory.watched():
        while len((tmp_path / "asked").read_text().splitlines()) < 3:
            pretrain_gpu.time.sleep(0.05)
    later = len((tmp_path / "asked").read_text().splitlines()) - 1
    assert memory.peak_gb == 1000 * later * 2**20 / 1e9


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(InputError, match="at least 3"):
        main(["--steps", "2", "--device", "cpu"])
