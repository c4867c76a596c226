"""What a ladder keeps of its runs: resumption, divergence, foreign folders, the table."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pretrain.ladder import run, table
from pretrain.ladder.config import Ladder
from pretrain.ladder.points import points
from tests.support import records
from tests.support.event_files import step_scalars, write_events
from tests.support.ladders import SOURCES, ladder
from tinymathreason.cli import InputError
from tinymathreason.records.ladder_point import PointRecord


@pytest.fixture
def made(values) -> Ladder:
    """A ladder whose runs are all finished."""
    manifest = Path(values["mixture"]) / "manifest.json"
    mixture = records.Mixture.load(manifest)
    shards = [records.shard(path=f"{name}/train-0") for name in SOURCES]
    sources = {name: records.source(shards=[s]) for name, s in zip(SOURCES, shards, strict=True)}
    mixture.model_copy(update={"sources": sources}).write(manifest)
    made = ladder(values)
    for point in points(made):
        folder = point.folder(made)
        folder.mkdir(parents=True)
        record = records.ladder_point(
            name=point.name,
            size=point.size,
            parameters=point.model.parameters,
            tokens=point.tokens,
            seed=point.seed,
        )
        record.write(folder / run.RECORD)
    return made


def test_finished_runs_are_skipped(made: Ladder, monkeypatch, capsys) -> None:
    def call(*arguments: object) -> None:
        raise AssertionError("nothing is left to run")

    monkeypatch.setattr(run, "call", call)
    run.run(made)
    assert "6 of 6 runs are finished" in capsys.readouterr().out
    results = table.read(made.run / table.FILE)
    assert list(results["name"]) == sorted(point.name for point in points(made))
    ratios = results["tokens"] / results["parameters"]
    assert np.allclose(results["tokens_per_parameter"], ratios, rtol=1e-6)
    assert (results["correct/arithmetic"] == 40).all()
    # Overlays and draws were written, and are the same the next time.
    for point in points(made):
        keys = yaml.safe_load((point.folder(made) / "overlay.yml").read_text())
        assert keys["init_weights_seed"] == point.seed
    run.run(made)


def test_runs_of_another_ladder_are_refused(made: Ladder) -> None:
    made.law.tokens_per_parameter = [4]
    with pytest.raises(InputError, match="holds runs of another ladder: law-large-1x-seed0"):
        run.run(made)


def test_another_configuration_is_refused(made: Ladder) -> None:
    run.run(made)
    made.rate.peak = 2e-3
    with pytest.raises(InputError, match="was begun with another configuration"):
        run.run(made)


@pytest.mark.filterwarnings("ignore:os.fork")  # jax is in the process of other tests
def test_a_command_that_fails_names_its_log(made: Ladder) -> None:
    point = points(made)[0]
    folder = point.folder(made)
    (folder / run.RECORD).unlink()
    with pytest.raises(InputError, match=r"maxtext\.train failed: .*no-such-overlay.* \(log: "):
        run.Commands(folder)("maxtext.train", "no-such-overlay.yml")


@pytest.mark.parametrize(
    ("losses", "diverged"),
    [
        ([6.0] + 39 * [2.0], False),
        ([6.0] + 20 * [2.0] + 19 * [9.0], True),  # above the logarithm of the vocabulary
        ([6.0] + 20 * [math.nan] + 19 * [2.0], True),
        ([6.0] + 38 * [2.0] + [math.inf], True),
    ],
)
def test_divergence(made: Ladder, losses: list[float], diverged: bool, tmp_path: Path) -> None:
    from dataclasses import replace

    point = replace(points(made)[0], steps=len(losses))
    scalars = [s for step, loss in enumerate(losses) for s in step_scalars(step, step + 1.0, loss)]
    write_events(tmp_path / "pretrain", 1.0, scalars)
    last, found = run._training(tmp_path / "pretrain", point)
    assert found == diverged
    assert np.isclose(last, np.mean(losses[-2:]), equal_nan=True)


def test_a_diverged_run_is_named_and_has_no_loss() -> None:
    record = records.ladder_point(
        status="diverged", loss=None, sources={}, tasks={}, train_loss=9.0
    )
    assert "diverged, training loss 9.0" in run.describe(record)
    row = table.from_records([record, records.ladder_point(name="other")]).iloc[0]
    assert math.isnan(row["loss"])


def test_the_mean_loss_is_weighted_by_the_recipe() -> None:
    held_out = records.ladder_point().sources["web"]
    sources = {
        "web": held_out.model_copy(update={"nats_per_token": 2.0}),
        "maths": held_out.model_copy(update={"nats_per_token": 1.0}),
    }
    assert run.mean_loss(sources, SOURCES) == pytest.approx(0.75 * 2.0 + 0.25)


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    names = ("b", "a", "c")
    before = table.from_records(
        PointRecord(**{**records.ladder_point().model_dump(), "name": name}) for name in names
    )
    table.write(before, tmp_path / "results.csv")
    after = table.read(tmp_path / "results.csv")
    pd.testing.assert_frame_equal(before, after, check_dtype=False, rtol=1e-6)
    assert list(after["name"]) == ["a", "b", "c"]
    assert after["bytes_per_token/web"].tolist() == [3.0] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,size\na,b\n", "no column group, status"),
        ("", "not a table of results"),
    ],
)
def test_another_file_is_no_table(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with pytest.raises(InputError, match="no such file; it is written by"):
        table.read(path)
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        table.read(path)
