"""One grammar for every command line: its own options, and keys of its configuration."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymathreason.arguments import parse_arguments, read, refuse
from tinymathreason.cli import InputError
from tinymathreason.config import parse_overrides

OURS = ("data_dir", "sources", "accuracy", "data_seed")
THEIRS = {
    "output_dir": None, "metric_for_best_model": None, "learning_rate": None, "data_seed": None,
    "use_cpu": "?", "no_use_cpu": 0, "targets": "+", "kwargs": None,
}  # fmt: skip


def given_by(*words: str):
    given = read(words, THEIRS, OURS, lambda key: InputError(f"unknown key {key!r}"))
    refuse(given.positionals)
    return parse_overrides(given.overrides), dict(given.options)


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
def test_what_is_no_argument_is_reported(words: list[str], told: str) -> None:
    with pytest.raises(InputError) as error:
        given_by(*words)
    assert str(error.value).startswith(told)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(exit_on_error=False)
    top.add_argument("file", nargs="?", default="shipped.yaml")
    top.add_argument("overrides", nargs="*", metavar="--key value")
    top.add_argument("--plan", action="store_true")
    top.add_argument("--dry-run", action="store_true")
    top.add_argument("--json")
    top.add_argument("--names", nargs="+")
    top.add_argument("--add", action="append")
    return top


@pytest.mark.parametrize(
    ("words", "expected", "overrides"),
    [
        ("", {"file": "shipped.yaml"}, []),
        ("r.yaml a.b=1", {"file": "r.yaml"}, ["a.b=1"]),
        ("a.b=1 r.yaml c=2", {"file": "r.yaml"}, ["a.b=1", "c=2"]),
        ("a.b=1", {"file": "shipped.yaml"}, ["a.b=1"]),
        ("--workers 4 r.yaml", {"file": "r.yaml"}, ["workers=4"]),
        ("--a.b=x=y --plan r.yaml", {"file": "r.yaml", "plan": True}, ["a.b=x=y"]),
        ("r.yaml --json a=b c=d", {"file": "r.yaml", "json": "a=b"}, ["c=d"]),
        ("r.yaml --run-name a=b --dry-run", {"file": "r.yaml", "dry_run": True}, ["run_name=a=b"]),
        ("--metric plan --out r.v2", {"plan": False}, ["metric=plan", "out=r.v2"]),
        ("--names a b c=1 --x -1", {"names": ["a", "b"]}, ["c=1", "x=-1"]),
        ("--add 1 --add=2 x=1", {"add": ["1", "2"]}, ["x=1"]),
    ],
)
def test_keys_stand_beside_the_options_of_a_command(words, expected, overrides) -> None:
    arguments = vars(parse_arguments(parser(), words.split()))
    assert arguments["overrides"] == overrides
    assert {key: arguments[key] for key in expected} == expected


def test_an_existing_file_is_no_key(tmp_path) -> None:
    path = tmp_path / "a=b.yaml"
    path.touch()
    arguments = parse_arguments(parser(), [str(path), "c=1"])
    assert (arguments.file, arguments.overrides) == (str(path), ["c=1"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--no-such-option", "argument --no_such_option: has no value"),
        ("--plan --workers", "argument --workers: has no value"),
        ("r.yaml s.yaml", "argument 's.yaml': belongs to no key; expected --key value"),
    ],
)
def test_a_word_without_a_key_and_a_key_without_a_value_are_errors(words, message) -> None:
    with pytest.raises(InputError, match=message):
        parse_arguments(parser(), words.split())


def test_subcommands_have_their_options() -> None:
    top = argparse.ArgumentParser()
    verbs = top.add_subparsers(required=True)
    for name in ("run", "stop"):
        verb = verbs.add_parser(name)
        verb.set_defaults(verb=name, overrides=[])
        verb.add_argument("--zone", required=True)
        if name == "run":
            verb.add_argument("overlay")
            verb.add_argument("overrides", nargs="*")
    arguments = parse_arguments(top, ["run", "--steps", "3", "--zone", "a=b", "o.yml", "c=1"])
    assert (arguments.verb, arguments.zone, arguments.overlay) == ("run", "a=b", "o.yml")
    assert arguments.overrides == ["steps=3", "c=1"]
    assert parse_arguments(top, ["stop", "--zone", "z"]).overrides == []
