"""One grammar for our keys and TRL's: however a value is spelt, the run is the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft.arguments import read
from sft.config import SftData
from sft.settings import find, parse
from tests.support.tuning import write
from tinymathreason.cli import InputError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

OURS = ("data_dir", "sources", "accuracy", "data_seed")
THEIRS = {
    "output_dir": None, "metric_for_best_model": None, "learning_rate": None, "data_seed": None,
    "use_cpu": "?", "no_use_cpu": 0, "targets": "+", "kwargs": None,
}  # fmt: skip


def given_by(*words: str):
    found = read(words, OURS, THEIRS, lambda key: InputError(f"unknown key {key!r}"))
    return found.overrides, found.options


WORDS = st.sampled_from(
    ["accuracy", "sources.v2", "data_dir=x", "a b", "-1", "1e-5", "gsm8k", "./d[1]", "output_dir"]
)
SPELLINGS = st.sampled_from(["--{key} {value}", "--{key}={value}", "{key}={value}"])


@given(WORDS, SPELLINGS, st.sampled_from(["data_dir", "sources.gsm8k.path", "output_dir"]))
def test_three_spellings_are_one(value: str, spelling: str, key: str) -> None:
    words = spelling.replace("{key}", key).split(" ")
    overrides, options = given_by(*(word.replace("{value}", value) for word in words))
    if key == "output_dir":
        assert (overrides, options) == ({}, {"output_dir": [value]})
    else:
        expected = {"-1": -1}.get(value, value)  # read as YAML, whose 1e-5 is a text
        found = overrides
        for part in key.split("."):
            found = found[part]
        assert (found, options) == (expected, {})


def test_what_looks_like_a_key_is_a_value_behind_a_key() -> None:
    overrides, options = given_by(
        "--metric_for_best_model", "accuracy", "--output_dir", "sources.v2", "accuracy.every=5",
        "--use_cpu", "sources.a.path=F", "--targets", "q", "k", "data_dir=D", "--no_use_cpu",
    )  # fmt: skip
    assert options == {
        "metric_for_best_model": ["accuracy"],
        "output_dir": ["sources.v2"],
        "use_cpu": [],
        "targets": ["q", "k"],
        "no_use_cpu": [],
    }
    expected = {"accuracy": {"every": 5}, "sources": {"a": {"path": "F"}}, "data_dir": "D"}
    assert overrides == expected


def test_dashes_repetitions_common_and_nested_keys() -> None:
    assert given_by("--data-dir", "a", "data_dir=b") == ({"data_dir": "b"}, {})
    assert given_by("--learning-rate=1", "--learning_rate", "2") == ({}, {"learning_rate": ["2"]})
    # A key that both have reaches both, as from a file.
    assert given_by("--data_seed", "3") == ({"data_seed": 3}, {})
    assert given_by("--kwargs.min_lr", "0.1") == ({"kwargs": {"min_lr": 0.1}}, {})
    assert given_by("--sources.my-set.path=x") == ({"sources": {"my-set": {"path": "x"}}}, {})


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--dat_dir", "x"], "unknown key 'dat_dir'"),
        (["dat_dir=x"], "unknown key 'dat_dir'"),
        (["--data_dir"], "argument --data_dir: has no value; expected --data_dir value"),
        (["--data_dir", "--use_cpu"], "argument --data_dir: has no value"),
        (["data_dir"], "argument 'data_dir': belongs to no key; expected --key value"),
        (["--data_dir", "a", "b"], "argument 'b': belongs to no key"),
        (["--data_dir=a", "b"], "argument 'b': belongs to no key"),
        (["--no_use_cpu", "true"], "argument 'true': belongs to no key"),
        (["--sources=["], "argument 'sources=['"),
    ],
)
def test_what_is_no_argument_is_told(words: list[str], told: str) -> None:
    with pytest.raises(InputError) as error:
        given_by(*words)
    assert str(error.value).startswith(told)


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
