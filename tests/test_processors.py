"""The settings of `tests.processors` reach the libraries, in tests and in their processes."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.processor


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(name not in os.environ, reason=f"{name} belongs to another setting")


def output(code: str, **environment: str) -> str:
    """What a library prints in a separate process."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    environment = {**os.environ, **environment}
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def test_torchs_instructions_and_threads() -> None:
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    assert os.environ.get("ATEN_CPU_CAPABILITY", capability).upper() == capability
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])


@needs("ONEDNN_MAX_CPU_ISA")
def test_onednns_instructions() -> None:
    code = "import torch; torch.nn.Conv2d(64, 64, 3)(torch.ones(4, 64, 64, 64))"
    assert "isa:Intel AVX2\n" in output(code, ONEDNN_VERBOSE="1")


@needs("MKL_CBWR")
def test_mkls_instructions() -> None:
    code = "import torch; torch.nn.Linear(64, 64)(torch.ones(64, 64))"
    assert " CNR:COMPATIBLE " in output(code, MKL_VERBOSE="1")


@needs("XLA_FLAGS")
def test_xlas_instructions(tmp_path) -> None:
    flags = f"{os.environ['XLA_FLAGS']} --xla_dump_to={tmp_path}"
    output("import jax; jax.jit(lambda x: 2 * x)(1.0)", XLA_FLAGS=flags)
    options = next(tmp_path.glob("*.debug_options")).read_text()
    assert 'xla_cpu_max_isa: "AVX2"' in options
