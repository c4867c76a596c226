"""Bad input ends a build with one line that names it, or is counted; a full disk loses nothing."""

import gzip
import io
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from array_record.python.array_record_data_source import ArrayRecordDataSource

from data_prep.build import build
from data_prep.recipe import Recipe
from tests.support.builds import (
    EXIT_FOR_INPUT,
    command,
    documents,
    write_jsonl,
    write_recipe,
)
from tinymathreason.cli import InputError
from tinymathreason.config import load

FEW = 40


def lines(texts: list[str], prefix: str) -> bytes:
    rows = [{"text": text, "id": f"{prefix}-{i}"} for i, text in enumerate(texts)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def truncated(path: Path, texts: list[str]) -> None:
    whole = lines(texts, path.stem)
    data = zstandard.compress(whole) if path.suffix == ".zst" else gzip.compress(whole)
    path.write_bytes(data[:-9])


def write_column(path: Path, cells: list[bytes | None]) -> None:
    column = pyarrow.array(cells, pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), path)


def one_line(ended: subprocess.CompletedProcess) -> str:
    """The last line of a failed command, after the plan and the progress."""
    assert ended.returncode == EXIT_FOR_INPUT, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("error:") == 1
    assert ended.stdout == ""
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    return last


@pytest.fixture
def sources(tmp_path) -> dict:
    """A source whose first file is intact, so that the plan does not notice faults in others."""
    write_jsonl(tmp_path / "a-0.jsonl", documents(0, FEW))
    return {"web": {"format": "jsonl", "path": f"{tmp_path}/a-*", "weight": 1, "id_field": "id"}}


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_input_is_one_line_of_the_command(tmp_path, sources, workers: int) -> None:
    recipe = write_recipe(tmp_path, sources, executor={"workers": workers})
    bad = tmp_path / "a-1.jsonl.zst"
    truncated(bad, documents(1, FEW))
    ended = subprocess.run(command(recipe), cwd=tmp_path, capture_output=True, text=True)
    line = one_line(ended)
    assert line.startswith(f"error: {bad}: row ")
    assert " is the first of an unreadable part: " in line

    bad.unlink()
    bad = tmp_path / "a-1.jsonl"
    bad.write_bytes(lines(documents(1, 5), "b") + b'{"text": "\xff\xfe", "id": "x"}\n')
    subprocess.run(["rm", "-r", "mixture.work"], cwd=tmp_path, check=True)
    ended = subprocess.run(command(recipe), cwd=tmp_path, capture_output=True, text=True)
    assert one_line(ended).startswith(f"error: {bad}: row 5 is not UTF-8: ")

    subprocess.run(["rm", "-r", "mixture.work"], cwd=tmp_path, check=True)
    bad.write_bytes(lines(documents(1, 5), "b") + lines(documents(2, 4), "b")[-200_000:])
    ended = subprocess.run(command(recipe), cwd=tmp_path, capture_output=True, text=True)
    assert one_line(ended) == f"error: {bad}: row 5: has the same id as {bad}: row 0"
    assert not (tmp_path / "mixture").exists()


