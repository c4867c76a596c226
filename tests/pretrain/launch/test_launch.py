"""A training on a slice is started, followed, restarted, stopped and given up.

tests/support/gcloud_stand_in.py replaces gcloud. The commands for the hosts really run, each host
in a folder of its own.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pretrain.launch import supervisor
from pretrain.launch.__main__ import main
from pretrain.launch.slice import Slice, install, output
from tinymathreason.cli import InputError

PLACE = ["--name=tpu", "--zone=us-central2-b", "--project=p"]
OVERLAY = "base_config: base.yml\nsteps: 101\nrun_name: one\nbase_output_directory: gs://b/runs\n"
WORDS = ["tiny.yml", "learning_rate=0.5"]
FINISHED = {"step": 100, "status": [0, 0]}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A git checkout with an overlay and the part of this project that the hosts need."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "pretrain/launch").mkdir(parents=True)
    shutil.copy("pretrain/launch/host.sh", folder / "pretrain/launch")
    (folder / "tiny.yml").write_text(OVERLAY)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    return folder


class World:
    """The folder of the stand-in, with a record of the commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bucket").mkdir()
        (folder / "bin").mkdir()
        stand_in = Path("tests/support/gcloud_stand_in.py").resolve()
        for name in ("gcloud", "uv", "trainer"):
            # Without site and the environment Python starts in a fifth of the time.
            words = shlex.join([sys.executable, "-S", "-E", str(stand_in), name])
            self.program(name, f'exec {words} "$@"')
        self.program("hostname", 'echo "vm-w-$HOST"')

    def program(self, name: str, line: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def scenario(self, *attempts: dict, **values) -> None:
        text = json.dumps({"attempts": attempts, **values})
        (self.folder / "scenario.json").write_text(text)

    def calls(self) -> list[str]:
        """The verb of every gcloud command so far, or the verb of host.sh that it ran."""
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        verbs = []
        for words in map(json.loads, lines):
            command = next((word for word in words if word.startswith("--command=")), "")
            for verb in ("start", "stop", "halt", "log", "install", "probe", "tail"):
                if f"host.sh {verb}" in command or f"{verb} -n" in command:
                    verbs.append(verb)
                    break
            else:
                verbs.append(words[3] if words[0] == "compute" else "ls")
        return verbs

    def changes(self) -> list[str]:
        """`calls` without those that change nothing."""
        return [
            call for call in self.calls() if call not in ("describe", "probe", "log", "tail", "ls")
        ]


@pytest.fixture
def world(tmp_path, checkout, monkeypatch):
    world = World(tmp_path)
    monkeypatch.setenv("WORLD", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(checkout)
    yield world
    # A training of the stand-in ends when its home does.
    for home in tmp_path.glob("host-*"):
        shutil.rmtree(home, ignore_errors=True)


def run(*words: str) -> None:
    fixed = ["--type=v4-32", "--poll=0.01", "--prepare=touch prepared", "learning_rate=0.5"]
    main(["run", "tiny.yml", *PLACE, *fixed, *words])


ONCE = ["scp", "install", "start"]


def test_a_training_is_started_followed_and_finished(world, capsys, checkout) -> None:
    world.scenario({**FINISHED, "log": "loss 2.5"}, queue=["WAITING_FOR_RESOURCES", "ACTIVE"])
    run("--spot")
    out = capsys.readouterr().out
    assert world.changes() == ["create", *ONCE]
    for words in ("tpu is WAITING_FOR_RESOURCES", "tpu is ACTIVE", "loss 2.5", "costs money"):
        assert words in out
    assert "finished; saved: step 100 of 100; exit status: vm-w-0 0, vm-w-1 0" in out
    lines = map(json.loads, (world.folder / "calls.jsonl").read_text().splitlines())
    created = next(words for words in lines if "create" in words)
    assert {
        "--accelerator-type=v4-32",
        "--runtime-version=tpu-ubuntu2204-base",
        "--spot",
        "--node-id=tpu",
        "--zone=us-central2-b",
        "--project=p",
        "--valid-until-duration=86400s",
    } <= set(created)
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
    for i in range(2):
        home = world.folder / f"host-{i}"
        assert (home / "tinymathreason/prepared").exists()
        head = (home / "tinymathreason/.git/HEAD").read_text().strip()
        assert head == commit
        assert f"training {' '.join(WORDS)}\n" in (home / "tinymathreason.state/log").read_text()
    installs = [json.loads(line) for line in (world.folder / "uv.jsonl").read_text().splitlines()]
    locked = next(words for words in installs if "--constraint" in words)
    assert "--extra pretrain" in " ".join(locked)
    assert locked[locked.index("--constraint") + 1] == "requirements.txt"


def test_a_finished_run_is_never_started_again(world, capsys) -> None:
    (world.folder / "bucket" / "100").touch()
    world.scenario()
    run()
    assert world.calls() == ["ls"]
    out = capsys.readouterr().out
    assert "already finished: step 100 is saved; nothing to start" in out
    assert "costs money" not in out


@pytest.mark.parametrize("state", ["SUSPENDED", "FAILED", "PREEMPTED", "ABSENT"])
def test_a_preempted_slice_is_made_again(world, capsys, state: str) -> None:
    world.scenario({"step": 40, "status": ["term", "term"], "then": state}, FINISHED)
    run()
    deleted = [] if state == "ABSENT" else ["delete"]
    assert world.changes() == ["create", *ONCE, *deleted, "create", *ONCE]
    assert "preempted; saved: step 40 of 100" in capsys.readouterr().out


def test_hosts_that_crash_because_the_slice_goes_are_no_crash(world, capsys) -> None:
    world.scenario({"step": 40, "status": [1, 1], "then": "PREEMPTED"}, FINISHED)
    run("--retries=1")
    assert "preempted; saved: step 40 of 100; exit status: vm-w-0 1" in capsys.readouterr().out


@pytest.mark.parametrize("status", [75, 0])
def test_a_training_that_saved_and_stopped_by_itself_continues(world, capsys, status: int) -> None:
    world.scenario({"step": 40, "status": [status, status]}, FINISHED)
    # A process that it leaves running, such as a mount, must not block the next installation.
    run("--prepare=sleep 5 >sleeps 2>&1 &")
    assert world.changes() == ["create", *ONCE, *ONCE]
    out = capsys.readouterr().out
    assert f"stopped early; saved: step 40 of 100; exit status: vm-w-0 {status}" in out
    assert out.index("attempt 1 on host 0") < out.index("attempt 2 on host 0")


def test_an_early_end_without_progress_is_given_up_too(world) -> None:
    world.scenario(*[{"step": 40, "status": [0, 0]}] * 3)
    with pytest.raises(InputError, match="stopped early with exit status 0"):
        run()
    assert world.changes().count("start") == 3


def test_an_operators_stop_ends_the_training(world, monkeypatch, capsys) -> None:
    world.scenario({"step": 40, "status": ["term", "term"]})
    stopped = []

    def sleep(_: float) -> None:
        if not stopped:
            stopped.append(True)
            main(["stop", *PLACE, "--poll=0.01"])

    monkeypatch.setattr(supervisor, "time", Clock(sleep))
    with pytest.raises(SystemExit) as ended:
        run("--delete-at-end")
    assert ended.value.code == 75
    assert world.changes() == ["create", *ONCE, "stop"]
    out = capsys.readouterr().out
    assert "the training has ended on all hosts; exit status: vm-w-0 75, vm-w-1 75" in out
    assert "saved: step 40 of 100" in out
    # Started again it continues, and the earlier stop does not explain its next end.
    world.scenario({}, {"step": 50, "status": [1, 1]}, FINISHED)
    run()
    assert world.changes()[5:] == [*ONCE, *ONCE]


class Clock:
    """The module time, with another sleep."""

    def __init__(self, sleep) -> None:
        import time

        self.sleep, self.monotonic, self.strftime = sleep, time.monotonic, time.strftime


def test_out_of_memory_is_reported_and_not_tried_again(world, capsys) -> None:
    log = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm"
    world.scenario({"status": [1, 1], "log": log})
    with pytest.raises(InputError) as error:
        run()
    assert "out of memory on vm-w-" in str(error.value)
    assert "python -m pretrain.preflight tiny.yml learning_rate=0.5" in str(error.value)
    assert world.changes() == ["create", *ONCE]
    assert log in capsys.readouterr().out.split("the last lines of")[1]


def test_input_that_the_hosts_refuse_is_not_tried_again(world) -> None:
    world.scenario({"status": [1, 2], "log": "error: no such file"})
    with pytest.raises(InputError, match="vm-w-1 refused its input"):
        run()
    assert world.changes() == ["create", *ONCE]


def test_the_third_crash_at_one_step_is_the_last(world, capsys) -> None:
    world.scenario(*[{"step": 7, "status": [1, 1], "delay_s": [1, 0], "log": "boom"}] * 4)
    with pytest.raises(InputError, match=r"on vm-w-1: failure 3 of 3 at step 7 without progress"):
        run()
    assert world.changes().count("start") == 3
    assert "the last lines of vm-w-1, with the reason" in capsys.readouterr().out


def test_progress_forgives_crashes(world) -> None:
    steps = (None, None, 10, 10)
    world.scenario(*[{"step": step, "status": [1, 139]} for step in steps], FINISHED)
    run()
    assert world.changes().count("start") == 5


def test_a_host_that_was_restarted_counts_as_a_crash(world, capsys) -> None:
    world.scenario({"step": 5, "status": ["vanish", 1]}, FINISHED)
    run()
    out = capsys.readouterr().out
    assert "crashed; saved: step 5 of 100; exit status: vm-w-0 lost, vm-w-1 1" in out
    assert "crashed with no exit status on vm-w-0" in out


def test_a_host_that_outlives_the_others_is_killed(world, monkeypatch, capsys) -> None:
    monkeypatch.setattr(supervisor, "GRACE_POLLS", 2)
    world.scenario({"step": 5, "status": ["deaf", 1]}, FINISHED)
    run()
    assert "halt" in world.changes()
    assert "exit status: vm-w-0 137, vm-w-1 1" in capsys.readouterr().out


def test_a_broken_connection_does_not_end_anything(world, capsys) -> None:
    world.scenario(FINISHED, ssh_errors=2)
    run()
    assert world.changes() == ["create", *ONCE]
    assert "cannot check the training, which continues" in capsys.readouterr().out


def test_what_a_training_leaves_behind_does_not_keep_it_alive(world) -> None:
    world.scenario({**FINISHED, "leaves": True})
    run()
    assert "halt" not in world.changes()


def interrupt(_: float) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_leaves_the_training_and_run_takes_it_up(world, monkeypatch, capfd) -> None:
    world.scenario({"status": ["term", "term"]})
    with monkeypatch.context() as patch:
        patch.setattr(supervisor, "time", Clock(interrupt))
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                run("--delete-at-end")
    out = capfd.readouterr().out
    assert "already running on 2 hosts" in out
    assert "python -m pretrain.launch stop --name tpu --zone us-central2-b --project p" in out
    assert world.changes() == ["create", *ONCE]
    with pytest.raises(InputError, match=r"runs another training: tiny\.yml learning_rate=0.5"):
        run("learning_rate=0.25")
    main(["status", *PLACE])
    assert "tpu: ACTIVE\nvm-w-0: running\nvm-w-1: running\n" in capfd.readouterr().out
    # A second start by hand, on the host itself, does nothing.
    home = world.folder / "host-0"
    process = subprocess.run(
        ["bash", "tinymathreason/pretrain/launch/host.sh", "start", "other.yml"],
        cwd=home,
        env={**os.environ, "HOST": "0", "ATTEMPT": "1", "HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert process.stdout == "vm-w-0: already running\n"
    # Nor is anything installed while it runs.
    with pytest.raises(InputError, match="error: vm-w-0: a training runs here"):
        output(Slice(name="tpu", zone="z", project="p").ssh(install(Path("b"), "")))
    main(["stop", *PLACE, "--poll=0.01"])
    main(["logs", *PLACE, "--worker=1"])
    assert capfd.readouterr().out.endswith("attempt 1 on host 1\n")


def test_a_slice_is_deleted_when_asked_for(world, capsys) -> None:
    world.scenario(FINISHED)
    run("--delete-at-end")
    assert world.changes() == ["create", *ONCE, "delete"]
    main(["delete", *PLACE])
    assert "there is no such slice" in capsys.readouterr().out


def test_a_refused_creation_is_one_line(world, capsys) -> None:
    world.scenario(create_error="RESOURCE_EXHAUSTED: Quota limit 'TPUV4sPerProject' exceeded.")
    with pytest.raises(InputError) as error:
        run()
    assert str(error.value) == (
        "gcloud compute tpus queued-resources: ERROR: (gcloud.compute.tpus.queued-resources.create)"
        " RESOURCE_EXHAUSTED: Quota limit 'TPUV4sPerProject' exceeded."
    )
    assert world.changes() == ["create"]
    assert "costs money" not in capsys.readouterr().out


def test_a_slice_that_never_comes_is_no_longer_asked_for(world) -> None:
    world.scenario(queue=["WAITING_FOR_RESOURCES"])
    with pytest.raises(InputError, match="still WAITING_FOR_RESOURCES after --wait of 1e-06 hours"):
        run("--wait=0.000001")
    assert world.changes() == ["create", "delete"]


def test_a_request_that_fails_is_reported_with_its_reason(world) -> None:
    world.scenario(queue=["ACCEPTED", "FAILED"])
    with pytest.raises(InputError, match="tpu is FAILED and not ACTIVE: no capacity here"):
        run()


def test_without_gcloud_it_is_one_line(world, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(world.folder / "bucket"))
    with pytest.raises(InputError, match="is not on the path; gcloud comes with the Google Cloud"):
        main(["status", *PLACE])


@pytest.mark.parametrize("verb", ["run", "status", "logs", "stop", "delete"])
def test_a_dry_run_prints_commands_and_runs_none(world, capsys, verb: str) -> None:
    world.scenario()
    if verb == "run":
        run("--dry-run", "--spot", "--type=v5e-16")
    else:
        main([verb, *PLACE, "--dry-run"])
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    assert lines
    assert {shlex.split(line)[0] for line in lines} <= {"gcloud", "git"}
    assert world.calls() == []
    if verb == "run":
        text = "\n".join(lines)
        assert "--accelerator-type=v5litepod-16 --runtime-version=v2-alpha-tpuv5-lite" in text
        assert "install '\"'\"'touch prepared'\"'\"''" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["base_output_directory=runs"], "the hosts of a slice share no disk"),
        (["--type=v3-8"], "--type v3-8: expected a type such as v4-32"),
        (["--type=tpu7x-8"], "Ironwood in Compute Engine and GKE only; use pretrain/launch/gke"),
        (["grain_train_mixture_config_path=m.json", "dataset_type=grain", "--prepare="],
         "the hosts do not have m.json"),
        (["learning_rte=1"], "unknown key 'learning_rte'"),
        (["run_name=a\tb"], "a tab or a line break"),
    ],
)  # fmt: skip
def test_bad_input_is_reported_before_anything_is_asked_for(world, words, message: str) -> None:
    world.scenario()
    with pytest.raises(InputError, match=message):
        run(*words)
    assert world.calls() == []


def test_only_a_commit_is_sent(world, checkout, tmp_path, monkeypatch) -> None:
    world.scenario()
    (checkout / "new.yml").write_text(OVERLAY)
    (tmp_path / "tiny.yml").write_text(OVERLAY)
    words = ["--type=v4-32", "--prepare=true", *PLACE]
    with pytest.raises(InputError, match=r"new\.yml is not committed"):
        main(["run", "new.yml", *words])
    with pytest.raises(InputError, match="must lie below the checkout"):
        main(["run", str(tmp_path / "tiny.yml"), *words])
    (checkout / "tiny.yml").write_text(f"{OVERLAY}learning_rate: 1.0\n")
    try:
        with pytest.raises(InputError, match=r"tiny\.yml is not committed"):
            run()
    finally:
        (checkout / "tiny.yml").write_text(OVERLAY)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="not a git checkout"):
        run()
    assert world.calls() == []


def test_words_that_belong_to_another_verb_are_refused(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["stop", *PLACE, "steps=3"])
    assert "unrecognized arguments: steps=3" in capsys.readouterr().err
