"""The plan estimates what a build needs from a sample; progress lines show what is left."""

import bz2
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from data_prep import plan, progress
from data_prep.build import main
from data_prep.recipe import Recipe
from data_prep.stages.step import running
from data_prep.work import open_work
from tests.support.builds import EXIT_FOR_INPUT, documents, write_recipe
from tinymathreason.cli import InputError
from tinymathreason.config import load
from tinymathreason.files import write_json

COMPRESS = {"": bytes, ".zst": zstandard.ZstdCompressor(level=9).compress}
COMPRESS |= {".gz": gzip.compress, ".bz2": bz2.compress}
NEAR = 0.25


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """More text than the planner reads, in documents of unequal length."""
    return documents(0, 400, 600) + documents(1, 2000, 200)


def write(folder: Path, kind: str, texts: list[str]) -> dict:
    """Store the texts in three files of unequal size, beside other columns; returns the source."""
    parts = [texts[: len(texts) // 2], texts[len(texts) // 2 : -300], texts[-300:]]
    data = folder / "data"
    data.mkdir()
    for k, part in enumerate(parts):
        if kind in ("parquet", "hf"):
            table = pyarrow.table({"text": part, "url": [f"https://a.b/{i}" for i in part]})
            pyarrow.parquet.write_table(table, data / f"train-{k:05}-of-00003.parquet")
        else:
            rows = [{"url": f"https://a.b/{i}", "text": t} for i, t in enumerate(part)]
            lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
            suffix = kind.removeprefix("jsonl")
            (data / f"{k}.jsonl{suffix}").write_bytes(COMPRESS[suffix](lines))
    source = {"format": kind.partition(".")[0], "path": f"{data}/*", "weight": 1}
    return source | ({"path": str(folder)} if kind == "hf" else {})


def estimated(folder: Path, source: dict) -> plan.Estimate:
    work = open_work(load(Recipe, write_recipe(folder, {"web": source})), folder / "none.work")
    return plan.estimate(work, "web")


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.zst", "jsonl.gz", "jsonl.bz2", "parquet", "hf"])
def test_text_is_estimated_from_a_sample(tmp_path, monkeypatch, texts, kind: str) -> None:
    monkeypatch.setattr(plan, "SAMPLE_BYTES", 300_000)
    source = write(tmp_path, kind, texts)
    found = estimated(tmp_path, source)
    assert found.text == pytest.approx(sum(map(len, texts)), rel=NEAR)
    files = (tmp_path / "data").iterdir()
    assert found.fetch == (0 if kind == "hf" else sum(file.stat().st_size for file in files))
    assert found.cpu_seconds > 0


def test_text_files_generators_and_empty_files_are_estimated(tmp_path, texts) -> None:
    for k in range(30):
        (tmp_path / f"{k}.txt").write_text("\n".join(texts[k : k + 2]))
    source = {"format": "text", "path": f"{tmp_path}/*.txt", "weight": 1}
    found = estimated(tmp_path, source)
    size = sum(file.stat().st_size for file in tmp_path.glob("*.txt"))
    assert found.text == pytest.approx(size, rel=NEAR)
    (tmp_path / "a.jsonl").touch()
    source = {"format": "jsonl", "path": f"{tmp_path}/*.jsonl", "weight": 1}
    assert estimated(tmp_path, source).text == 0
    (tmp_path / "b.jsonl").touch()
    assert estimated(tmp_path, {**source, "documents": 5}).text == 0
    words = {"format": "generator", "path": "word_problems", "documents": 20_000, "weight": 1}
    one, ten = (estimated(tmp_path, {**words, "documents": n}).text for n in (20_000, 200_000))
    assert ten == pytest.approx(10 * one, rel=NEAR)


def test_a_plan_is_printed_and_nothing_written(tmp_path, monkeypatch, texts, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = write_recipe(tmp_path, {"web": write(tmp_path, "jsonl.zst", texts)})
    before = sorted(tmp_path.rglob("*"))
    main([str(recipe), "--plan", "executor.workers=2", "token_budget=1_000_000"])
    assert sorted(tmp_path.rglob("*")) == before
    printed = capfd.readouterr()
    assert printed.out == ""
    head, line, total = printed.err.splitlines()
    assert head.split()[:4] == ["source", "format", "files", "to"]
    name, kind, files, fetch, unit, *_ = line.split()
    # The files are local, so nothing is fetched.
    assert (name, kind, files, fetch, unit) == ("web", "jsonl", "3", "0", "Bytes")
    assert "100.0%" in line
    assert total.startswith("1.0 million tokens in training; ")
    for words in ("of a core", "with 2 local workers", "of disk in", "of memory for each worker"):
        assert words in total


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["token_budget=1_000_000_000"],
            "sources.web.weight: a budget of 1.0 billion tokens",
        ),
        (["sources.web.path=/nowhere/*.jsonl"], "sources.web.path: no file matches '/nowhere/*"),
        (["sources.web.format=tfds"], "not a TFDS dataset"),
    ],
)
def test_what_cannot_be_built_is_refused_at_once(tmp_path, monkeypatch, texts, overrides, words):
    monkeypatch.chdir(tmp_path)
    recipe = write_recipe(tmp_path, {"web": write(tmp_path, "jsonl", texts[:900])})
    before = sorted(tmp_path.rglob("*"))
    for also in ([], ["--plan"]):
        with pytest.raises(InputError) as error:
            main([str(recipe), *overrides, *also])
        assert words in str(error.value)
        assert sorted(tmp_path.rglob("*")) == before


