"""Files in public datasets' schemas are read completely and in order; errors name file and row."""

import bz2
import gzip
import io
import json

import fsspec
import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from data_prep.readers import open_hf, read
from data_prep.recipe import Recipe, Source
from data_prep.work import plan_tasks
from tinymathreason.cli import InputError
from tinymathreason.listing import UnreachableError, list_files
from tinymathreason.rows import read_columns

TEXTS = ["one", "two \u00e9", "three"]
COMPRESS = {"": bytes, ".zst": zstandard.compress, ".gz": gzip.compress, ".bz2": bz2.compress}


def recipe(kind: str, path: str, **values) -> Recipe:
    return Recipe(
        output_dir="unused",
        tokenizer={"train": {"vocab_size": 300}},
        sources={"web": Source(format=kind, path=str(path), weight=1, **values)},
    )


def rows(kind: str, path: str, **values) -> list[list]:
    """The rows of each task of a source."""
    made = recipe(kind, path, **values)
    tasks = plan_tasks(made)
    source = made.sources["web"]
    return [list(read(source, 0, task.files, task.part, task.parts)) for task in tasks]


def texts(kind: str, path: str, **values) -> list[str]:
    """The texts of a source, tasks one after the other."""
    return [row.values[0] for task in rows(kind, path, **values) for row in task]


def write_jsonl(path, lines) -> None:
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.write_bytes(COMPRESS[path.suffix if path.suffix != ".jsonl" else ""](content))


def write_parquet(path, count: int, start: int = 0) -> list[str]:
    found = [f"document {start + i}" for i in range(count)]
    table = pyarrow.table({"content": found, "id": list(range(start, start + count))})
    pyarrow.parquet.write_table(table, path, row_group_size=100)
    return found


@pytest.mark.parametrize("suffix", COMPRESS)
def test_jsonl(tmp_path, suffix: str) -> None:
    # Written in the other order: files are read sorted by name.
    write_jsonl(tmp_path / f"b.jsonl{suffix}", [{"text": TEXTS[2]}])
    write_jsonl(tmp_path / f"a.jsonl{suffix}", [{"text": t, "meta": {}} for t in TEXTS[:2]])
    found = rows("jsonl", f"{tmp_path}/*.jsonl{suffix}")
    assert [[row.values for row in task] for task in found] == [
        [(TEXTS[0],), (TEXTS[1],)],
        [(TEXTS[2],)],
    ]
    assert [(row.file, row.number) for row in found[0]] == [
        (f"{tmp_path}/a.jsonl{suffix}", 0),
        (f"{tmp_path}/a.jsonl{suffix}", 1),
    ]


def test_a_compressed_file_of_several_frames_is_read_to_its_end(tmp_path) -> None:
    for suffix in (".zst", ".gz", ".bz2"):
        parts = [json.dumps({"text": text}).encode() + b"\n" for text in TEXTS]
        path = tmp_path / f"a.jsonl{suffix}"
        path.write_bytes(b"".join(COMPRESS[suffix](part) for part in parts))
        assert texts("jsonl", path) == TEXTS


def test_parquet(tmp_path) -> None:
    # More than a batch, and more than a row group.
    expected = write_parquet(tmp_path / "a.parquet", 700)
    assert texts("parquet", f"{tmp_path}/*.parquet", text_field="content") == expected
    found = texts("parquet", f"{tmp_path}/*.parquet", text_field="content", documents=300)
    assert found == expected[:300]


def test_text_files_are_one_document_each(tmp_path) -> None:
    for k, text in enumerate(["first\n\nfile", "second"]):
        (tmp_path / f"{k}.txt").write_text(text)
    assert texts("text", f"{tmp_path}/*.txt") == ["first\n\nfile", "second"]
    (tmp_path / "0.txt").write_bytes(b"\xff")
    assert rows("text", f"{tmp_path}/*.txt")[0][0].reason == "invalid_unicode"