BAD_LINES = {
    "null": (b'{"text": null, "id": "n"}', "has no 'text'; it is null"),
    "missing": (b'{"id": "n"}', "has no 'text'; it has id"),
    "empty": (b'{"text": " \\n", "id": "n"}', "is empty"),
    "type": (b'{"text": 7, "id": "n"}', "has int in 'text', expected text"),
    "broken": (b'{"text": "x', "is not JSON"),
    "half": (b'{"text": "\\ud800", "id": "n"}', "has an unpaired surrogate"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_stored_linesare_refused_by_file_and_row(tmp_path, sources, monkeypatch, name) -> None:
    monkeypatch.chdir(tmp_path)
    line, words = BAD_LINES[name]
    bad = tmp_path / "a-1.jsonl"
    bad.write_bytes(lines(documents(1, 3), "b") + line + b"\n")
    recipe = load(Recipe, write_recipe(tmp_path, sources, executor={"workers": 1}))
    with pytest.raises(InputError) as error:
        build(recipe)
    assert str(error.value).startswith(f"{bad}: row 3 {words}")
    assert not (tmp_path / "mixture").exists()


@pytest.mark.parametrize("fault", ["truncated", "unicode"])
def test_bad_parquet_is_refused_by_file_and_row(tmp_path, monkeypatch, fault) -> None:
    monkeypatch.chdir(tmp_path)
    cells: list[bytes | None] = [text.encode() for text in documents(0, 20)]
    write_column(tmp_path / "0.parquet", cells)
    bad = tmp_path / "1.parquet"
    write_column(bad, [*cells[:7], b"\xff\xff"])
    words = "row 7 has invalid UTF-8 in 'text'"
    if fault == "truncated":
        bad.write_bytes(bad.read_bytes()[:-5])
        words = "row 0 is the first of an unreadable part"
    sources = {"maths": {"format": "parquet", "path": f"{tmp_path}/*.parquet", "weight": 1}}
    recipe = load(Recipe, write_recipe(tmp_path, sources, executor={"workers": 1}))
    with pytest.raises(InputError) as error:
        build(recipe)
    assert str(error.value).startswith(f"{bad}: {words}")


def test_with_skip_every_bad_document_is_counted_under_its_reason(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    good = documents(3, 300)
    write_jsonl(tmp_path / "a-0.jsonl", good[:100])
    (tmp_path / "a-1.jsonl").write_bytes(
        lines(good[100:150], "b")
        + b"".join(line + b"\n" for line, _ in BAD_LINES.values())
        + b'{"text": "\xff", "id": "u"}\n'
        + lines(good[100:101], "b")  # the same id, the same text
        + lines(good[299:], "b")  # the same id, another text
    )
    (tmp_path / "a-2.jsonl").write_bytes(b"")
    truncated(tmp_path / "a-3.jsonl.zst", documents(4, 5000))
    truncated(tmp_path / "a-4.jsonl.gz", documents(5, 5000))
    cells: list[bytes | None] = [text.encode() for text in good[150:280]]
    write_column(tmp_path / "p-0.parquet", [*cells, b"\xff", None, b"", b"\xc3"])
    (tmp_path / "p-1.parquet").write_bytes((tmp_path / "p-0.parquet").read_bytes()[:-1])
    web = {"format": "jsonl", "path": f"{tmp_path}/a-*", "weight": 1, "id_field": "id"}
    maths = {"format": "parquet", "path": f"{tmp_path}/p-*", "weight": 1}
    recipe = write_recipe(
        tmp_path,
        {"web": web, "maths": maths},
        on_bad_input="skip",
        executor={"workers": 1},
        near_duplicates=False,
    )
    manifest = build(load(Recipe, recipe)).as_json()
    expected = {
        "web": {
            "missing_text": 2,
            "empty": 1,
            "not_text": 1,
            "invalid_json": 1,
            "invalid_unicode": 2,
            "exact_duplicate": 1,
            "duplicate_id": 1,
            "unreadable_file": 2,
        },
        "maths": {"invalid_unicode": 2, "missing_text": 1, "empty": 1, "unreadable_file": 1},
    }
    for name, entry in manifest["sources"].items():
        counts = entry["documents"]
        assert counts["rejected"] == expected[name]
        assert counts["read"] == counts["kept"] + sum(expected[name].values())
        stored = (tmp_path / "mixture" / "rejected" / f"{name}.jsonl.zst").read_bytes()
        stored_lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(stored), "utf-8")
        reasons = Counter(json.loads(line)["reason"] for line in stored_lines)
        assert reasons == expected[name]
        assert sum(shard["records"] for shard in entry["shards"]) == counts["kept"]
        for shard in entry["shards"]:
            records = ArrayRecordDataSource(str(tmp_path / "mixture" / shard["path"]))
            assert len(records) == shard["records"]
    assert manifest["sources"]["maths"]["documents"]["kept"] == len(cells)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "contains no document"),
        (b'{"text": " "}\n', "no document is left for its train"),
    ],
)
def test_an_empty_source_is_refused(tmp_path, sources, monkeypatch, content, words) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none.jsonl").write_bytes(content)
    sources["none"] = {"format": "jsonl", "path": f"{tmp_path}/none.jsonl", "weight": 1}
    values = {"executor": {"workers": 1}, "on_bad_input": "skip"}
    recipe = load(Recipe, write_recipe(tmp_path, sources, **values))
    with pytest.raises(InputError, match=rf"sources\.none: {words}"):
        build(recipe)
    assert not (tmp_path / "mixture").exists()


