"""Overlays resolve as in MaxText, and a wrong key is reported at once."""

import pytest

from pretrain.overlay import load, upstream_configs
from tinymathreason.cli import InputError


def write(path, text: str):
    path.write_text(text)
    return path


def test_chain_inherits_and_the_nearest_wins(tmp_path) -> None:
    write(tmp_path / "parent.yml", "base_config: base.yml\nsteps: 5\nlearning_rate: 1.e-3\n")
    child = write(tmp_path / "child.yml", "base_config: parent.yml\nsteps: 7\n")
    config = load(child, ["vocab_size=99"])
    assert (config["steps"], config["learning_rate"], config["vocab_size"]) == (7, 1e-3, 99)
    assert config["decoder_block"] == "llama2"
    assert "base_config" not in config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("base_config: base.yml\nstepz: 5\n", "unknown key 'stepz'; did you mean 'steps'"),
        ("base_config: base.yml\nsteps: many\n", "key 'steps': expected a number (got 'many')"),
        ("base_config: base.yml\npacking: 1\n", "key 'packing': expected true or false"),
        ("base_config: base.yml\nmesh_axes: 1\n", "key 'mesh_axes': expected a list"),
        ("base_config: base.yml\nsteps: true\n", "expected a number"),
        ("base_config: base.yml\nrun_name: 20261122\n", "'run_name': expected text"),
        ("base_config: base.yml\ntokenizer_path: [a]\n", "expected text"),
        ("base_config: none.yml\n", "no such file"),
        ("base_config: 5\n", "must name another overlay"),
        ("base_config: ../PARENT/x.yml\n", "leads back to itself"),
        ("steps: 5\n", "key 'base_config' must name"),
        ("base_config: x.yml\n", "leads back to itself"),
        ("a: [\n", "not valid YAML: line 2: "),
        ("- 1\n", "expected a mapping"),
    ],
)
def test_wrong_overlays_are_one_line(tmp_path, text: str, words: str) -> None:
    path = write(tmp_path / "x.yml", text.replace("PARENT", tmp_path.name))
    with pytest.raises(InputError) as error:
        load(path)
    assert words in " ".join(str(error.value).split())


def test_wrong_arguments_are_one_line(tmp_path) -> None:
    path = write(tmp_path / "x.yml", "base_config: base.yml\n")
    with pytest.raises(InputError, match="command line: unknown key 'step'"):
        load(path, ["step=3"])
    with pytest.raises(InputError, match="expected key=value"):
        load(path, ["steps"])
    with pytest.raises(InputError, match="command line: "):
        load(path, ["steps=["])
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.yml")


def test_upstream_base_is_found_without_importing_maxtext() -> None:
    assert (upstream_configs() / "base.yml").is_file()
