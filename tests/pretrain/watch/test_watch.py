"""A run's figures follow from its events, configuration and checkpoints at every moment."""

import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain import overlay
from pretrain.watch.__main__ import as_json, main, rows
from pretrain.watch.history import LOSS, History, Series
from pretrain.watch.progress import RunProgress, kept_seconds, measure, model_flops, spans
from tests.support import records
from tests.support.event_files import Scalar, step_scalars, write_checkpoint, write_events
from tinymathreason.cli import InputError
from tinymathreason.records.pretraining import Configuration, Starts

CONFIG = overlay.load("maxtext_configs/quickstart.yml", ["steps=201"])


def config(run, **changed) -> None:
    Configuration(**{**CONFIG, **changed}).write(run / "config.json")


def measured(run, now: float = 0.0, peak: float | None = None) -> RunProgress:
    history = History(str(run))
    history.update()
    return measure(history, now, peak)


def test_the_models_flops_are_upstreams() -> None:
    # perf/per_device_tflops of MaxText 0.2.5 with maxtext_configs/quickstart.yml.
    assert model_flops(CONFIG) == pytest.approx(0.01016699243336916e12, rel=1e-6)
    assert model_flops({**CONFIG, "gradient_accumulation_steps": 3}) == 3 * model_flops(CONFIG)
    assert model_flops({**CONFIG, "decoder_block": "gemma2"}) is None


@pytest.fixture
def run(tmp_path):
    """A run of 201 steps at step 150, which was killed and restarted once.

    A step takes 2 s and an evaluation, at steps 0, 50, 100 and 150, takes 10 s. The first start
    recorded steps up to 119, the second continues at 101. A start takes 30 s before it creates its
    event file and 5 s afterwards.
    """
    config(tmp_path)
    times = ("1970-01-01T00:01:40+00:00", "1970-01-01T00:10:00+00:00")
    entries = [records.start(provenance=records.provenance(time=time)) for time in times]
    records.starts(*entries).write(tmp_path / "provenance.json")
    for began, steps in ((130.0, range(120)), (630.0, range(101, 151))):
        now = began + 5
        scalars = []
        for step in steps:
            now += 2
            if step % 50 == 0:
                now += 10
                scalars.append((step, "eval/avg_loss", 4.0 - step / 100, now))
            scalars += step_scalars(step, now, 5.0 - step / 100, 1000.0)
        write_events(tmp_path, began, scalars)
    write_checkpoint(tmp_path, 100, 700.0)
    write_checkpoint(tmp_path, 140, 713.0)
    write_checkpoint(tmp_path, 150, complete=False)
    return tmp_path


def test_the_figures_of_a_run(run) -> None:
    end = 635 + 50 * 2 + 10
    progress = measured(run, now=end + 7.0, peak=2 * model_flops(CONFIG))
    assert dataclasses.asdict(progress) == {
        "last_step": 200,
        "step": 150,
        "loss": 3.5,
        "held_out_step": 150,
        "held_out_loss": 2.5,
        "tokens": 151_000,
        "step_seconds": 2.0,
        "tokens_per_second": 500.0,
        "mfu": pytest.approx(0.25),
        "seconds_left": pytest.approx(50 * (49 * 2 + 10) / 49),
        "checkpoint_step": 140,
        "checkpoint_age": pytest.approx(end + 7.0 - 713.0),
        "goodput": pytest.approx(151 * 2 / (end - 100)),
        "starts": 2,
        "repeated_steps": 19,
        "event_age": 7.0,
        "damaged": [],
    }
    assert not progress.finished
    assert measured(run).mfu is None
    # Without provenance.json the time before the first event is not known.
    (run / "provenance.json").unlink()
    progress = measured(run)
    assert progress.goodput == pytest.approx(151 * 2 / (end - 130))
    assert progress.starts == 2


