"""Decide how a training ended from the reports of its hosts.

The exit status alone is not enough: MaxText also exits with 0 after it saved because of a SIGTERM.
"""

import dataclasses
import enum
from collections.abc import Sequence

from pretrain import train
from tinymathreason.cli import InputError

BAD_INPUT = 2
"""Exit status with which this project's commands refuse wrong input."""


class Outcome(enum.StrEnum):
    """How a training ended; the values are printed."""

    FINISHED = "finished"
    PREEMPTED = "preempted"
    OUT_OF_MEMORY = "out of memory"
    REFUSED = "refused its input"
    STOPPED = "stopped early"
    CRASHED = "crashed"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """The report of one host about its training."""

    name: str
    """The host name."""
    state: str = "absent"
    """State of the training: absent (the project is not installed), idle (never started), running,
    ended, or lost (it is gone without an exit status, because the host was restarted)."""
    status: int | None = None
    """Exit status of a training that has ended; 128 + the number of the signal that ended it."""
    ended: float = 0.0
    """Time of its end, in seconds since 1970 by the host's clock."""
    out_of_memory: bool = False
    """Whether it failed and the last 200 lines of its log contain RESOURCE_EXHAUSTED."""
    stopped: bool = False
    """Whether an operator stopped it."""
    log_size: int = 0
    """Size of its log in bytes."""
    commit: str = ""
    """The commit of its checkout."""
    arguments: tuple[str, ...] = ()
    """Its arguments: overlay and ``key=value`` overrides."""


def hosts(text: str) -> list[Host]:
    """The reports of ``host.sh probe`` of all hosts, sorted by name; other lines are ignored."""
    reports = []
    for line in text.splitlines():
        mark, *fields = line.split("\t")
        if mark != "@host" or not fields:
            continue
        if len(fields) < 8:
            reports.append(Host(name=fields[0]))
            continue
        name, state, status, ended, memory, stopped, size, commit, *arguments = fields
        reports.append(
            Host(
                name=name,
                state=state,
                status=None if status == "-" else int(status),
                ended=float(ended),
                out_of_memory=memory == "out_of_memory",
                stopped=stopped == "stopped",
                log_size=int(size),
                commit=commit,
                arguments=tuple(arguments),
            )
        )
    if not reports:
        raise InputError("no host of the slice answered; run the command again")
    return sorted(reports, key=lambda host: host.name)


def classify(reports: Sequence[Host], step: int, last: int) -> Outcome:
    """How the training ended on these hosts, none of which is running; no hosts: they are lost.

    ``step`` is the newest saved step (-1: none), ``last`` the one that a finished run has saved.
    """
    if step >= last:
        return Outcome.FINISHED
    if not reports:
        return Outcome.PREEMPTED
    if any(host.stopped for host in reports):
        # Whatever the status: a SIGTERM in the first minute ends the process without a save.
        return Outcome.STOPPED
    if any(host.out_of_memory for host in reports):
        return Outcome.OUT_OF_MEMORY
    if any(host.status == BAD_INPUT for host in reports):
        return Outcome.REFUSED
    if all(host.status in (0, train.PREEMPTED) for host in reports):
        return Outcome.STOPPED
    return Outcome.CRASHED


def cause(reports: Sequence[Host]) -> Host:
    """The host whose log shows the reason; the crash of one host makes the others fail too.

    A host that ran out of memory or refused its input comes first, then one that was lost, then
    the one that failed first.
    """
    return min(
        reports,
        key=lambda host: (
            not host.out_of_memory,
            host.status != BAD_INPUT,
            host.status is not None,
            host.status in (0, train.PREEMPTED),
            host.ended,
        ),
    )


def statuses(reports: Sequence[Host]) -> str:
    """The exit statuses of the hosts, to be appended to a line."""
    if not reports:
        return ""
    words = [f"{host.name} {'lost' if host.status is None else host.status}" for host in reports]
    return f"; exit status: {', '.join(words)}"