def test_too_little_disk_is_an_error_with_smaller_recipes(tmp_path, monkeypatch, texts) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = write_recipe(tmp_path, {"web": write(tmp_path, "jsonl", texts[:900])})
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=5000))
    with pytest.raises(InputError, match=r"has 5\.0 kB free, the build needs about .* MB") as error:
        main([str(recipe)])
    for name in re.findall(r"data_prep/\S+\.yaml", str(error.value)):
        assert Path(__file__).parents[2].joinpath(name).is_file()
    assert str(error.value).count(".yaml") == 2
    assert not (tmp_path / "mixture.work").exists()


# Waiting for a retry, as clients of the hub do for long, fails with a traceback.
IMTIMEOUT = """
import runpy, time
def sleep(seconds):
    assert seconds < 1, f"waits for {seconds} s"
time.sleep = sleep
runpy.run_module("data_prep.build", run_name="__main__", alter_sys=True)
"""


@pytest.mark.clock
@pytest.mark.parametrize(
    "source",
    [
        {"format": "parquet", "path": "hf://datasets/a/b@0123/*.parquet", "weight": 1},
        {"format": "hf", "path": "no-such-owner/no-such-dataset", "weight": 1},
    ],
)
def test_without_a_network_is_one_line(tmp_path, source) -> None:
    # RFC 6761 reserves this name, which no server knows; without a network all names are like it.
    away = {"HF_ENDPOINT": "http://nowhere.invalid"}
    recipe = str(write_recipe(tmp_path, {"web": source}))
    ended = subprocess.run(
        [sys.executable, "-c", IMTIMEOUT, recipe, "--plan"],
        cwd=tmp_path,
        env={**os.environ, **away, "HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == EXIT_FOR_INPUT
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert source["path"] in line
    assert "smaller recipes: data_prep/recipes/quickstart.yaml" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.yaml"]


@pytest.mark.clock
def test_progress_lines_show_the_stage_and_each_running_task(tmp_path, monkeypatch, texts) -> None:
    recipe = load(Recipe, write_recipe(tmp_path, {"web": write(tmp_path, "jsonl", texts[:900])}))
    work = open_work(recipe, tmp_path / "mixture.work")
    completions = work.folder / "logs" / "documents" / "completions"
    completions.mkdir(parents=True)
    counts = {"documents": 100, "bytes": 2_000_000, "total": 4_000_000, "seconds": 4.0}
    for task, done in ((0, 4_000_000), (1, 2_000_000), (2, 0)):
        path = work.record_path("progress", "documents", task)
        write_json(path, {**counts, "done": done})
        os.utime(path, (time.time(), time.time() + (-100 if task == 2 else 0)))
    (completions / "00000").touch()
    # A file that another process is writing.
    (work.folder / "progress" / "documents" / "00001.here-1.partial.json").write_text("{")
    started = time.time() - 10
    monkeypatch.setattr(progress.time, "time", lambda: started + 10)
    stage, task = progress.lines(work, "documents", 3, started)
    assert stage == "documents: 1/3 tasks, 0:00:10, 200 documents, 20/s, 0.4 MB/s ETA 0:00:10"
    assert task == "  task 1:  50% 100 documents, 25/s, 0.5 MB/s"


TASK_LINE = r"  task 1:  50% 5 documents, [\d,]+/s, [\d.]+ MB/s"


@pytest.mark.clock
def test_progress_is_printed_while_a_stage_runs(tmp_path, monkeypatch, texts, capfd) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.05)
    recipe = load(Recipe, write_recipe(tmp_path, {"web": write(tmp_path, "jsonl", texts[:900])}))
    work = open_work(recipe, tmp_path / "mixture.work")
    with progress.watch(work, "documents", 3), running(work, "documents", 1, 100) as task:
        time.sleep(0.1)  # files' times are coarser than the clock
        task.add(5, 50)
        task.record()
        printed: list[str] = []
        while not any(re.fullmatch(TASK_LINE, line) for line in printed):
            time.sleep(0.02)
            printed += capfd.readouterr().err.splitlines()
    last = capfd.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"documents: 0/3 tasks, 0:0\d:\d\d, 5 documents, \d+/s, 0\.0 MB/s.*", last)