def test_hf_reads_what_datasets_opens(tmp_path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    expected = [
        text
        for k in range(3)
        for text in write_parquet(folder / f"train-{k:05}-of-00003.parquet", 50, 50 * k)
    ]
    write_parquet(folder / "test-00000-of-00001.parquet", 5, 900)
    found = rows("hf", tmp_path, text_field="content", id_field="id")
    assert len(found) == 3
    assert [row.values for task in found for row in task] == [
        (text, str(k)) for k, text in enumerate(expected)
    ]
    assert texts("hf", tmp_path, text_field="content", split="test") == [
        f"document {900 + i}" for i in range(5)
    ]
    with pytest.raises(UnreachableError, match="dataset cannot be opened"):
        open_hf(Source(format="hf", path=str(tmp_path / "nowhere"), weight=1))


def test_generator() -> None:
    assert len(texts("generator", "number_facts", documents=3)) == 3


def test_an_id_is_read_beside_the_text(tmp_path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"text": "x", "id": "one"}, {"text": "y", "id": 2}])
    found = rows("jsonl", f"{tmp_path}/a.jsonl", id_field="id")
    assert [row.values for row in found[0]] == [("x", "one"), ("y", "2")]
    write_jsonl(tmp_path / "a.jsonl", [{"text": "x"}])
    (row,) = rows("jsonl", f"{tmp_path}/a.jsonl", id_field="id")[0]
    assert (row.reason, row.why) == ("missing_id", "has no 'id'; it has text")


@pytest.mark.parametrize("most", [1, 2, 3, 1000])
def test_tasks_share_the_files_and_lose_none(tmp_path, monkeypatch, most: int) -> None:
    monkeypatch.setattr("data_prep.readers.MOST_TASKS", most)
    sizes = {}
    for k in range(7):
        path = tmp_path / f"{k}.jsonl"
        write_jsonl(path, [{"text": f"{k} {i}"} for i in range(k)])
        sizes[str(path)] = path.stat().st_size
    tasks = plan_tasks(recipe("jsonl", f"{tmp_path}/*.jsonl"))
    assert len(tasks) == min(most, 7)
    assert sorted(file for task in tasks for file in task.files) == sorted(sizes)
    assert all(task.bytes == sum(sizes[file] for file in task.files) for task in tasks)
    expected = sorted(f"{k} {i}" for k in range(7) for i in range(k))
    assert sorted(texts("jsonl", f"{tmp_path}/*.jsonl")) == expected


class Broken(io.BytesIO):
    """A file of which only the first bytes can be read, as when a network fails."""

    def read(self, size: int = -1) -> bytes:
        if self.tell() > 0:
            raise ConnectionResetError("connection reset by peer")
        return super().read(size)


def test_a_network_failure_does_not_count_as_a_damaged_file(monkeypatch) -> None:
    lines = b"".join(json.dumps({"text": str(i) * 90}).encode() + b"\n" for i in range(40_000))
    remote = fsspec.filesystem("memory")
    with remote.open("/broken/a.jsonl", "wb") as stream:
        stream.write(lines)
    monkeypatch.setattr(type(remote), "open", lambda *_, **__: Broken(lines))
    try:
        with pytest.raises(UnreachableError, match="cannot be fetched: connection reset"):
            rows("jsonl", "memory://broken/a.jsonl")
    finally:
        monkeypatch.undo()
        remote.rm("/broken", recursive=True)


def test_a_damaged_file_of_an_hf_folder_has_a_reason(tmp_path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in TEXTS])
    (tmp_path / "b.jsonl").write_text('{"text": "whole"}\n{"text": "ha')
    *good, bad = [row for task in rows("hf", tmp_path) for row in task]
    assert [row.values[0] for row in good][: len(TEXTS)] == TEXTS
    assert bad.reason == "unreadable_file"


def test_remote_files() -> None:
    # What hf:// and gs:// go through, without a network.
    remote = fsspec.filesystem("memory")
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()
    with remote.open("/set/b.jsonl.zst", "wb") as stream:
        stream.write(zstandard.compress(lines))
    with remote.open("/set/c.jsonl.zst", "wb") as stream:
        stream.write(zstandard.compress(lines)[:-3])
    table = pyarrow.table({"text": TEXTS, "id": [1, 2, 3]})
    with remote.open("/set/deep/a.parquet", "wb") as stream:
        pyarrow.parquet.write_table(table, stream)
    try:
        (file,) = list_files("web", "memory://set/b*.zst")
        assert file.path == "memory:///set/b.jsonl.zst"
        assert file.size == len(zstandard.compress(lines))
        assert texts("jsonl", "memory://set/b*.zst") == TEXTS
        found = rows("parquet", "memory://set/**/*.parquet", id_field="id")
        assert [row.values for row in found[0]] == [(t, str(k + 1)) for k, t in enumerate(TEXTS)]
        assert rows("jsonl", "memory://set/c.jsonl.zst")[0][-1].reason == "unreadable_file"
        with pytest.raises(InputError, match="web: no file matches"):
            list_files("web", "memory://set/*.json")
    finally:
        remote.rm("/set", recursive=True)


