"""Files in the public datasets' schemas are read whole and in order, or refused by name and row."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from data_prep.readers import read
from data_prep.recipe import Source
from tinymathreason.cli import InputError

TEXTS = ["one", "two \u00e9", "three"]


def source(kind: str, path: str, **values) -> Source:
    return Source(format=kind, path=path, weight=1, **values)


def write_jsonl(path, rows) -> None:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if path.suffix == ".zst":
        content = zstandard.compress(content)
    elif path.suffix == ".gz":
        content = gzip.compress(content)
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", ["", ".zst", ".gz"])
def test_jsonl(tmp_path, suffix: str) -> None:
    # Written in the other order: files are read sorted by name.
    write_jsonl(tmp_path / f"b.jsonl{suffix}", [{"text": TEXTS[2]}])
    write_jsonl(tmp_path / f"a.jsonl{suffix}", [{"text": t, "meta": {}} for t in TEXTS[:2]])
    found = source("jsonl", f"{tmp_path}/*.jsonl{suffix}")
    assert list(read("s", found, 0)) == TEXTS


def test_parquet(tmp_path) -> None:
    table = pyarrow.table({"content": TEXTS, "id": [1, 2, 3]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    found = source("parquet", f"{tmp_path}/*.parquet", text_field="content", documents=2)
    assert list(read("s", found, 0)) == TEXTS[:2]


def test_generator() -> None:
    found = source("generator", "number_facts", documents=3)
    assert len(list(read("s", found, 0))) == 3


def test_no_file_is_told(tmp_path) -> None:
    with pytest.raises(InputError, match=r"sources\.web\.path: no file matches"):
        list(read("web", source("jsonl", f"{tmp_path}/*"), 0))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"text": "a"}\n{"txt": 1}\n', "row 1 has no 'text'; it has txt"),
        (b'{"text": "a"}\n{"text": null}\n', "row 1 holds NoneType"),
        (b'{"text": "a"}\n{"text"\n', "unreadable at row 1"),
        (b'{"text": "\xff"}\n', "unreadable at row 0"),
        (b"[1]\n", "row 0 has no 'text'"),
    ],
)
def test_bad_rows_are_named(tmp_path, content: bytes, words: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.jsonl: .*{words}"):
        list(read("s", source("jsonl", f"{tmp_path}/a.jsonl"), 0))


def test_truncated_files_are_told(tmp_path) -> None:
    rows = "".join(json.dumps({"text": f"document {i}"}) + "\n" for i in range(5000)).encode()
    for suffix, compress in ((".zst", zstandard.compress), (".gz", gzip.compress)):
        path = tmp_path / f"a.jsonl{suffix}"
        whole = compress(rows)
        for end in (len(whole) - 1, len(whole) // 2, 10):
            path.write_bytes(whole[:end])
            with pytest.raises(InputError, match=r"a\.jsonl\.\w+: unreadable"):
                list(read("s", source("jsonl", str(path)), 0))
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"a\.parquet"):
        list(read("s", source("parquet", f"{tmp_path}/a.parquet"), 0))


def test_missing_column_is_told(tmp_path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"body": TEXTS}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"row 0 has no 'text'; it has body"):
        list(read("s", source("parquet", f"{tmp_path}/a.parquet"), 0))
