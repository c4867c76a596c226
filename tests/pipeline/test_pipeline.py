"""Stages run once and in order, and a killed pipeline continues where it was."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import runner
from pipeline.config import Pipeline
from tests.support import records
from tests.support.limits import room_for
from tinymathreason.cli import InputError
from tinymathreason.config import load
from tinymathreason.records.stage import Attempt, Stage

PIPELINE = """
run: {run}
stages:
  one: bash -c 'echo one >> {run}/order; echo done'
  two: bash -c 'echo two >> {run}/order; {two}'
  three: bash -c 'echo three >> {run}/order'
report: ["bash -c 'echo report >> {run}/order'"]
next: python -m another.command
"""


TIMEOUT = 60.0
"""Seconds after which a test gives up, far beyond what a busy machine takes."""


def write(tmp_path, two: str = "true"):
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE.format(run=tmp_path / "run", two=two))
    return path


# A shell starts what runs in its background deaf to Ctrl-C, so the command listens again. It does
# so itself: a `preexec_fn` forks, and a fork is not safe where an earlier test has started JAX.
COMMAND = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("pipeline", run_name="__main__", alter_sys=True)
"""


def start(path, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def finish(path, **environment) -> tuple[int, str]:
    process = start(path, **environment)
    output, _ = process.communicate(timeout=TIMEOUT)
    return process.returncode, output


def order(tmp_path) -> list[str]:
    return (tmp_path / "run" / "order").read_text().split()


def wait_for(condition, seconds: float = TIMEOUT) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and ") Z" not in stat.read_text()


def test_stages_run_once_in_order_and_the_report_every_time(tmp_path) -> None:
    path = write(tmp_path)
    status, output = finish(path)
    assert (status, order(tmp_path)) == (0, ["one", "two", "three", "report"])
    record = json.loads((tmp_path / "run" / "stages" / "one.json").read_text())
    assert record["finished"]
    assert record["seconds"] >= 0
    assert record["peak_bytes"] > 2**20
    assert output.endswith("Next:\n  python -m another.command\n")
    status, output = finish(path)
    assert status == 0
    assert order(tmp_path)[4:] == ["report"]
    assert f"Every stage was already finished; start afresh with: rm -r {tmp_path}/run" in output


def test_a_failed_stage_is_named_and_run_again(tmp_path) -> None:
    flag = tmp_path / "flag"
    path = write(tmp_path, f"echo some reason; test -e {flag}")
    status, output = finish(path)
    assert status == 2
    assert "error: stage two failed: some reason (log: " in output
    assert order(tmp_path) == ["one", "two"]
    flag.touch()
    assert finish(path)[0] == 0
    assert order(tmp_path) == ["one", "two", "two", "three", "report"]
    record = json.loads((tmp_path / "run" / "stages" / "two.json").read_text())
    assert len(record["attempts"]) == 2


@pytest.mark.clock
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed_and_run_again(tmp_path, number) -> None:
    flag, pid = tmp_path / "flag", tmp_path / "pid"
    path = write(tmp_path, f"echo $$ > {pid}; test -e {flag} || sleep 100")
    process = start(path)
    wait_for(lambda: pid.exists() and pid.read_text().strip())
    process.send_signal(number)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode in (130, -signal.SIGKILL)
    # The stage must not live on beside the next attempt.
    wait_for(lambda: not alive(int(pid.read_text())))
    flag.touch()
    status, output = finish(path)
    assert status == 0, output
    assert "one: already finished" in output
    assert order(tmp_path) == ["one", "two", "two", "three", "report"]


def test_two_in_one_folder_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(runner, "LOCK_TIMEOUT", 0.5)
    pid = tmp_path / "pid"
    path = write(tmp_path, f"echo $$ > {pid}; sleep 100")
    process = start(path)
    try:
        wait_for(lambda: pid.exists())
        with pytest.raises(InputError, match="another process is working in it"):
            runner.run(load(Pipeline, path))
    finally:
        process.kill()
        process.communicate()


def test_another_command_for_a_finished_stage_is_refused(tmp_path) -> None:
    assert finish(write(tmp_path))[0] == 0
    status, output = finish(write(tmp_path, "echo other"))
    assert status == 2
    assert "error: " in output
    assert f"start afresh with: rm -r {tmp_path}/run" in output


def test_a_changed_configuration_is_another_command(tmp_path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("a: 1")
    words = ["build", str(recipe)]
    before = runner._fingerprint(words)
    recipe.write_text("a: 2")
    assert runner._fingerprint(words) != before
    recipe.write_text("base_config: parent.yaml")
    before = runner._fingerprint(words)
    (tmp_path / "parent.yaml").write_text("b: 1")
    assert runner._fingerprint(words) != before


def test_a_stage_killed_before_it_logged_anything_runs_again(tmp_path) -> None:
    path = write(tmp_path)
    (tmp_path / "run" / "stages").mkdir(parents=True)
    attempt = Attempt(started=time.time() + 5, ended=None)
    records.stage(finished=False, attempts=[attempt], seconds=0.0, peak_bytes=0).write(
        tmp_path / "run" / "stages" / "one.json"
    )
    (tmp_path / "run" / "stages" / "one.log").touch()
    status, output = finish(path)
    assert status == 0, output
    record = Stage.load(tmp_path / "run" / "stages" / "one.json")
    assert 0 <= record.seconds < TIMEOUT


def test_a_damaged_record_of_a_stage_is_one_line(tmp_path) -> None:
    path = write(tmp_path)
    (tmp_path / "run" / "stages").mkdir(parents=True)
    (tmp_path / "run" / "stages" / "one.json").write_text('{"finished": true}')
    status, output = finish(path)
    assert status == 2
    assert "one.json: kind is missing, expected 'stage'; write it again with pipeline" in output


def test_a_mended_configuration_of_a_failed_stage_is_accepted(tmp_path) -> None:
    assert finish(write(tmp_path, "false"))[0] == 2
    assert finish(write(tmp_path, "true"))[0] == 0


def test_data_must_be_a_folder(tmp_path) -> None:
    path = write(tmp_path, "ls $DATA")
    status, output = finish(path, DATA="/nowhere")
    assert status == 2
    assert "set DATA=DIR" in output
    assert finish(path, DATA=str(tmp_path))[0] == 0


def test_a_log_without_room_is_reported(tmp_path) -> None:
    path = write(tmp_path, "head -c 9000 /dev/zero")
    with room_for(8000):
        status, output = finish(path)
    assert status == 2
    log = tmp_path / "run" / "stages" / "two.log"
    assert (
        f"error: {log}: cannot be written (File too large: a file may have at most 8.0 kB" in output
    )


def test_a_run_that_cannot_begin_makes_no_folder(tmp_path) -> None:
    assert finish(write(tmp_path, "ls $DATA"), DATA="/nowhere")[0] == 2
    assert not (tmp_path / "run").exists()
