"""One grammar for our keys and TRL's: however a value is spelt, the run is the same."""

from pathlib import Path

import pytest

from sft.config import SftData
from sft.dpo import Dpo
from sft.grpo import Grpo
from sft.run import Sft
from sft.settings import find, parse
from tests.support.tuning import write

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def test_a_run_is_the_same_however_it_was_asked_for(model_dir, tmp_path) -> None:
    config = find(write(tmp_path / "a.yaml", model_dir, tmp_path / "out"))
    values = {
        "data_dir": str(tmp_path / "examples"),
        "accuracy.task": "arithmetic",
        "sources.problems.examples": "50",
        "output_dir": str(tmp_path / "sources.v2"),
        "metric_for_best_model": "accuracy",
        "learning_rate": "1e-5",
        "lr_scheduler_kwargs.num_cycles": "2",
    }
    spelt = (
        [word for key, value in values.items() for word in (f"--{key}", value)],
        [f"--{key}={value}" for key, value in values.items()],
        [f"{key}={value}" for key, value in values.items()],
    )
    found = [parse(config, words, SftData) for words in spelt]
    for settings in found:
        assert settings.data == found[0].data
        assert settings.inputs == found[0].inputs
        assert settings.training.to_dict() == found[0].training.to_dict()
    assert found[0].data.data_dir == tmp_path / "examples"
    assert found[0].data.accuracy is not None
    assert found[0].data.sources["problems"].examples == 50
    assert found[0].output == tmp_path / "sources.v2"
    assert found[0].training.metric_for_best_model == "accuracy"
    assert found[0].training.learning_rate == 1e-5
    assert found[0].training.lr_scheduler_kwargs == {"num_cycles": 2}


@pytest.mark.parametrize(
    ("algorithm", "folder", "more"),
    [
        (Sft, "data_dir", []),
        (Dpo, "pairs_dir", []),
        (Grpo, "chat_template", ["--rewards.accuracy", "1"]),
    ],
)
def test_all_algorithms_share_the_grammar(model_dir, tmp_path, algorithm, folder, more) -> None:
    config = tmp_path / "a.yaml"
    config.write_text("sources: {p: {format: arithmetic, examples: 9}}\nuse_cpu: true\n")
    template = tmp_path / "a=b.jinja"
    template.touch()
    words = [
        "--metric_for_best_model", "accuracy", "--output_dir", "sources.v2", "run_name=a=b",
        "--model_name_or_path", str(model_dir), f"--{folder}", str(template),
        "--sources.p.examples", "8", *more,
    ]  # fmt: skip
    settings = parse(config, words, algorithm.data_class, algorithm.trl_config)
    assert settings.training.metric_for_best_model == "accuracy"
    assert settings.output == Path("sources.v2")
    assert settings.training.run_name == "a=b"
    assert getattr(settings.data, folder) == template
    assert settings.data.sources["p"].examples == 8
