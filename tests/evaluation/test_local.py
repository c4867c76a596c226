"""Problems of files and folders are read once and completely, or refused by name and row."""

import json
import os
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from evaluation.local import splits
from tests.support.names import NAMES
from tinymathreason.cli import InputError

ROWS = [{"question": f"What is {k} + 1?", "answer": f"#### {k + 1}"} for k in range(4)]
COLUMNS = {"question": str, "answer": str}


def read(data: object) -> list[dict]:
    return splits(str(data), "main", "test", COLUMNS)["test"].to_list()


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_may_be_called_anything(tmp_path, monkeypatch, name) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    Path(name, "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(ROWS), Path(name).absolute() / "p.parquet"
    )
    for data in (name, f"{name}/test.jsonl", f"{name}/*.jsonl", f"{name}/p.parquet"):
        assert read(data) == read(tmp_path / data) == ROWS


def test_blank_lines_marks_and_line_ends_are_no_rows(tmp_path) -> None:
    lines = [json.dumps(row).encode() for row in ROWS]
    path = tmp_path / "test.jsonl"
    path.write_bytes(b"\xef\xbb\xbf\r\n" + b"\r\n \t\r\n".join(lines))
    assert read(path) == ROWS
    path.write_bytes(b"\n\n" + lines[0] + b"\n\n{}\n")
    with pytest.raises(InputError, match=r"row 1 has no 'question' \(line 5\)"):
        read(path)
    path.write_bytes(b"\n\n" + lines[0] + b"\n\n{\n")
    with pytest.raises(InputError, match=r"row 1 is not JSON: .* \(line 5\)"):
        read(path)


def write(folder: Path, number: int, count: int) -> Path:
    path = folder / f"test-{number:05}-of-{count:05}.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return path


def test_a_split_with_a_file_missing_or_twice_is_refused(tmp_path) -> None:
    paths = [write(tmp_path, k, 3) for k in range(3)]
    assert read(tmp_path) == ROWS * 3
    paths[1].unlink()
    with pytest.raises(InputError, match="2 of 00003 files available"):
        read(tmp_path)
    paths[1].symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"00001-of-00003\.parquet is a broken link"):
        read(tmp_path)
    paths[1].unlink()
    write(tmp_path, 1, 3)
    (tmp_path / "test.jsonl").write_text(json.dumps(ROWS[0]))
    with pytest.raises(InputError, match=r"and test\.jsonl; name one of them"):
        read(tmp_path)


def test_a_table_that_is_none_is_one_line(tmp_path) -> None:
    table = pyarrow.Table.from_arrays(
        [pyarrow.array(["x"])] * 3, names=["question", "answer", "answer"]
    )
    path = tmp_path / "test.parquet"
    pyarrow.parquet.write_table(table, path)
    with pytest.raises(InputError, match="2 columns are named 'answer'"):
        read(path)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS).slice(0, 0), path)
    with pytest.raises(InputError, match="no problem in it"):
        read(path)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    os.truncate(path, path.stat().st_size - 5)
    with pytest.raises(InputError, match=r"test\.parquet: row 0 is the first of an unreadable"):
        read(path)