def test_a_pattern_without_files_is_an_error(tmp_path) -> None:
    with pytest.raises(InputError, match=r"sources\.web\.path: no file matches"):
        rows("jsonl", f"{tmp_path}/*")
    with pytest.raises(InputError, match=r"web: 'nosuch://a' cannot be listed: .*nosuch"):
        list_files("web", "nosuch://a")


@pytest.mark.parametrize(
    ("line", "reason", "words"),
    [
        (b'{"txt": 1}', "missing_text", "row 1 has no 'text'; it has txt"),
        (b'{"text": null}', "missing_text", "row 1 has no 'text'; it is null"),
        (b'{"text": 5}', "not_text", "row 1 has int in 'text', expected text"),
        (b'{"text": ["a"]}', "not_text", "row 1 has list"),
        (b'{"text"', "invalid_json", "row 1 is not JSON"),
        (b"[1]", "invalid_json", "row 1 is list, expected an object"),
        (b'{"text": "\xff"}', "invalid_unicode", "row 1 is not UTF-8"),
        (b"9" * 5000, "invalid_json", "row 1 is not JSON"),
        (b"[" * 200_000, "invalid_json", "row 1 is not JSON"),
    ],
)
def test_bad_rows_have_a_reason_and_others_are_read(tmp_path, line: bytes, reason, words) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n' + line + b'\n{"text": "b"}\n')
    found = rows("jsonl", path)[0]
    assert [row.reason for row in found] == [None, reason, None]
    assert [row.number for row in found] == [0, 1, 2]
    assert str(found[1].error).startswith(f"{path}: {words}")
    with pytest.raises(InputError, match=words):
        list(read_columns("web", "jsonl", str(path), ["text"]))


