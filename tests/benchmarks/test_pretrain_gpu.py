"""The GPU benchmark runs on a CPU, and says in one line where it cannot run."""

import json
import math
import os
import time
from types import SimpleNamespace

import pytest
import torch

from benchmarks import card, pretrain_gpu, torch_peer
from benchmarks.card import Memory
from benchmarks.pretrain_gpu import (
    VARIANTS,
    main,
    maxtext_seconds,
    sweep,
    tokens_per_step,
)
from benchmarks.torch_peer import documents, warm
from pretrain import overlay, topology
from tests.support import varlen
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
def test_both_train_in_parts_on_made_up_records(tmp_path, capsys) -> None:
    """Another vocabulary than 32,000, no data, and two micro-batches of two rows in a step."""
    home = tmp_path / "home"
    main(["--device", "cpu", "--home", str(home), "--steps", "3", "--parts", "2"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["variant"] for line in lines] == ["as_it_is", "torch"]
    for line in lines:
        assert "error" not in line, line
        assert (line["device"], line["rows"], line["parts"], line["context"]) == ("cpu", 2, 2, 64)
        assert (line["steps"], line["warm_steps"]) == (3, 1)
        rate = line["parts"] * line["rows"] * line["context"] / line["step_seconds"]
        assert line["tokens_per_second"] == pytest.approx(rate, rel=0.02)
        assert 0.1 < line["peak_gb"] < 20
        assert "mfu" not in line
    losses = json.loads((home / "torch" / "torch.json").read_text())["losses"]
    assert losses[0] == pytest.approx(math.log(320), rel=0.05)
    assert not (home / "as_it_is" / "maxtext" / "checkpoints").exists()


def test_a_step_counts_all_its_micro_batches() -> None:
    values = overlay.load("maxtext_configs/tinymathreason_1b_gpu.yml")
    assert tokens_per_step(values) == 288 * 4096


def test_every_variant_is_a_configuration() -> None:
    for variant in VARIANTS.values():
        values = overlay.load("maxtext_configs/tinymathreason_1b_gpu.yml", variant.keys)
        rows = values["per_device_batch_size"] * values["max_target_length"]
        assert rows % values["num_vocab_tiling"] == 0


class Model(torch.nn.Module):
    """Logits that are a product with the token's number; notes how many rows it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-1, 1, 8))
        self.rows: list[int] = []

    def forward(self, input_ids, use_cache):
        self.rows.append(len(input_ids))
        return SimpleNamespace(logits=input_ids[..., None] * self.weight)


def test_the_peer_takes_a_step_in_micro_batches_with_the_gradient_of_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, targets = (torch.randint(0, 8, (6, 5), generator=generator) for _ in range(2))
    batch = {
        "inputs": inputs,
        "targets": targets,
        "targets_segmentation": torch.ones_like(inputs),
    }
    whole, parts = Model(), Model()
    first = torch_peer.step(whole, torch_peer.loss, "none", batch, 6)
    second = torch_peer.step(parts, torch_peer.loss, "none", batch, 2)
    assert (whole.rows, parts.rows) == ([6], [2, 2, 2])
    assert first == pytest.approx(second, rel=1e-2)  # products in bfloat16
    torch.testing.assert_close(whole.weight.grad, parts.weight.grad, rtol=2e-2, atol=1e-3)


def test_documents_begin_with_a_row_and_where_the_segment_changes() -> None:
    segments = torch.tensor([[1, 1, 2, 2], [2, 2, 2, 3]])
    starts = documents(segments)
    assert starts.dtype == torch.int32
    assert starts.tolist() == [0, 2, 4, 7, 8]


def test_the_peer_with_a_mask_sees_one_document_only() -> None:
    """Through `sft.varlen`, whose kernels have a stand-in here: as each document by itself."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    from sft import attention

    varlen.install()
    sizes = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=1, head_dim=8, vocab_size=32, max_position_embeddings=32,
    )  # fmt: skip
    with attention.registered():
        model = AutoModelForCausalLM.from_config(sizes, attn_implementation=attention.VARLEN)
    tokens = torch.arange(16).reshape(1, 16)
    segments = torch.tensor([[1] * 7 + [2] * 9])
    rows = {
        "inputs": tokens,
        "inputs_position": torch.cat([torch.arange(7), torch.arange(9)])[None],
        "targets": tokens.roll(-1, 1),
        "targets_segmentation": torch.cat([torch.zeros(1, 7), torch.ones(1, 9)], 1).long(),
        "starts": documents(segments),
    }
    with torch.no_grad():
        before = torch_peer.loss(model, "documents", rows)  # of the second document
        other = tokens.clone()
        other[0, 3] = 30
        assert torch_peer.loss(model, "documents", {**rows, "inputs": other}) == before
        other[0, 9] = 30
        assert torch_peer.loss(model, "documents", {**rows, "inputs": other}) != before


def test_a_sweep_tells_each_variant_at_once_and_ends_in_time(tmp_path, monkeypatch) -> None:
    clock = iter([0.0, 0.0, 1.0, 41.0, 41.0, 42.0, 52.0, 55.0, 55.0, 61.0, 95.0])

    def measure(home, path, variant, *rest):
        if variant is VARIANTS["torch"]:
            raise InputError("out of memory")
        return {"tokens_per_second": 1.0}

    monkeypatch.setattr(pretrain_gpu, "measure", measure)
    monkeypatch.setattr(pretrain_gpu, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    names = ["as_it_is", "torch", "unscanned", "minimal"]
    lines = list(sweep(tmp_path, tmp_path, names, 3, "cuda", [], 100.0))
    assert lines[0] == {
        "benchmark": "pretrain_gpu", "variant": "as_it_is", "tokens_per_second": 1.0, "took": 40.0,
    }  # fmt: skip
    assert (lines[1]["error"], lines[1]["took"]) == ("out of memory", 10.0)
    assert lines[2]["took"] == 6.0
    assert lines[3]["skipped"] == "5 s are left, and one took 6 s"


def test_seconds_are_those_after_the_first_steps(tmp_path) -> None:
    assert [warm(steps) for steps in (3, 6, 30, 50)] == [1, 2, 10, 10]
    lines = [json.dumps({"perf/step_time_seconds": seconds}) for seconds in (9, 2, 4)]
    (tmp_path / "metrics").write_text("\n".join(lines) + "\n")
    assert maxtext_seconds(tmp_path / "metrics", 3) == 3
    with pytest.raises(InputError, match="3 of 4 steps"):
        maxtext_seconds(tmp_path / "metrics", 4)
    with pytest.raises(InputError, match="0 of 4 steps"):
        maxtext_seconds(tmp_path / "none", 4)


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
    with pytest.raises(InputError, match="run make setup-gpu"):
        main([])
    monkeypatch.setattr(topology, "has_cuda", lambda: True)
    assert card.peak_tflops() == 989


@pytest.mark.clock
def test_memory_is_the_most_that_was_used_meanwhile(gpu, tmp_path) -> None:
    gpu("NVIDIA A100-SXM4-80GB")
    memory = Memory()
    with memory.watched():
        while len((tmp_path / "asked").read_text().splitlines()) < 3:
            time.sleep(0.05)
    later = len((tmp_path / "asked").read_text().splitlines()) - 1
    assert memory.peak_gb == 1000 * later * 2**20 / 1e9


def test_wrong_words_are_refused() -> None:
    with pytest.raises(InputError, match="at least 3"):
        main(["--steps", "2", "--device", "cpu"])
    with pytest.raises(InputError, match="did you mean 'unscanned'"):
        main(["--only", "unscaned", "--device", "cpu"])
