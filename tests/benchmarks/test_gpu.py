"""One command runs all parts that need a GPU: in order, within limits, whatever a part does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_parts
from benchmarks.gpu import JsonLines, run, shares
from benchmarks.gpu_parts import GpuPart
from tinymathreason.cli import InputError


def part(name: str, code: str, weight: float = 1, least: float = 0, **environment: str) -> GpuPart:
    """A stand-in that runs ``code``."""
    command = [sys.executable, "-S", "-c", code]
    return GpuPart(name=name, command=command, weight=weight, least=least, environment=environment)


def say(**figures: object) -> str:
    return f"print({json.dumps(json.dumps(figures))}, flush=True);"


@pytest.fixture
def report(tmp_path, monkeypatch) -> JsonLines:
    monkeypatch.setattr(gpu, "GRACE", 0.2)
    return JsonLines(tmp_path / "lines.jsonl")


def printed(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_parts_run_in_order_and_a_failure_is_not_the_end(report, tmp_path, capsys) -> None:
    failing = "import sys; print('half a result'); sys.exit('card: out of memory')"
    parts = [
        part("one", say(speed=3, part="x") + say(speed=4)),
        part("two", say(kept=True) + failing),
        part("three", "import os;" + say(mode="x") + "print(os.environ['KEY'])", KEY="value"),
    ]
    assert run(parts, 60, report, tmp_path) == ["finished", "failed", "finished"]
    lines = printed(capsys)
    assert [line["part"] for line in lines] == ["one", "one", "one", "two", "two", "three", "three"]
    assert [line.get("speed") for line in lines[:3]] == [3, 4, None]
    assert lines[3]["kept"]
    assert lines[4]["status"] == "failed"
    assert lines[4]["error"].startswith("exit status 1; ")
    assert {"half a result", "card: out of memory"} == {
        line
        for line in (tmp_path / "two.log").read_text().splitlines()
        if line in lines[4]["error"]
    }
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    assert (tmp_path / "three.log").read_text() == "value\n"
    written = (tmp_path / "lines.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in written] == lines


HANGS = """
import subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
one = subprocess.Popen([sys.executable, "-S", "-c", child])
two = subprocess.Popen([sys.executable, "-S", "-c", child], start_new_session=True)
print('{"pids": [%d, %d]}' % (one.pid, two.pid), flush=True)
print("waiting", file=sys.stderr, flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pids: list[int]) -> bool:
    end = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, pids))


def test_a_part_that_hangs_is_stopped_with_all_its_processes(report, tmp_path, capsys) -> None:
    parts = [part("hangs", HANGS, weight=1), part("next", say(ran=True), weight=9)]
    assert run(parts, 40, report, tmp_path) == ["stopped", "finished"]
    lines = printed(capsys)
    assert lines[1]["status"] == "stopped"
    assert lines[1]["error"] == "took longer than 4 s; waiting"
    assert lines[2]["ran"]
    assert wait_until_gone(lines[0]["pids"])


def test_what_one_part_leaves_is_for_the_others() -> None:
    parts = [part("a", "", 100), part("b", "", 50), part("c", "", 50)]
    assert shares(parts, 480) == 240
    assert shares(parts[1:], 400) == 200  # the first one needed only 80
    assert shares(parts[2:], 30) == 30


def test_a_part_without_time_is_said_to_be_skipped(report, tmp_path, capsys) -> None:
    parts = [part("long", say(ran=1), least=400), part("short", say(ran=2), least=1)]
    assert run(parts, 60, report, tmp_path) == ["skipped", "finished"]
    first, *others = printed(capsys)
    assert first["status"] == "skipped"
    assert "30 s are left for it, and it needs 400 s" in first["error"]
    assert others[0]["ran"] == 2


CUT = """
import sys
from pathlib import Path
from benchmarks import gpu, gpu_parts
from tests.benchmarks.test_gpu import HANGS, part, say
from tinymathreason import cli
gpu_parts.parts = lambda *_: [part("quick", say(speed=1)), part("hangs", HANGS)]
cli.run(gpu.main)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_cut_short_has_told_what_it_knew(tmp_path, number, status) -> None:
    output = tmp_path / "lines.jsonl"
    command = [sys.executable, "-c", CUT, "--device", "cpu", "--home", str(tmp_path / "home")]
    with subprocess.Popen(
        [*command, "--output", str(output)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        lines = [json.loads(process.stdout.readline()) for _ in range(4)]
        assert [line["part"] for line in lines] == ["host", "quick", "quick", "hangs"]
        assert lines[0]["card"] is None
        assert lines[0]["versions"]["python"]
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait() == status
        assert "Traceback" not in process.stderr.read()
    assert json.loads(rest)["status"] == "interrupted"
    assert len(output.read_text().splitlines()) == 5
    assert wait_until_gone(lines[3]["pids"])


def test_the_status_says_whether_all_finished(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(gpu, "GRACE", 0.2)
    listed = [part("good", say(speed=1)), part("bad", "raise SystemExit(3)")]
    monkeypatch.setattr(gpu_parts, "parts", lambda *_: listed)
    arguments = ["--device", "cpu", "--home", str(tmp_path / "home")]
    gpu.main([*arguments, "--only", "good"])
    assert printed(capsys)[-1] == {"part": "all", "at": pytest.approx(0, abs=60), "status": "ended",
                                "finished": 1}  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        gpu.main(arguments)
    assert ended.value.code == 1
    assert printed(capsys)[-2]["error"] == "exit status 3; its log is empty"
    lines = [json.loads(line) for line in (tmp_path / "home.jsonl").read_text().splitlines()]
    assert [line["part"] for line in lines].count("host") == 2  # both runs are in the file


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "traning"], "no part 'traning'; did you mean"),
        (["--minutes", "0"], "--minutes: expected more than 0"),
        (["--data", "/nowhere"], "--data /nowhere: no such folder"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, arguments, words) -> None:
    with pytest.raises(InputError, match=words):
        gpu.main(["--device", "cpu", "--home", str(tmp_path / "home"), *arguments])


def test_without_a_card_it_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="no NVIDIA GPU"):
        gpu.main(["--home", str(tmp_path / "home")])


SMI = """#!/bin/sh
echo "NVIDIA H100 80GB HBM3, 570.00, 81559, 345, 1980, 2619, 700.00, 9.0"
"""


def test_the_first_line_describes_the_card(tmp_path, monkeypatch) -> None:
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    host = gpu_parts.describe_host("cuda")
    assert host["card"]["name"] == "NVIDIA H100 80GB HBM3"
    assert host["card"]["memory.total"] == "81559"
    assert {"torch", "jax", "maxtext"} <= host["versions"].keys()


def test_every_part_names_a_command_that_is_there(tmp_path) -> None:
    for device in ("cuda", "cpu"):
        for listed in gpu_parts.parts(device, tmp_path, tmp_path):
            name = listed.command[listed.command.index("-m") + 1]
            assert Path(*name.split(".")).with_suffix(".py").is_file()
            wanted = {"--device", device} if listed.name != "attention" else {"--hardware"}
            assert wanted <= set(listed.command)