# The memory of a process includes what its parent held when it started, and a pytest worker holds
# everything that its tests have imported. So a small process starts the build.
MEASURED = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stderr=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(used.ru_maxrss)
sys.exit(process.returncode)
"""


@pytest.mark.processor
def test_a_document_of_50_megabytes_is_built_in_bounded_memory(tmp_path, sources) -> None:
    words = " ".join(documents(6, 2000))
    text = " ".join(f"{i} {words}" for i in range(50_000_000 // len(words)))
    (tmp_path / "a-1.jsonl").write_text(json.dumps({"text": text, "id": "long"}) + "\n")
    recipe = write_recipe(tmp_path, sources, executor={"workers": 1})
    measured = [sys.executable, "-c", MEASURED, *command(recipe)]
    ended = subprocess.run(measured, cwd=tmp_path, stdout=subprocess.PIPE, check=True)
    peak = int(ended.stdout.split()[-1]) * 1024
    manifest = json.loads((tmp_path / "mixture" / "manifest.json").read_text())
    assert manifest["sources"]["web"]["documents"]["kept"] == FEW + 1
    assert peak < 1.8e9


LIMITED = """
import resource, runpy, sys
size = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
runpy.run_module("data_prep.build", run_name="__main__", alter_sys=True)
"""


def test_a_full_disk_is_one_line_and_the_same_command_continues(tmp_path, sources) -> None:
    # No file may be longer than this: first the stored documents end there, then the records.
    write_jsonl(tmp_path / "a-1.jsonl", documents(7, 150, 400))
    recipe = write_recipe(tmp_path, sources, near_duplicates=False)
    for size, workers, kind in ((60_000, 2, "rejected_early"), (125_000, 1, "train")):
        arguments = [str(size), str(recipe), f"executor.workers={workers}"]
        ended = subprocess.run(
            [sys.executable, "-c", LIMITED, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        line = one_line(ended)
        assert line.startswith("error: mixture.work: ")
        assert f"mixture.work/{kind}/" in line
        assert "File too large: a file may have at most" in line
        assert line.endswith("run the same command again to continue")
        assert not (tmp_path / "mixture").exists()
    subprocess.run(command(recipe), cwd=tmp_path, check=True, capture_output=True)
    manifest = json.loads((tmp_path / "mixture" / "manifest.json").read_text())
    assert manifest["sources"]["web"]["documents"]["kept"] == FEW + 150


def test_an_unreadable_match_is_an_error_or_counted(tmp_path, sources, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-1.jsonl").symlink_to(tmp_path / "gone")
    (tmp_path / "a-2").mkdir()
    path = write_recipe(tmp_path, sources, executor={"workers": 1})
    with pytest.raises(InputError, match=r"sources\.web\.path: .*a-1\.jsonl is a broken link"):
        build(load(Recipe, path))
    manifest = build(load(Recipe, path, ["on_bad_input=skip"]))
    documents = manifest.sources["web"].documents
    assert documents.rejected == {"unreadable_file": 2}
    assert documents.read == FEW + 2


def test_an_empty_first_file_does_not_make_a_source_empty(tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    write_column(tmp_path / "0.parquet", [])
    write_column(tmp_path / "1.parquet", [text.encode() for text in documents(0, 60)])
    sources = {"maths": {"format": "parquet", "path": f"{tmp_path}/*.parquet", "weight": 1}}
    sources["web"] = {"format": "jsonl", "path": f"{tmp_path}/*.jsonl", "weight": 1}
    (tmp_path / "0.jsonl").touch()
    write_jsonl(tmp_path / "1.jsonl", documents(1, 60))
    manifest = build(load(Recipe, write_recipe(tmp_path, sources, executor={"workers": 1})))
    assert [entry.documents.kept for entry in manifest.sources.values()] == [60, 60]
    words = "sources.web.path: 1 of 2 files are empty, such as "
    assert f"{words}{tmp_path}/0.jsonl" in capfd.readouterr().err
