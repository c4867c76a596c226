"""Runs the stages that are not finished, keeps a record of each, and then runs the report."""

import fcntl
import hashlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.config import Pipeline
from tinymathreason import provenance
from tinymathreason.cli import InputError
from tinymathreason.config import read_yaml
from tinymathreason.process import call, environment, last_line
from tinymathreason.records.stage import Attempt, Stage
from tinymathreason.writes import check_room, writing

LOCK_TIMEOUT = 15.0
"""Seconds to wait until the processes of a killed pipeline have ended."""


def run(pipeline: Pipeline) -> None:
    """Run the stages that are not finished, then the report.

    Raises `InputError` when a stage fails (the message names its log), when a finished stage was
    run by another command or configuration, and when another process works in the same folder.
    """
    stages = {name: _expand(command) for name, command in pipeline.stages.items()}
    records = pipeline.run / "stages"
    check_room(records)
    records.mkdir(parents=True, exist_ok=True)
    with _lock(pipeline.run):
        ran = [_stage(name, words, records, pipeline.run) for name, words in stages.items()]
        reports = [
            subprocess.run(_expand(command), env=environment(), check=False).returncode
            for command in pipeline.report
        ]
    if not any(ran):
        print(f"Every stage was already finished; start afresh with: rm -r {pipeline.run}")
    if any(reports):
        sys.exit(max(reports) or 1)  # the report has printed why, unless a signal ended it
    print(f"Next:\n  {shlex.join(_expand(pipeline.next))}")


def _expand(command: str) -> list[str]:
    """The words of a command, with $DATA replaced."""
    words = shlex.split(command)
    data = os.environ.get("DATA", "")
    if "$DATA" in command and (not data or not Path(data).is_dir()):
        raise InputError(f"DATA={data!r} is not a folder of datasets: set DATA=DIR")
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
    before: list[Attempt] = []
    peak_before = 0
    if record_path.is_file():
        record = Stage.load(record_path)
        if record.finished:
            if record.fingerprint != fingerprint:
                raise InputError(
                    f"{run}: stage {name} was run with another command or configuration; "
                    f"start afresh with: rm -r {run}"
                )
            print(f"{name}: already finished", flush=True)
            return False
        before, peak_before = [_ended(a, log_path) for a in record.attempts], record.peak_bytes
    log_path.touch()
    started = time.time()
    record = Stage(
        command=shlex.join(words),
        fingerprint=fingerprint,
        finished=False,
        attempts=[*before, Attempt(started=started, ended=None)],
        seconds=_seconds(before),
        peak_bytes=peak_before,
        commit=provenance.commit(),
    )
    record.write(record_path)
    print(f"\n{name}: {shlex.join(words)}\n  log: {log_path}", flush=True)
    ended = call(words, log_path)
    attempts = [*before, Attempt(started=started, ended=time.time())]
    record = record.model_copy(
        update={
            "finished": ended.status == 0,
            "attempts": attempts,
            "seconds": _seconds(attempts),
            "peak_bytes": max(ended.peak_bytes, peak_before),
        }
    )
    record.write(record_path)
    if ended.status != 0:
        with writing(log_path), log_path.open("ab") as log:
            log.write(b"\n")  # fails when the log is full, which the stage itself could not say
        raise InputError(f"stage {name} failed: {last_line(log_path)} (log: {log_path})")
    print(f"{name}: {record.seconds:.0f} s, peak {record.peak_bytes / 2**30:.2f} GiB", flush=True)
    return True


def _ended(attempt: Attempt, log_path: Path) -> Attempt:
    """An earlier attempt. A killed one could not record its end: its log was last written then."""
    if attempt.ended is not None:
        return attempt
    written = log_path.stat().st_mtime
    return Attempt(started=attempt.started, ended=max(attempt.started, written))


def _seconds(attempts: Sequence[Attempt]) -> float:
    """The time of all attempts that have ended."""
    spans = (a.ended - a.started for a in attempts if a.ended is not None)
    return round(max(0.0, sum(spans)), 1)  # the clock of the system may be set back


@contextmanager
def _lock(run: Path) -> Iterator[None]:
    """Lock the run's folder; `InputError` when another process holds it for `LOCK_TIMEOUT`."""
    with (run / ".lock").open("wb") as lock:
        deadline = time.monotonic() + LOCK_TIMEOUT
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
