"""Every record, and all kinds of damage to it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import records
from tinymathreason.cli import InputError
from tinymathreason.records.base import Record, check_replaceable, dotted, plain, write_lines
from tinymathreason.records.evaluation import SampleRecord
from tinymathreason.records.mixture import Draw, Draws
from tinymathreason.records.stage import Attempt, Stage
from tinymathreason.records.tuning import LogEntry


def models(of: type[Record] = Record) -> set[type[Record]]:
    found = {of} if "kind" in of.model_fields and of.model_fields["kind"].default else set()
    return {model for model in found if isinstance(model.model_fields["kind"].default, str)}.union(
        *(models(inner) for inner in of.__subclasses__())
    )


def test_every_record_has_an_example_and_a_kind_of_its_own() -> None:
    assert {type(record) for record in records.EVERY} == models()
    assert len({record.kind for record in records.EVERY}) == len(records.EVERY)


@pytest.mark.parametrize("record", records.EVERY, ids=lambda record: record.kind)
def test_what_is_written_is_read(record: Record, tmp_path: Path) -> None:
    record.write(tmp_path / "record.json")
    assert type(record).load(tmp_path / "record.json") == record
    stored = json.loads((tmp_path / "record.json").read_text())
    assert stored["kind"] == record.kind
    assert stored["version"] == 1


@pytest.mark.parametrize("record", records.EVERY, ids=lambda record: record.kind)
def test_every_field_is_described(record: Record) -> None:
    """By the text under it, which a reader of the code sees."""
    import ast
    import inspect

    for model in type(record).__mro__:
        if not issubclass(model, Record) or model is Record:
            continue
        body = ast.parse(inspect.getsource(model)).body[0].body  # type: ignore[attr-defined]
        for field, text in zip(body, [*body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and "ClassVar" not in ast.unparse(field):
                assert isinstance(text, ast.Expr), ast.unparse(field)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where there is a value, the whole excepted."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return [
        found
        for key, part in inner
        for found in (
            (*path, key),
            *(paths(part, (*path, key)) if isinstance(part, (dict, list)) else ()),
        )
    ]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


VALUES = st.sampled_from(
    (None, True, 0, -1, 1, 2, 10**400, 0.5, -0.5, float("nan"), float("-inf"), "", "1", "\ud800",
     "a\nb", [], [None], [[]], {}, {"": None}, {"kind": 1}, nested(60))
)  # fmt: skip
NAMES = st.sampled_from(("another", "", "kind", "a\nb", "\ud800", "x" * 999))


def read(model: type[Record], content: str | bytes, folder: Path) -> Record | str:
    """The record, or the line that says why there is none."""
    path = folder / "record.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    try:
        return model.load(path)
    except InputError as error:
        line = str(error)
    assert line.startswith(f"{path}: ")
    assert line.isprintable()
    line.encode()
    return line.removeprefix(f"{path}: ")


def without_null(value: Any) -> Any:
    """A value in which a key that is null is as one that is missing, as another program has it."""
    if isinstance(value, dict):
        return {key: without_null(part) for key, part in value.items() if part is not None}
    return [without_null(part) for part in value] if isinstance(value, list) else value


@given(data=st.data())
def test_another_value_is_noticed_or_kept(data: st.DataObject, tmp_path_factory: Any) -> None:
    """Whatever stands in a field: the line names it, or it is a right value and nothing is lost."""
    record = data.draw(st.sampled_from(records.EVERY))
    value = record.as_json()
    before = path = data.draw(st.sampled_from(paths(value)))
    at = value
    for key in path[:-1]:
        at = at[key]
    damage = data.draw(st.sampled_from(("another", "gone", "more", "misnamed")))
    if damage == "another" or not isinstance(at, dict):
        at[path[-1]] = data.draw(VALUES)
    elif damage == "gone":
        del at[path[-1]]
    else:
        name = data.draw(NAMES)
        at[name] = at[path[-1]] if damage == "more" else at.pop(path[-1])
        path = (*path[:-1], name)
    content = json.dumps(value)
    loaded = read(type(record), content, tmp_path_factory.getbasetemp())
    if isinstance(loaded, str):
        # The field itself, one within it, the one that lost its name, or the one around both.
        assert loaded.startswith((dotted(path), dotted(before), f"{dotted(path[:-1])}: ")), loaded
    else:
        assert without_null(loaded.as_json()) == without_null(value)


@given(data=st.data())
def test_another_file_is_noticed(data: st.DataObject, tmp_path_factory: Any) -> None:
    record = data.draw(st.sampled_from(records.EVERY))
    text = record.text()
    other = data.draw(st.sampled_from([one for one in records.EVERY if one is not record]))
    whole = st.sampled_from(
        ("", "null", "1", "NaN", "Infinity", "true", "[]", "{}", '"text"', "{" * 9, '{"a":' * 5_000,
         "[" * 100_000, "[" * 99 + "]" * 99, '{"kind": "stage", "kind": "stage"}', other.text(),
         text.replace('"version": 1', '"version": 2'),
         text.replace('"version": 1', '"version": null'),
         text.replace('"version": 1', '"version": 1.0'), f"{text}}}", text.encode("utf-16"),
         b"\x00" * 64, b"\xff\xfe", "1" * 5_000)
    )  # fmt: skip
    cut = st.integers(0, len(text) - 2).map(lambda size: text[:size])
    content = data.draw(whole | cut)
    line = read(type(record), content, tmp_path_factory.getbasetemp())
    assert isinstance(line, str)
    if content == other.text():
        assert line.startswith(f'kind is "{other.kind}", expected {record.kind!r}')
    if isinstance(content, str) and '"version": 2' in content:
        assert line.startswith("version is 2, expected 1")


def test_a_record_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.json: no such file; it is written by pipeline$"):
        Stage.load(tmp_path / "no.json")
    with pytest.raises(InputError, match=r"no\.jsonl: no such file; it is written by evaluation"):
        list(SampleRecord.load_lines(tmp_path / "no.jsonl"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"seconds": "1"}, 'seconds: Input should be a valid number (got "1")'),
        ({"seconds": float("nan")}, "seconds: nan is not a finite number"),
        ({"attempts": []}, "attempts: List should have at least 1 item after validation, not 0"),
        ({"attempts": [{"ended": None}]}, "attempts.0.started is missing"),
        ({"atempts": 1}, "atempts is not a field of this record"),
    ],
)
def test_a_field_is_named(damage: dict[str, Any], message: str, tmp_path: Path) -> None:
    value = {**records.stage().as_json(), **damage}
    line = read(Stage, json.dumps(value), tmp_path)
    assert isinstance(line, str)
    assert line.startswith(message)
    assert line.endswith("; write it again with pipeline")


def test_a_key_that_is_there_twice(tmp_path: Path) -> None:
    text = records.stage().text().replace('"finished": true', '"finished": true, "finished": false')
    line = read(Stage, text, tmp_path)
    assert line == "not valid JSON: key 'finished' appears twice; write it again with pipeline"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not a mixture: expected a path for each source"),
        ('{"web": 1}', "web: Input should be a valid dictionary or instance of Draw"),
        ('{"web": {"weight": 1}}', "web.path is missing"),
        ('{"web": {"path": "a", "weight": NaN}}', "web.weight: nan is not a finite number"),
        ('{"web": {"path": "a", "weight": 0}}', "web.weight: Input should be greater than 0"),
    ],
)
def test_maxtexts_mixture_is_checked_too(text: str, message: str, tmp_path: Path) -> None:
    draws = Draws({"web": Draw(path="web/train-*", weight=0.5)})
    draws.write(tmp_path / "mixture.json")
    assert Draws.load(tmp_path / "mixture.json") == draws
    (tmp_path / "mixture.json").write_text(text)
    with pytest.raises(InputError, match=rf"mixture\.json: {re.escape(message)}.*; write it again"):
        Draws.load(tmp_path / "mixture.json")


def test_lines_are_named(tmp_path: Path) -> None:
    samples = [records.sample(id=number) for number in range(3)]
    path = tmp_path / "samples.jsonl"
    write_lines(path, samples)
    assert list(SampleRecord.load_lines(path)) == samples
    path.write_text(path.read_text().replace('"id": 1', '"id": "1"'))
    with pytest.raises(InputError, match=r"samples\.jsonl:2: id: Input should be a valid integer"):
        list(SampleRecord.load_lines(path))


def test_a_record_cannot_be_made_wrong_or_changed() -> None:
    with pytest.raises(ValueError, match="seconds"):
        records.stage(seconds=float("nan"))
    with pytest.raises(ValueError, match="frozen"):
        records.stage().finished = False  # type: ignore[misc]


def test_what_another_program_logs_may_have_no_number() -> None:
    entry = LogEntry(step=1, loss=float("nan"), grad_norm=float("inf"))  # type: ignore[call-arg]
    assert entry.model_dump() == {
        "step": 1, "loss": None, "grad_norm": None,
    }  # fmt: skip


def test_only_our_own_folder_is_replaceable(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    check_replaceable(folder, "m.json", Stage, {"a.txt"})
    records.stage(attempts=[Attempt(started=1.0, ended=None)]).write(folder / "m.json")
    (folder / "a.txt").touch()
    check_replaceable(folder, "m.json", Stage, {"a.txt"})
    (folder / "thesis.txt").touch()
    with pytest.raises(InputError, match="is not, or not only, made by pipeline; name another"):
        check_replaceable(folder, "m.json", Stage, {"a.txt"})
    (folder / "thesis.txt").unlink()
    records.sample().write(folder / "m.json")
    with pytest.raises(InputError, match="kind is"):
        check_replaceable(folder, "m.json", Stage, {"a.txt"})


def test_another_programs_values_become_json() -> None:
    numbers = {"loss": np.float32(0.5), "at": (1, Path("a")), "no": float("nan"), 3: np.int64(7)}
    assert plain(numbers) == {"loss": 0.5, "at": [1, "a"], "no": None, "3": 7}
    entry = LogEntry(step=np.int64(3), loss=np.float32(0.5), other=np.float32(0.25))
    assert entry.model_dump(mode="json") == {"step": 3, "loss": 0.5, "other": 0.25}
