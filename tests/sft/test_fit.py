"""The table of ways to fine-tune says which fit, from the model's shape alone."""

import pytest
import yaml

from sft import fit
from tests.sft.test_memory import CONFIG
from tinymathreason.cli import InputError


@pytest.fixture
def config(tmp_path):
    CONFIG.save_pretrained(tmp_path / "model")
    values = {
        "model_name_or_path": str(tmp_path / "model"),
        "output_dir": str(tmp_path / "out"),
        "sources": {"made": {"format": "arithmetic", "examples": 8}},
        "per_device_train_batch_size": 8,
        "max_length": 4096,
        "packing": True,
        "activation_checkpointing": False,
        "use_cpu": True,
    }
    (tmp_path / "sft.yaml").write_text(yaml.safe_dump(values))
    return str(tmp_path / "sft.yaml")


def test_which_ways_fit_a_card_of_24_gb(config, capsys) -> None:
    fit.main(["--config", config])
    first, _, *rows = capsys.readouterr().out.splitlines()
    assert first == "estimates for rows of 4096 tokens on a card of 24 GB:"
    found = {name: row for row in rows for name in fit.WAYS if row.startswith(f"{name}  ")}
    assert found.keys() == fit.WAYS.keys()
    fits = {name: " yes " in f"{row} " for name, row in found.items()}
    assert [name for name in fits if not fits[name]] == list(fit.WAYS)[:3]
    assert "--optim paged_adamw_8bit" in found["all weights, paged 8-bit states"]


def test_a_larger_card_and_rows_without_packing(config, capsys) -> None:
    fit.main(["--config", config, "--gb", "79"])
    assert " no " not in capsys.readouterr().out
    with pytest.raises(InputError, match="set packing: true"):
        fit.main(["--config", config, "--packing", "false"])