def test_a_last_line_without_its_end_is_read(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n{"text": "b"}')
    assert texts("jsonl", f"{tmp_path}/a.jsonl") == ["a", "b"]


def test_bad_parquet_cells_have_a_reason_and_the_others_are_read(tmp_path) -> None:
    cells = [b"good", b"\xff\xfe", None, b"", "\u00e9".encode()]
    column = pyarrow.array(cells, pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
    found = rows("parquet", f"{tmp_path}/a.parquet")[0]
    assert [row.reason for row in found] == [None, "invalid_unicode", "missing_text", None, None]
    assert [row.values for row in found if row.values] == [("good",), ("",), ("\u00e9",)]
    assert str(found[1].error) == f"{tmp_path}/a.parquet: row 1 has invalid UTF-8 in 'text'"
    numbers = pyarrow.table({"text": [1.5]})
    pyarrow.parquet.write_table(numbers, tmp_path / "b.parquet")
    assert rows("parquet", f"{tmp_path}/b.parquet")[0][0].reason == "not_text"


@pytest.mark.parametrize("suffix", [".zst", ".gz", ".bz2"])
def test_truncated_files_have_a_reason(tmp_path, suffix: str) -> None:
    lines = [{"text": f"document {i} {hash(i * 7919)}"} for i in range(5000)]
    path = tmp_path / f"a.jsonl{suffix}"
    write_jsonl(path, lines)
    whole = path.read_bytes()
    for end in (len(whole) - 1, len(whole) // 2, 10):
        path.write_bytes(whole[:end])
        *before, last = rows("jsonl", path)[0]
        assert last.reason == "unreadable_file"
        assert str(last.error).startswith(f"{path}: row {len(before)} is the first of an unread")
        assert [row.values[0] for row in before] == [line["text"] for line in lines[: len(before)]]


def test_truncated_parquet_has_a_reason(tmp_path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, 700)
    whole = path.read_bytes()
    for data in (b"PAR1 and no more", whole[:-1], whole[: len(whole) // 2], b""):
        path.write_bytes(data)
        (row,) = rows("parquet", path, text_field="content")[0]
        assert (row.number, row.reason) == (0, "unreadable_file")
    # The footer is intact but a page in the middle is not: the rows before it are read.
    path.write_bytes(whole[:5000] + bytes(200) + whole[5200:])
    *before, last = rows("parquet", path, text_field="content")[0]
    assert last.reason == "unreadable_file"
    assert last.number == len(before) > 0


def test_a_missing_column_is_an_error(tmp_path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"body": TEXTS}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"has no column 'text'; it has body"):
        rows("parquet", f"{tmp_path}/a.parquet")


LINES = {
    "blank": b'{"text": "a"}\n\n \t\n{"text": "b"}\n\n',
    "carriage returns": b'{"text": "a"}\r\n\r\n{"text": "b"}\r\n',
    "a byte order mark": b'\xef\xbb\xbf{"text": "a"}\n{"text": "b"}\n',
    "marks of files put together": b'\xef\xbb\xbf{"text": "a"}\n\xef\xbb\xbf{"text": "b"}\n',
    "no end": b'\n{"text": "a"}\n{"text": "b"}',
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("suffix", COMPRESS)
def test_line_ends_blank_lines_and_marks_do_not_matter(tmp_path, name, suffix) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(COMPRESS[suffix](LINES[name]))
    (found,) = rows("jsonl", path)
    assert [(row.number, row.values) for row in found] == [(0, ("a",)), (1, ("b",))]


def test_errors_name_the_row_and_the_line(tmp_path) -> None:
    path = tmp_path / "lines.json"
    path.write_bytes(b'\n{"text": "a"}\n\n{"text": 1}\n{\n\n{"text": "\xff"}\n')
    _, number, broken, half = rows("jsonl", path)[0]
    assert str(number.error) == f"{path}: row 1 has int in 'text', expected text (line 4)"
    assert str(broken.error).startswith(f"{path}: row 2 is not JSON: ")
    assert str(broken.error).endswith(" (line 5)")
    assert str(half.error).startswith(f"{path}: row 3 is not UTF-8: ")
    assert str(half.error).endswith(" (line 7)")


TABLES = {
    "string": (pyarrow.array(TEXTS), None),
    "large_string": (pyarrow.array(TEXTS, pyarrow.large_string()), None),
    "string_view": (pyarrow.array(TEXTS, pyarrow.string_view()), None),
    "dictionary": (pyarrow.array(TEXTS).dictionary_encode(), None),
    "binary": (pyarrow.array([text.encode() for text in TEXTS]), None),
    "bytes that are no text": (pyarrow.array([b"\xff"] * 3), "invalid_unicode"),
    "bytes in a dictionary": (
        pyarrow.array([b"\xff"] * 3).view(pyarrow.string()).dictionary_encode(),
        "invalid_unicode",
    ),
    "numbers": (pyarrow.array([1, 2, 3]), "not_text"),
    "lists": (pyarrow.array([TEXTS] * 3), "not_text"),
    "structs": (pyarrow.array([{"text": text} for text in TEXTS]), "not_text"),
    "nothing": (pyarrow.nulls(3), "missing_text"),
}


@pytest.mark.parametrize("name", TABLES)
def test_columns_of_every_type_are_text_or_have_a_reason(tmp_path, name) -> None:
    column, reason = TABLES[name]
    table = pyarrow.table({"text": column, "text.more": pyarrow.array(TEXTS)})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    (found,) = rows("parquet", tmp_path / "a.parquet")
    assert [row.reason for row in found] == [reason] * 3
    if reason is None:
        assert [row.values[0] for row in found] == TEXTS


def test_two_columns_of_one_name_are_refused_if_requested(tmp_path) -> None:
    columns = [pyarrow.array(TEXTS)] * 4
    table = pyarrow.Table.from_arrays(columns, names=["text", "other", "text", "other"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: 2 columns are named 'text'; rename them"):
        rows("parquet", tmp_path / "a.parquet")
    table = pyarrow.Table.from_arrays(columns[:3], names=["text", "other", "other"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert texts("parquet", tmp_path / "a.parquet") == TEXTS


def test_tables_without_rows(tmp_path) -> None:
    empty = pyarrow.table({"text": pyarrow.array([], pyarrow.string())})
    pyarrow.parquet.write_table(empty, tmp_path / "a.parquet")
    with pyarrow.parquet.ParquetWriter(tmp_path / "b.parquet", empty.schema):
        pass
    assert pyarrow.parquet.read_metadata(tmp_path / "b.parquet").num_row_groups == 0
    pyarrow.parquet.write_table(pyarrow.table({"text": TEXTS}), tmp_path / "c.parquet")
    assert texts("parquet", f"{tmp_path}/*.parquet") == TEXTS


def test_a_damaged_page_has_a_reason(tmp_path) -> None:
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": TEXTS})
    pyarrow.parquet.write_table(table, path, compression="none", write_page_checksum=True)
    path.write_bytes(path.read_bytes().replace(b"three", b"threa", 1))
    (row,) = rows("parquet", path)[0]
    assert row.reason == "unreadable_file"
