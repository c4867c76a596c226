"""A CPU trains in float32, whatever a configuration says; a GPU as it is configured."""

import pytest
import torch

from sft import arithmetic
from sft.config import DpoData, SftData
from sft.settings import parse

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of TRL's own defaults

CONFIG = """
model_name_or_path: {model}
output_dir: {output}
sources: {{s: {{format: arithmetic, examples: 10}}}}
"""


@pytest.mark.parametrize(
    ("lines", "arguments"),
    [
        ("", []),  # TRL's default is bfloat16
        ("bf16: true\nbf16_full_eval: true\n", []),
        ("use_cpu: true\n", ["--bf16", "true"]),
        ("fp16: true\nuse_cpu: true\n", ["bf16=false"]),
    ],
)
@pytest.mark.parametrize(("ours", "trainer"), [(SftData, "SFTConfig"), (DpoData, "DPOConfig")])
def test_a_cpu_trains_in_float32(ours, trainer, lines, arguments, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(model=tmp_path, output=tmp_path / "out") + lines)
    settings = parse(path, arguments, ours, trainer)
    training = settings.training
    assert not any((training.bf16, training.fp16, training.bf16_full_eval))
    assert training.mixed_precision == "no"
    assert arithmetic.describe(training, settings.model) == {
        "device": "cpu",
        "arithmetic": "float32",
        "weights": "float32",
    }


def test_weights_are_of_the_type_that_is_asked_for(tmp_path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(model=tmp_path, output=tmp_path / "out") + "use_cpu: true\n")
    settings = parse(path, ["--dtype", "bfloat16"], SftData, "SFTConfig")
    assert settings.model.dtype == "bfloat16"
    assert not settings.training.bf16


def test_with_an_accelerator_the_configuration_decides(monkeypatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert not arithmetic.on_cpu(use_cpu=False)
    assert arithmetic.on_cpu(use_cpu=True)


def test_on_an_accelerator_nothing_waits_unless_it_is_asked_to(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    path = tmp_path / "config.yaml"
    more = "bf16: false\nlogging_nan_inf_filter: true\n"
    path.write_text(CONFIG.format(model=tmp_path, output=tmp_path / "out") + more)
    training = parse(path, ["--dataloader_num_workers", "5"], SftData).training
    assert training.accelerator_config.non_blocking
    assert training.logging_nan_inf_filter
    assert training.dataloader_num_workers == 5
    assert training.optim == "adamw_torch_fused"
    path.write_text(CONFIG.format(model=tmp_path, output=tmp_path / "out") + "bf16: false\n")
    training = parse(path, [], SftData).training
    assert not training.logging_nan_inf_filter
    assert training.dataloader_num_workers == 2
    assert parse(path, ["use_cpu=true"], SftData).training.dataloader_num_workers == 0
