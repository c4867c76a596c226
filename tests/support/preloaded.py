"""Runs commands in processes forked from one that has imported MaxText, which takes 20 seconds.

The forked process is otherwise as after ``python -m``: it has its own folder, environment,
process group and log, it can be killed, and it ends with the command's exit status.
"""

import contextlib
import functools
import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Process:
    """A running command."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self._status is None:
            self._status = _ask({"poll": self.pid})
        return self._status

    def wait(self) -> int:
        """Wait for the end; returns the exit status."""
        while (status := self.poll()) is None:
            time.sleep(0.02)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal to the process alone, not to its group."""
        os.kill(self.pid, number)


def start(command: Sequence[str], folder: Path, log: Path, environment: dict[str, str]) -> Process:
    """Start ``python -m COMMAND`` in ``folder``; ``log`` gets what it prints.

    ``environment`` is added to that of the tests. Variables that MaxText, jax or torch read while
    they are imported have no effect; DECOUPLE_GCLOUD is TRUE.
    """
    return Process(
        _ask(
            {
                "command": list(command),
                "folder": str(folder.absolute()),
                "log": str(log.absolute()),
                "environment": {**os.environ, "DECOUPLE_GCLOUD": "TRUE", **environment},
            }
        )
    )


def _ask(request: dict[str, Any]) -> Any:
    server = _server()
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    answer = server.stdout.readline()
    assert answer, "the process that has imported MaxText has ended; see stderr"
    return json.loads(answer)


@functools.cache
def _server() -> Any:
    """The process to fork from; it ends with this one, as its standard input then closes."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.preloaded"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "DECOUPLE_GCLOUD": "TRUE"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _serve() -> None:
    """Answer requests, one a line: fork a command, or tell its exit status."""
    requests, answers = sys.stdin, os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # MaxText prints while it is imported
    import maxtext.trainers.pre_train.train  # noqa: F401

    for line in requests:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif (answer := os.fork()) == 0:
            # Its copies of the server's pipes would keep the server's end from being noticed.
            answers.close()
            requests.close()
            _become(**request)
        print(json.dumps(answer), file=answers, flush=True)


def _become(command: list[str], folder: str, log: str, environment: dict[str, str]) -> None:
    """Run the command in this process and end it."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with Path(os.devnull).open() as nothing, Path(log).open("ab") as output:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.argv[1:] = command[1:]
    sys.path[0] = folder
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        _serve()
