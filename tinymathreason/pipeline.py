"""Command: run the stages of a pipeline one after the other, each by the command a user would type.

    python -m tinymathreason.pipeline PIPELINE.yaml

The file names the run's folder and its stages. A finished stage is not run again; an interrupted
one is started again and continues by its own means. `stages/NAME.json` in the run's folder keeps
what was run and what it took, `stages/NAME.log` what it printed.
"""

import argparse
import ctypes
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tinymathreason import cli, provenance
from tinymathreason.cli import InputError
from tinymathreason.config import config, load, read_yaml
from tinymathreason.files import read_json, write_json
from tinymathreason.writes import check_room, writing

PATIENCE = 15.0
"""Seconds to wait for a killed predecessor's processes to end."""
_PR_SET_PDEATHSIG = 1


@config
class Pipeline:
    """A run's folder and its stages."""

    run: Path
    """Folder that holds every output and record of the run."""
    stages: dict[str, str]
    """Commands by name, in order. ``$DATA`` in them is taken from the environment."""
    report: list[str]
    """Commands that write and print what came out, one after the other; they run every time."""
    next: str
    """Command that a user would type next; it is only printed."""


def run(pipeline: Pipeline) -> None:
    """Run what is not finished, then the report.

    Raises `InputError` when a stage fails (its log is named), when a finished stage was run by
    another command or configuration, and when another process works in the same folder.
    """
    stages = {name: _expand(command) for name, command in pipeline.stages.items()}
    records = pipeline.run / "stages"
    check_room(records)
    records.mkdir(parents=True, exist_ok=True)
    with _alone(pipeline.run):
        ran = [_stage(name, words, records, pipeline.run) for name, words in stages.items()]
        reports = [
            subprocess.run(_expand(command), env=_environment(), check=False).returncode
            for command in pipeline.report
        ]
    if not any(ran):
        print(f"Every stage was already finished; start afresh with: rm -r {pipeline.run}")
    if any(reports):
        sys.exit(max(reports) or 1)  # the report has told why, unless a signal ended it
    print(f"Next:\n  {shlex.join(_expand(pipeline.next))}")


def _expand(command: str) -> list[str]:
    """The words of a command, with $DATA replaced."""
    words = shlex.split(command)
    data = os.environ.get("DATA", "")
    if "$DATA" in command and (not data or not Path(data).is_dir()):
        raise InputError(f"DATA={data!r} is no folder of datasets: make realdata DATA=DIR")
    return [word.replace("$DATA", data) for word in words]


def _fingerprint(words: Sequence[str]) -> str:
    """Hash of a command, of the YAML files that it names and of those they inherit."""
    digest = hashlib.sha256(shlex.join(words).encode())
    for word in words:
        file, seen = Path(word), set[Path]()
        while file.suffix in (".yaml", ".yml") and file.is_file() and file not in seen:
            seen.add(file)
            digest.update(file.read_bytes())
            file = file.parent / str(read_yaml(file).get("base_config", ""))
    return digest.hexdigest()


def _stage(name: str, words: list[str], records: Path, run: Path) -> bool:
    """Run one stage unless it is finished; whether it ran."""
    record_path, log_path = records / f"{name}.json", records / f"{name}.log"
    fingerprint = _fingerprint(words)
    record: dict[str, Any] = {"attempts": []}
    if record_path.is_file():
        record = read_json(record_path)
        if record["finished"]:
            if record["fingerprint"] != fingerprint:
                raise InputError(
                    f"{run}: stage {name} was run with another command or configuration; "
                    f"start afresh with: rm -r {run}"
                )
            print(f"{name}: already finished", flush=True)
            return False
        # A killed attempt could not write its end: the last word it logged tells it.
        for attempt in record["attempts"]:
            attempt.setdefault("ended", max(attempt["started"], log_path.stat().st_mtime))
    log_path.touch()
    attempt = {"started": time.time()}
    record.update(
        command=shlex.join(words),
        fingerprint=fingerprint,
        finished=False,
        attempts=[*record["attempts"], attempt],
        commit=provenance.commit(),
    )
    write_json(record_path, record)
    print(f"\n{name}: {shlex.join(words)}\n  log: {log_path}", flush=True)
    status, peak = _call(words, log_path)
    attempt["ended"] = time.time()
    record["finished"] = status == 0
    record["seconds"] = round(sum(a["ended"] - a["started"] for a in record["attempts"]), 1)
    record["peak_bytes"] = max(peak, record.get("peak_bytes", 0))
    write_json(record_path, record)
    if status != 0:
        with writing(log_path), log_path.open("ab") as log:
            log.write(b"\n")  # of a full log, the stage could not tell
        raise InputError(f"stage {name} failed: {_last_line(log_path)} (log: {log_path})")
    print(
        f"{name}: {record['seconds']:.0f} s, peak {record['peak_bytes'] / 2**30:.2f} GiB",
        flush=True,
    )
    return True


def _last_line(log_path: Path) -> str:
    """The last line of a log that is not blank; a progress bar's states count as lines."""
    with log_path.open("rb") as log:
        log.seek(max(0, log_path.stat().st_size - 4096))
        text = log.read().decode("utf-8", errors="replace")
    lines = [line.strip() for line in re.split(r"[\r\n]", text) if line.strip()]
    return lines[-1] if lines else ""


def _call(words: Sequence[str], log_path: Path) -> tuple[int, int]:
    """Run a command into a log; its exit status and the peak resident bytes of its processes.

    A terminal shows the time that passes and what the command says last, such as its progress and
    the time it expects to take. The command dies when this process does.
    """
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
            preexec_fn=_die_with_parent,
        )
    started = time.monotonic()
    try:
        while True:
            # Unlike Popen.wait, wait4 tells the memory of this child alone.
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.2)
            if sys.stdout.isatty():
                line = f"  {time.monotonic() - started:.0f} s  {_last_line(log_path)}"
                width = shutil.get_terminal_size().columns - 1
                print(f"\r{line[:width]:{width}}", end="", flush=True)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        if sys.stdout.isatty():
            print(f"\r{'':{shutil.get_terminal_size().columns - 1}}\r", end="", flush=True)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * 1024


def _environment() -> dict[str, str]:
    """Ours, with this Python first on the path, so that commands read as a user types them."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}


def _die_with_parent() -> None:
    """In the child: have the kernel kill it when its parent dies, even by SIGKILL (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Hold the run's folder; `InputError` when another process does so for `PATIENCE` seconds."""
    with (run / ".lock").open("wb") as lock:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise InputError(
                        f"{run}: another process is working in it; wait for it or stop it"
                    ) from None
                time.sleep(0.2)
        yield


def main(argv: Sequence[str]) -> None:
    """Parse the command line and run the pipeline."""
    parser = argparse.ArgumentParser(
        prog="tinymathreason.pipeline",
        description="Run a pipeline's stages, resuming where it was.",
    )
    parser.add_argument("pipeline", type=Path, help="YAML file; tinymathreason/pipelines has some")
    arguments = parser.parse_args(argv)
    pipeline = load(Pipeline, arguments.pipeline)
    # make dies first when it is killed: without this, the pipeline would go on unseen.
    if "MAKELEVEL" in os.environ:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGTERM, _interrupted)
    run(pipeline)


def _interrupted(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    cli.run(main)
