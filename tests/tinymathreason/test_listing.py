"""Folders may have any name: an existing path is never read as a pattern."""

import json
import os
from pathlib import Path

import fsspec
import pyarrow
import pyarrow.parquet
import pytest

from tests.support.names import NAMES
from tinymathreason.cli import InputError
from tinymathreason.listing import as_pattern, list_files
from tinymathreason.rows import read_columns


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_itself_before_it_is_a_pattern(tmp_path, monkeypatch, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    # Other folders that the name would match as a pattern must not be read.
    for other in ("d1", "a", "b", "1"):
        (tmp_path / other).mkdir(exist_ok=True)
        (tmp_path / other / f"{name}.jsonl").write_text('{"text": "not this"}\n')
    (folder / f"{name}.jsonl").write_text('{"text": "this"}\n')
    table = pyarrow.table({"text": ["this"]})
    pyarrow.parquet.write_table(table, folder / f"{name}.parquet")
    monkeypatch.chdir(tmp_path)
    for base in (folder, Path(name)):
        for kind in ("jsonl", "parquet"):
            for pattern in (f"{base}/{name}.{kind}", f"{base}/*.{kind}"):
                assert [file.path for file in list_files("x", pattern)] == [f"{base}/{name}.{kind}"]
                assert list(read_columns("x", kind, pattern, ["text"])) == [("this",)]


def test_what_does_not_exist_is_a_pattern(tmp_path) -> None:
    for name in ("d1", "d2", "d[1]x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jsonl").touch()
    result = [file.path for file in list_files("x", f"{tmp_path}/d[12]/*.jsonl")]
    assert result == [f"{tmp_path}/d1/a.jsonl", f"{tmp_path}/d2/a.jsonl"]
    assert len(list_files("x", f"{tmp_path}/**/*.jsonl")) == 3
    assert as_pattern("none/[a]") == "none/[a]"


def test_a_remote_name_is_itself_too() -> None:
    remote = fsspec.filesystem("memory")
    for name in ("/b/d[1]/a[2].jsonl", "/b/d1/a2.jsonl"):
        with remote.open(name, "wb") as stream:
            stream.write(b'{"text": "x"}\n')
    try:
        for pattern in ("b/d[1]/a[2].jsonl", "b/d[1]/*.jsonl"):
            (file,) = list_files("x", f"memory://{pattern}")
            assert file.path == "memory:///b/d[1]/a[2].jsonl"
            assert list(read_columns("x", "jsonl", file.path, ["text"])) == [("x",)]
        assert len(list_files("x", "memory://b/d[0-9]/a[2].jsonl")) == 1
    finally:
        remote.rm("/b", recursive=True)


def fault_of(pattern: object) -> str:
    """The error for the only match that cannot be read."""
    with pytest.raises(InputError) as error:
        list_files("sources.web.path", str(pattern))
    assert str(error.value).startswith("sources.web.path: ")
    (fault,) = (file.fault for file in list_files("x", str(pattern), skip=True) if file.fault)
    assert fault in str(error.value)
    return str(error.value)


def test_no_match_is_skipped_silently(tmp_path, monkeypatch) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    bad = tmp_path / "b.jsonl"
    bad.symlink_to(tmp_path / "gone")
    assert f"{bad} is a broken link to {tmp_path}/gone" in fault_of(f"{tmp_path}/*.jsonl")
    assert "is a broken link" in fault_of(bad)
    assert "is a broken link" in fault_of(f"{tmp_path}/**/*.jsonl")
    bad.unlink()
    bad.mkdir()
    assert f"{bad} is a folder: nothing in it would be read" in fault_of(f"{tmp_path}/*.jsonl")
    assert len(list_files("x", f"{tmp_path}/**")) == 1
    bad.rmdir()
    os.mkfifo(bad)
    assert "is not a regular file" in fault_of(f"{tmp_path}/*.jsonl")
    bad.unlink()
    bad.write_text('{"text": "x"}\n')
    may = os.access
    with monkeypatch.context() as patch:  # whoever is root may read everything
        patch.setattr(os, "access", lambda path, how: str(path) != str(bad) and may(path, how))
        assert f"{bad} has no read permission" in fault_of(f"{tmp_path}/*.jsonl")
    bad.unlink()
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.jsonl")).touch()
    assert "is not UTF-8; rename it" in fault_of(f"{tmp_path}/*.jsonl")


def test_no_folder_in_the_middle_of_a_pattern_is_skipped_silently(tmp_path, monkeypatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "README").touch()
    pattern = f"{tmp_path}/*/x.jsonl"
    assert len(list_files("x", pattern)) == 2
    (tmp_path / "c").symlink_to(tmp_path / "gone")
    assert f"{tmp_path}/c is a broken link" in fault_of(pattern)
    (tmp_path / "c").unlink()
    may = os.access
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, how: str(path)[-2:] != "/b" and may(path, how))
        assert f"{tmp_path}/b is a folder without read permission" in fault_of(pattern)


def test_empty_files_are_reported(tmp_path, capsys) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x"}))
    (tmp_path / "b.jsonl").touch()
    assert list(read_columns("data", "jsonl", f"{tmp_path}/*", ["text"])) == [("x",)]
    errors = capsys.readouterr().err
    assert errors == f"data: 1 of 2 files are empty, such as {tmp_path}/b.jsonl\n"
