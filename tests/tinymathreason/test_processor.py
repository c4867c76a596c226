"""Records name the processor and its limits; waiting threads do not use it."""

import os
import subprocess
import sys

import pytest

from tinymathreason import processor, provenance


def test_a_record_names_the_processor_and_its_limits(monkeypatch, tmp_path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel name\t: Some Processor 7\nflags\t\t: fpu avx2 fma sse2\n\n"
        "processor\t: 1\nmodel name\t: Another\nflags\t\t: fpu\n"
    )
    monkeypatch.setattr(processor, "_CPUINFO", cpuinfo)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    result = provenance.record().processor
    assert result.name == "Some Processor 7"
    assert result.instruction_sets == ["avx2", "fma"]
    assert result.cores == len(os.sched_getaffinity(0))
    assert result.limits["ATEN_CPU_CAPABILITY"] == "avx2"
    assert "XLA_FLAGS" not in result.limits
    line = processor.describe(result)
    assert line.startswith("Some Processor 7 (avx2, fma), ")
    assert "ATEN_CPU_CAPABILITY=avx2" in line


def test_arm_is_reported_by_its_features(monkeypatch, tmp_path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nBogoMIPS\t: 50\nFeatures\t: fp asimd bf16 sve\n")
    monkeypatch.setattr(processor, "_CPUINFO", cpuinfo)
    result = processor.record()
    assert result.instruction_sets == ["asimd", "sve", "bf16"]
    assert result.name


def test_a_system_without_cpuinfo_is_reported_as_far_as_it_goes(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "missing")
    result = processor.record()
    assert result.name
    assert result.instruction_sets == []


@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_asleep_unless_the_user_says_so(given, expected) -> None:
    # In a process of its own, as a command is: the libraries read it when they are loaded.
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": given} if given else {}
    program = (
        "import os, sys\nfrom tinymathreason import cli\n"
        "assert 'torch' not in sys.modules\n"
        "cli.run(lambda _: print(os.environ['OMP_WAIT_POLICY']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert result.stdout.strip() == expected, result.stderr


@pytest.mark.parametrize(
    "module",
    ["sft.run", "sft.grpo", "sft.dpo", "sft.preferences", "evaluation.run", "release.chat",
     "release.card", "release.push", "conversion.to_hf", "pipeline.__main__"],
)  # fmt: skip
def test_no_command_loads_torch_before_its_threads_are_told_to_wait(module) -> None:
    program = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
