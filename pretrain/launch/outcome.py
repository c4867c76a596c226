"""What the hosts of a slice report, and how a training ended.

The exit status alone is never believed: upstream also ends with 0 when it saved after a SIGTERM.
"""

import dataclasses
import enum
from collections.abc import Sequence

from pretrain import train
from tinymathreason.cli import InputError

BAD_INPUT = 2
"""Exit status of a command of this project that refuses its input in one line."""


class Outcome(enum.StrEnum):
    """How a training ended; the value is what an operator reads."""

    FINISHED = "finished"
    PREEMPTED = "preempted"
    OUT_OF_MEMORY = "out of memory"
    REFUSED = "refused its input"
    STOPPED = "stopped early"
    CRASHED = "crashed"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """What one host says of its training."""

    name: str
    """The host's own name."""
    kind: str = "absent"
    """absent (this project is not there), idle (never started), running, ended, or lost (it was
    started, does not run and left no exit status: the host was restarted)."""
    status: int | None = None
    """Exit status, when it has ended; 128 + the signal's number when a signal ended it."""
    ended: float = 0.0
    """When it ended, seconds since 1970 by the host's clock."""
    out_of_memory: bool = False
    """It failed, and the last 200 lines of its log hold RESOURCE_EXHAUSTED."""
    stopped: bool = False
    """An operator asked it to stop."""
    log_size: int = 0
    """Bytes of its log."""
    commit: str = ""
    """The commit of its checkout."""
    words: tuple[str, ...] = ()
    """Overlay and ``key=value`` arguments of its training."""


def hosts(text: str) -> list[Host]:
    """The lines that ``host.sh probe`` printed on every host, by name; other lines are left out."""
    found = []
    for line in text.splitlines():
        mark, *fields = line.split("\t")
        if mark != "@host" or not fields:
            continue
        if len(fields) < 8:
            found.append(Host(name=fields[0]))
            continue
        name, kind, status, ended, memory, stopped, size, commit, *words = fields
        found.append(
            Host(
                name=name,
                kind=kind,
                status=None if status == "-" else int(status),
                ended=float(ended),
                out_of_memory=memory == "out_of_memory",
                stopped=stopped == "stopped",
                log_size=int(size),
                commit=commit,
                words=tuple(words),
            )
        )
    if not found:
        raise InputError("no host of the slice answered; run the same command again")
    return sorted(found, key=lambda host: host.name)


def classify(reports: Sequence[Host], step: int, last: int) -> Outcome:
    """How the training on these hosts ended, none of which runs any more; no hosts: they are lost.

    ``step`` is the newest saved one (-1: none), ``last`` the one that a finished run has saved.
    """
    if step >= last:
        return Outcome.FINISHED
    if not reports:
        return Outcome.PREEMPTED
    if any(host.stopped for host in reports):
        # Also with another status: a SIGTERM in the first minute finds nobody to save.
        return Outcome.STOPPED
    if any(host.out_of_memory for host in reports):
        return Outcome.OUT_OF_MEMORY
    if any(host.status == BAD_INPUT for host in reports):
        return Outcome.REFUSED
    if all(host.status in (0, train.PREEMPTED) for host in reports):
        return Outcome.STOPPED
    return Outcome.CRASHED


def cause(reports: Sequence[Host]) -> Host:
    """The host whose log tells why: one host's crash makes the others fail after it.

    A host that lacks memory or refuses its input comes first, then one that was lost, then the one
    that failed first.
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
    """The exit statuses of the hosts, as the end of a line."""
    if not reports:
        return ""
    words = [f"{host.name} {'lost' if host.status is None else host.status}" for host in reports]
    return f"; exit status: {', '.join(words)}"