def test_the_last_start_says_what_is_run(run) -> None:
    first, second = Starts.load(run / "provenance.json").starts
    second = records.change(second, changed={"steps": 301}, device="TPU v4")
    records.starts(first, second).write(run / "provenance.json")
    progress = measured(run)
    assert progress.last_step == 300
    assert progress.mfu == pytest.approx(model_flops(CONFIG) / 2.0 / 275e12)
    assert measured(run, peak=1e12).mfu == pytest.approx(model_flops(CONFIG) / 2.0 / 1e12)


def test_the_speed_is_of_the_last_steps_by_the_wall_clock(tmp_path) -> None:
    config(tmp_path)
    scalars = [s for k in range(50) for s in step_scalars(k, 9.0 * k, tokens=7.0)]
    scalars += [s for k in range(50, 150) for s in step_scalars(k, 441 + 3.0 * (k - 49), tokens=k)]
    write_events(tmp_path, 0, scalars)
    progress = measured(tmp_path)
    assert progress.step_seconds == pytest.approx(3.0)
    assert progress.tokens_per_second == pytest.approx(np.mean(range(50, 150)) / 3)
    # The events may end between the loss and the tokens of a step.
    write_events(tmp_path, 0, [*scalars, (150, LOSS, 1.0, 10_000.0)])
    assert measured(tmp_path).tokens_per_second == progress.tokens_per_second
    assert measured(tmp_path).step == 150


@st.composite
def timelines(draw):
    """Starts of a run: seconds to begin, steps taken, how many unrecorded, how many then lost.

    With at least three steps, one is neither the first nor, at an interval of two, evaluated.
    """
    starts = []
    for _ in range(draw(st.integers(1, 4))):
        taken = draw(st.integers(3, 30))
        unrecorded = draw(st.integers(0, taken))
        starts.append((draw(st.floats(0, 50)), taken, unrecorded, draw(st.integers(0, taken))))
    begin, taken, *_ = starts[-1]
    return [*starts[:-1], (begin, taken, 0, 0)]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(timelines(), st.floats(0.5, 20), st.integers(2, 9), st.floats(0, 30))
def test_goodput_is_the_time_of_the_steps_that_were_kept(starts, step_time, every, eval_time):
    began = now = 1000.0
    step = 0
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        config(run)
        for begin, taken, unrecorded, lost in starts:
            # One second more, because the file name contains the second of its creation.
            opened, now = now, now + begin + 1
            scalars: list[list[Scalar]] = []
            for k in range(step, step + taken):
                now += step_time
                evaluation = []
                if k % every == 0:
                    now += eval_time
                    evaluation = [(k, "eval/avg_loss", 1.0, now)]
                scalars.append(evaluation + step_scalars(k, now))
            write_events(run, opened, [s for k in scalars[: taken - unrecorded] for s in k])
            step += taken - lost
        assert measured(run).step == step - 1
        progress = measured(run).goodput
    assert progress == pytest.approx(step * step_time / (now - began), rel=1e-6)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.floats(-50, 50), st.booleans()), min_size=1),
    st.floats(-50, 50),
)
def test_goodput_is_a_share_whatever_the_clocks_say(steps, began) -> None:
    count, seconds, new = (np.array(column) for column in zip(*steps, strict=True))
    loss = Series(np.cumsum(count), np.ones(len(steps)), np.cumsum(seconds), np.cumsum(new))
    length, plain = spans(loss, loss.steps[::3], began)
    kept = kept_seconds(loss, length, plain)
    assert kept is None or 0 <= kept <= length.sum() * (1 + 1e-12)


def test_a_step_is_timed_where_nothing_lies_between_it_and_the_one_before() -> None:
    steps, files = np.array([3, 4, 5, 8, 9, 10]), np.array([0, 0, 0, 0, 1, 1])
    loss = Series(steps, np.ones(6), np.array([7.0, 8, 9, 12, 20, 21]), files)
    seconds, plain = spans(loss, np.array([4]), 2.0)
    assert seconds.tolist() == [5, 1, 1, 3, 8, 1]
    assert plain.tolist() == [False, False, True, False, False, True]
    # Steps 0 to 2, 6 and 7 took place without being recorded.
    assert kept_seconds(loss, seconds, plain) == 4 + 1 + 1 + 3 + 1 + 1


