"""One line says what was found of a GPU, or what is missing."""

import os

import pytest

from pipeline import gpu
from tinymathreason.cli import InputError

SMI = """#!/bin/sh
case "$*" in *name,driver_version,memory.total*) ;; *) exit 3 ;; esac
{body}
"""


@pytest.fixture
def card(tmp_path, monkeypatch):
    """Puts a stand-in of nvidia-smi on the path, and of what jax and torch answer."""

    def install(body: str, jax: str = "print('0.12', 2)", torch: str = "print('2.15', 2)") -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(SMI.format(body=body))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(gpu, "PROBES", {"jax": jax, "torch": torch})
        monkeypatch.setattr(gpu, "JAX_PLUGIN", "sys")

    return install


TWO = "printf 'NVIDIA H100 80GB HBM3, 580.95.05, 81559\\n%.0s' 1 2"


def test_what_was_found_is_one_line(card, capsys) -> None:
    card(TWO)
    gpu.main([])
    assert capsys.readouterr().out == (
        "2 x NVIDIA H100 80GB HBM3, 86 GB each, driver 580.95.05; "
        "jax 0.12 sees 2, torch 2.15 sees 2\n"
    )


def test_a_user_may_hide_cards_and_a_card_may_have_no_memory_of_its_own(
    card, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    one = TWO.replace("81559", "[N/A]"), "print('0.12', 1)", "print('2.15', 1)"
    card(*one)
    gpu.main([])
    assert capsys.readouterr().out == (
        "2 x NVIDIA H100 80GB HBM3, driver 580.95.05; jax 0.12 sees 1, torch 2.15 sees 1\n"
    )


@pytest.mark.parametrize(
    ("body", "jax", "torch", "message"),
    [
        ("echo 'No devices were found'; exit 6", "", "", "no NVIDIA GPU: .*No devices were found"),
        ("echo 'NVIDIA A100, 550.54, 40960'", "", "", "driver 550.54 is too old .* install 580"),
        (TWO, "raise RuntimeError('no plugin')", "", "jax sees no GPU: RuntimeError: no plugin"),
        (TWO, "print('0.12', 1)", "", "jax sees 1 of 2 GPUs"),
        (TWO, "print('0.12', 2)", "raise OSError('libcuda')", "torch sees no GPU: OSError: libcu"),
    ],
)
def test_what_is_missing_is_one_line(card, body, jax, torch, message) -> None:
    card(body, jax, torch)
    with pytest.raises(InputError, match=message):
        gpu.main([])


def test_a_machine_without_a_driver_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"no NVIDIA driver: .* install driver 580 or newer"):
        gpu.main([])


def test_jax_without_its_plugin_is_told(card, monkeypatch) -> None:
    card(TWO)
    monkeypatch.setattr(gpu, "JAX_PLUGIN", "no_such_plugin")
    with pytest.raises(InputError, match="no plugin for CUDA: run make setup-gpu"):
        gpu.main([])
