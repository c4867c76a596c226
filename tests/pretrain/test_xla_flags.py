"""XLA's flags reach the program that trains: through the environment, once."""

import os

import pytest

from pretrain import overlay, xla_flags

GPU = "--xla_gpu_enable_latency_hiding_scheduler=True"


@pytest.mark.parametrize(
    ("hardware", "variable"),
    [("gpu", "XLA_FLAGS"), ("cpu", "XLA_FLAGS"), ("tpu", "LIBTPU_INIT_ARGS")],
)
def test_the_flags_go_where_the_hardware_reads_them(monkeypatch, hardware, variable) -> None:
    for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS"):
        monkeypatch.setenv(name, "--of_the_user=1")
    config = {"hardware": hardware, "compile_xla_flags": "--a=1 \\\n  --b=2\n"}
    assert xla_flags.applied(config) == ['compile_xla_flags=""']
    assert os.environ[variable] == "--a=1 --b=2 --of_the_user=1"
    other = ({"XLA_FLAGS", "LIBTPU_INIT_ARGS"} - {variable}).pop()
    assert os.environ[other] == "--of_the_user=1"


def test_without_flags_nothing_is_set(monkeypatch) -> None:
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert xla_flags.applied({"hardware": "gpu", "compile_xla_flags": ""}) == []
    assert "XLA_FLAGS" not in os.environ


def test_the_argument_empties_the_key_of_an_overlay(monkeypatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "")
    path = "maxtext_configs/tinymathreason_1b_gpu_8.yml"
    config = overlay.load(path)
    assert config["compile_xla_flags"] == GPU
    assert overlay.load(path, xla_flags.applied(config))["compile_xla_flags"] == ""