def test_before_the_first_step(tmp_path, capsys) -> None:
    config(tmp_path)
    main([str(tmp_path), "--once", "--json", "--png", str(tmp_path / "curves.png")])
    figures = json.loads(capsys.readouterr().out)
    assert (figures["step"], figures["last_step"], figures["goodput"]) == (None, 200, None)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    write_events(tmp_path, 5, step_scalars(0, 9.0))
    now = measured(tmp_path)
    assert (now.step, now.loss) == (0, 1.0)
    assert (now.goodput, now.tokens_per_second, now.seconds_left) == (None, None, None)


def grow(run, monkeypatch, looks: list[int]) -> None:
    """While the watch sleeps, the run proceeds to the next number of steps in ``looks``."""
    left = list(looks)

    def sleep(seconds: float) -> None:
        assert seconds == 3.0
        steps = left.pop(0)
        write_events(run, 5, [s for k in range(steps) for s in step_scalars(k, 10.0 + k)])
        if steps >= 200 and not (run / "checkpoints").exists():
            write_checkpoint(run, 200, 300.0)

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "time", lambda: 400.0)


def test_a_line_a_look_until_the_last_step_is_saved(tmp_path, monkeypatch, capsys) -> None:
    config(tmp_path)
    # The event of the last step comes after its checkpoint.
    grow(tmp_path, monkeypatch, [3, 150, 200, 201])
    main([str(tmp_path), "--interval", "3"])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("step - of 200, loss -, held-out loss -, tokens/s -")
    assert lines[0].startswith("step 2 of 200 (6 min 28 s ago), loss 1.0000")
    assert lines[1].startswith("step 149 of 200 (4 min 1 s ago)")
    assert "tokens/s 100, s/step 1.000, MFU -, tokens 15,000, ETA 51 s, " in lines[1]
    assert lines[2].startswith("step 199 of 200")
    assert lines[3] == "step           200 of 200 (3 min 10 s ago)"
    assert lines[4:][-2:] == [
        "checkpoint     200 (1 min 40 s ago)",
        "goodput        98.0%; starts: 1, steps repeated: 0",
    ]


def test_it_ends_though_the_last_event_never_comes(tmp_path, monkeypatch, capsys) -> None:
    config(tmp_path)
    grow(tmp_path, monkeypatch, [200, 200])
    main([str(tmp_path), "--interval", "3", "--json"])
    looks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [look["finished"] for look in looks] == [False, True, True]


def test_on_a_terminal_the_figures_stand_in_place(tmp_path, monkeypatch, capsys) -> None:
    config(tmp_path)
    grow(tmp_path, monkeypatch, [201])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    main([str(tmp_path), "--interval", "3", "--png", str(tmp_path / "curves.png")])
    before, after = capsys.readouterr().out.split("\x1b[10A\x1b[J")
    assert before.count("\n") == after.count("\n") == 10
    assert "step           200 of 200" in after
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_no_number_is_null_in_json(run) -> None:
    progress = dataclasses.replace(measured(run), loss=float("nan"), damaged=["x at byte 3"])
    assert json.loads(as_json(progress))["loss"] is None
    assert rows(progress)["loss"] == "nan"
    assert rows(progress)["damaged"] == "x at byte 3"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none"], "none: no such folder"),
        (["."], r"\.: not a run \(it has no config\.json\); expected the folder base_out"),
        ([".", "--interval", "0"], "--interval: expected a positive number"),
        ([".", "--peak-tflops", "nan"], "--peak-tflops: expected a positive number"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, arguments, words) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        main([*arguments, "--once"])


def test_another_programs_config_is_no_run(tmp_path) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 3}')
    with pytest.raises(InputError, match=r"config\.json: kind is missing"):
        main([str(tmp_path), "--once"])
