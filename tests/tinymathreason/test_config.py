"""YAML and key=value arguments become checked dataclasses, or one clear line."""

import pytest

from tinymathreason.cli import InputError
from tinymathreason.config import build, config, load, merge, nearest, parse_overrides


@config
class Leaf:
    size: int
    """How many."""

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size must not be negative (got {self.size})")


@config
class Tree:
    leaves: dict[str, Leaf]
    """By name."""
    other: Leaf | None = None
    """Optional."""


def test_build_fills_nested_dataclasses() -> None:
    tree = build(Tree, {"leaves": {"a": {"size": 3}}}, "here")
    assert tree.leaves["a"].size == 3
    assert tree.other is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"leaves": {"a": {"sise": 3}}},
            ["leaves.a.sise", "did you mean 'size'", "accepted: size"],
        ),
        ({"leaves": {"Big2": {"sise": 3}}}, ["leaves.Big2.sise", "did you mean 'size'"]),
        ({"leaves": {}, "othr": {}}, ["othr", "did you mean 'other'", "leaves, other"]),
        ({"leaves": {}, "other": {"siz": 1}}, ["other.siz", "did you mean 'size'"]),
        ({"leaves": {"a": {"size": "x"}}}, ["leaves.a.size", "integer", "'x'"]),
        ({"leaves": {"a": {}}}, ["leaves.a.size", "missing"]),
        ({"leaves": {"a": {"size": -1}}}, ["size must not be negative"]),
        ({}, ["leaves", "missing"]),
    ],
)
def test_bad_values_are_named(values: dict[str, object], words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        build(Tree, values, "recipe.yaml")
    message = str(error.value)
    assert message.startswith("recipe.yaml: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_overrides_win_and_reach_into_mappings(tmp_path) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text("leaves: {a: {size: 1}, b: {size: 2}}")
    tree = load(Tree, path, ["leaves.a.size=5", "other={size: 7}"])
    assert (tree.leaves["a"].size, tree.leaves["b"].size) == (5, 2)
    assert tree.other is not None
    assert tree.other.size == 7


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "\xff"])
def test_malformed_file_is_reported(tmp_path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"bad\.yaml"):
        load(Tree, path)


def test_missing_file_is_reported(tmp_path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load(Tree, tmp_path / "none.yaml")


def test_argument_without_value_is_reported() -> None:
    with pytest.raises(InputError, match="expected key=value"):
        parse_overrides(["size"])
    with pytest.raises(InputError, match="not valid YAML"):
        parse_overrides(["size=["])
    with pytest.raises(InputError, match="'a' was given a value before"):
        parse_overrides(["a=1", "a.b=2"])


def test_merge_changes_neither_side() -> None:
    base, top = {"a": {"x": 1}}, {"a": {"y": 2}}
    assert merge(base, top) == {"a": {"x": 1, "y": 2}}
    assert (base, top) == ({"a": {"x": 1}}, {"a": {"y": 2}})


def test_nearest_lists_what_is_accepted() -> None:
    assert nearest("weigth", ["weight", "path"]) == "did you mean 'weight'? accepted: path, weight"
    assert nearest("zzz", ["weight"]) == "accepted: weight"
