"""YAML and JSON are read exactly, or one line says where they are wrong."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tinymathreason.cli import InputError
from tinymathreason.config import read_yaml
from tinymathreason.files import read_json, read_json_lines
from tinymathreason.parsing import DEPTH, VALUES, parse_json, parse_yaml

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(values)
def test_what_is_right_is_read_as_it_is(value) -> None:
    assert parse_yaml(yaml.safe_dump(value), "here") == value
    assert parse_json(json.dumps(value).encode(), "here") == value


def test_aliases_and_merges_that_end_are_read() -> None:
    text = "a: &a {b: 1, c: 2}\nd: [*a, *a]\ne: {<<: *a, b: 3}"
    one = {"b": 1, "c": 2}
    assert parse_yaml(text, "here") == {"a": one, "d": [one, one], "e": {"b": 3, "c": 2}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: duplicate key 'a', first in line 1"),
        ("a:\n  b: {c: 1,\n    c: 2}", "line 3: duplicate key 'c', first in line 2"),
        ("- x\n- {1: a, 0x1: b}", "line 2: duplicate key '0x1', first in line 2"),
        ("a: &x 1\n'a': *x", "line 2: duplicate key 'a', first in line 1"),
        ("a: &a [*a]", "line 1: an alias of a value that contains it"),
        ("x: 1\ny: " + "[" * DEPTH + "]" * DEPTH, f"line 2: nested deeper than {DEPTH}"),
        ("[" * 100_000, f"line 1: nested deeper than {DEPTH}"),
        ("- &a [1]\n" + "- *a\n" * VALUES, f"more than {VALUES:,} values"),
        ("a: 2020-99-99", "line 1: '2020-99-99': month must be"),
        ("a: 1\nb: !!int x", "line 2: 'x': invalid literal"),
        ("a: !!bool x", "line 1: 'x'"),
        ("a: " + "1" * 5000, "line 1: "),
        ("a: !!python/object:os.system {}", "line 1: could not determine a constructor"),
        ("? [a]\n: b", "line 1: while constructing a mapping found unhashable key"),
        ("? !!seq a\n: 1", "unhashable"),
        ("a: [", "line 1: "),
        ("a: \x00", "special characters"),
        (b"\xff", "utf-8"),
    ],
)
def test_wrong_yaml_is_reported_by_its_line(text, words: str) -> None:
    with pytest.raises(InputError) as error:
        parse_yaml(text, "recipe.yaml")
    assert str(error.value).startswith("recipe.yaml: not valid YAML: ")
    assert words in str(error.value)


def test_a_billion_laughs_end_at_once() -> None:
    lines = ["a0: &a0 [ha]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    with pytest.raises(InputError, match=r"line \d: more than 100,000 values"):
        parse_yaml("\n".join(lines), "here")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Expecting property name"),
        ("", "Expecting value"),
        (b"\xff", "utf-8"),
        ("1" * 5000, "4300 digits"),
        ("[" * (DEPTH + 2) + "]" * (DEPTH + 2), f"nested deeper than {DEPTH}"),
        ("[" * 200_000, f"nested deeper than {DEPTH}"),
        ('{"a":' * 200_000, f"nested deeper than {DEPTH}"),
    ],
)
def test_wrong_json_is_reported(tmp_path, text, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        parse_json(text, "record.json")
    assert str(error.value).startswith("record.json: not valid JSON: ")
    path = tmp_path / "some.jsonl"
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(b'{"a": 1}\n\n' + content + b"\n")
    result = read_json_lines(path)
    assert next(result) == {"a": 1}
    if content:
        with pytest.raises(InputError, match=f"some.jsonl:3: not valid JSON: .*{words}"):
            next(result)


def test_files_are_reported_by_their_names(tmp_path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("sources: 1\nsources: 2")
    with pytest.raises(
        InputError, match=r"a\.yaml: not valid YAML: line 2: duplicate key 'sources'"
    ):
        read_yaml(path)
    for read in (read_json, lambda name: list(read_json_lines(name))):
        with pytest.raises(InputError, match="no such file"):
            read(tmp_path / "none.json")
