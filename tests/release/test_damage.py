"""A damaged record ends the report and the card in one line that names its file."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from release import card
from release.records import Folders
from release.report import __main__ as report
from release.report.collect import collect
from tests.release.test_card import make
from tests.support import records
from tinymathreason.cli import InputError
from tinymathreason.records.base import write_lines

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
BOTH = [
    "mixture/manifest.json",
    "pretrain/config.json",
    "pretrain/provenance.json",
    "base/conversion.json",
    "sft/model/sft.json",
    "sft/inputs.json",
    "sft/data/manifest.json",
    "evaluation/base/results.json",
    "evaluation/sft/results.json",
    "stages/pretrain.json",
]
COMMANDS = [
    *[(command, record) for command in ("report", "card") for record in BOTH],
    ("report", "evaluation/sft/samples.jsonl"),
    ("card", "sft/model/config.json"),
]
DAMAGE = {
    "cut": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "a list": lambda content: b"[%s]" % content,
    "a number": lambda content: b"3\n",
    "null": lambda content: b"null\n",
    "a text": lambda content: b'"x"\n',
    "an object": lambda content: b"{}\n",
    "not a number": lambda content: b'{"seconds": NaN, "hidden_size": NaN}\n',
    "deeply nested": lambda content: b'{"a":' * 100_000,
    "bytes": lambda content: b"\xff\xfe\x00",
    "another record": lambda content: records.preferences().text().encode().replace(b"\n", b" "),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run that has every record."""
    run = make(tmp_path_factory.mktemp("damage") / "run")
    records.tuning_run().write(run / "sft/inputs.json")
    write_lines(run / "evaluation/sft/samples.jsonl", [records.sample()])
    return run


def files(run):
    return {path for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(("command", "record"), COMMANDS)
def test_a_damaged_record_is_named_and_nothing_is_written(run, command, record, damage) -> None:
    path = run / record
    whole, before = path.read_bytes(), files(run)
    path.write_bytes(DAMAGE[damage](whole))
    main, output = (
        (report.main, []) if command == "report" else (card.main, ["--output", str(run / "card")])
    )
    try:
        with pytest.raises(InputError) as error:
            main(["--run", str(run), *output])
    finally:
        path.write_bytes(whole)
    assert str(error.value).startswith(str(path))
    assert files(run) == before


def fields(value, field=()):
    """Every field of a value of JSON, by the keys that lead to it."""
    yield field
    if isinstance(value, (dict, list)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from fields(part, (*field, key))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_field_ends_in_a_traceback(run, data) -> None:
    """A field of another value or kind is refused by name, or it is a value that may be there."""
    path = run / data.draw(st.sampled_from([*BOTH, "sft/model/config.json"]))
    whole = path.read_bytes()
    value = json.loads(whole)
    *parents, last = data.draw(st.sampled_from([field for field in fields(value) if field]))
    part = value
    for key in parents:
        part = part[key]
    others = [
        None,
        True,
        -1,
        0,
        10**30,
        10**400,
        1e308,
        -0.5,
        "",
        "x",
        "it's",
        "2026-01-01",
        [],
        {},
        [[]],
    ]
    part[last] = data.draw(st.sampled_from(others))
    path.write_text(json.dumps(value))
    folders = Folders.of(run)
    try:
        for read in (lambda: collect(run), lambda: card.card(folders, card.Labels())):
            with contextlib.suppress(InputError):
                read()
    finally:
        path.write_bytes(whole)
