"""Bring one training to its last step: make the slice, start, follow, start again, or give up."""

import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Container
from pathlib import Path

from pretrain import run
from pretrain.launch import outcome
from pretrain.launch.outcome import Host, Outcome
from pretrain.launch.plan import Plan
from pretrain.launch.slice import (
    ABSENT,
    GONE,
    NODE_GONE,
    CommandError,
    Slice,
    install,
    on_host,
    output,
    step_reached,
)
from tinymathreason.cli import InputError

GRACE_POLLS = 20
"""Polls for which hosts may outlive the first that ended; the coordinator of jax needs minutes to
notice a lost one. Those still running then are killed."""


LEAVING = {"SUSPENDING", "DELETING"}
"""States of a queued resource from which nothing can be done but wait."""

WAITING = {"STATE_UNSPECIFIED", "CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING"}
"""States of a queued resource before its slice is there."""

LOG = "tinymathreason.state/log"
"""The training's log in the home of a host."""


class SliceGoneError(Exception):
    """The slice was preempted, or its queued resource is gone."""


class GivenUpError(InputError):
    """The training has ended before its last step and is not started again."""


def bundle_command(bundle: Path) -> list[str]:
    """Command: pack the commit of the current folder's checkout, with its history."""
    return ["git", "bundle", "create", "--quiet", str(bundle), "HEAD"]


def say(text: str) -> None:
    """Print one line with the time of day, at once."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


class Supervisor:
    """Keeps ``plan`` going on ``tpu`` until it has ended; holds nothing that a second one needs."""

    def __init__(self, tpu: Slice, plan: Plan) -> None:
        self.tpu = tpu
        self.plan = plan
        self.last = run.last_step(plan.config)
        self.exists = False
        """Something was asked of Google Cloud, or found there, that costs money."""
        self.log_offset = 0
        self.failures = 0
        self.failed_at: int | None = None

    def run(self) -> Outcome:
        """Return FINISHED, or STOPPED when an operator asked for it.

        Raises `GivenUpError` for what a restart cannot mend and after too many failures, another
        `InputError` when there is no slice to be had.
        """
        if step_reached(self.plan.config) >= self.last:
            say(f"finished before: step {self.last} is saved; nothing is started")
            return Outcome.FINISHED
        while True:
            try:
                self.ready()
                if not self.adopt():
                    self.start()
                reports = self.follow()
            except SliceGoneError:
                reports = []
            except CommandError as error:
                if not self.exists:
                    raise
                self.failed(str(error), self.patiently(self.saved))
                continue
            step = self.patiently(self.saved)
            found = outcome.classify(reports, step, self.last)
            by_operator = any(host.stopped for host in reports)
            failed = found in (Outcome.CRASHED, Outcome.STOPPED) and not by_operator
            if failed and self.patiently(self.gone):
                # The first hosts of a preempted slice fail before its state says so.
                found = Outcome.PREEMPTED
            say(f"{found}; saved: step {step} of {self.last}{outcome.statuses(reports)}")
            if found is Outcome.FINISHED or by_operator:
                return found
            if found is not Outcome.PREEMPTED:
                self.judge(found, outcome.cause(reports), step)

    def judge(self, found: Outcome, host: Host, step: int) -> None:
        """Raise `GivenUpError` when ``found`` is final; return when starting again may help."""
        if found is not Outcome.STOPPED:
            print(self.tail(host), flush=True)
        if found is Outcome.OUT_OF_MEMORY:
            raise GivenUpError(
                f"out of memory on {host.name}; not started again: see what fits with "
                f"python -m pretrain.preflight {shlex.join(self.plan.words)}"
            )
        if found is Outcome.REFUSED:
            raise GivenUpError(f"{host.name} refused its input, in the last line above; mend it")
        ended = "no exit status" if host.status is None else f"exit status {host.status}"
        self.failed(f"{found} with {ended} on {host.name}", step)

    def failed(self, what: str, step: int) -> None:
        """Count a failure; `GivenUpError` at the last one that is allowed without progress."""
        self.failures = self.failures + 1 if step == self.failed_at else 1
        self.failed_at = step
        count = f"failure {self.failures} of {self.plan.retries} at step {step} without progress"
        if self.failures >= self.plan.retries:
            raise GivenUpError(f"{what}: {count}; given up")
        say(f"{what}: {count}; once more")
        time.sleep(self.plan.poll_s)

    def patiently[T](self, look: Callable[[], T]) -> T:
        """What ``look`` returns, however long the network fails; the training does not need it."""
        trouble = ""
        while True:
            try:
                return look()
            except CommandError as error:
                if str(error) != trouble:
                    trouble = str(error)
                    say(f"cannot look, trying again: {trouble}")
                time.sleep(self.plan.poll_s)

    def saved(self) -> int:
        """`step_reached` of this training."""
        return step_reached(self.plan.config)

    def gone(self) -> bool:
        """Whether the slice is lost, by its queued resource or its node."""
        return self.tpu.state() in GONE or self.tpu.node_state() in NODE_GONE

    def ready(self) -> None:
        """Return when the slice is active; what is left of a lost one makes way for a new one."""
        state = self.wait(self.tpu.state(), LEAVING)
        self.exists = self.exists or state != ABSENT
        if state in GONE or (state == "ACTIVE" and self.tpu.node_state() in NODE_GONE):
            if state != ABSENT:
                say(f"{self.tpu.name} is lost ({state}): deleting what is left of it")
                output(self.tpu.delete())
            say(f"asking for {self.tpu.name}, a {self.plan.kind} in {self.tpu.zone}")
            output(self.tpu.create(self.plan.kind, self.plan.spot, self.plan.wait_s))
            self.exists = True
            state = self.tpu.state()
        state = self.wait(state, WAITING)
        if state != "ACTIVE":
            reason = output(self.tpu.describe("state.failedData.error.message")).decode().strip()
            raise InputError(f"{self.tpu.name} is {state} and not ACTIVE: {reason or 'no reason'}")
        say(f"{self.tpu.name} is ACTIVE")

    def wait(self, state: str, through: Container[str]) -> str:
        """The first state that is not one of ``through``; tells each as it comes.

        Raises `InputError` after ``wait_s``, and deletes the request, which would else be served,
        and paid for, when nobody looks.
        """
        deadline = time.monotonic() + self.plan.wait_s
        shown = ""
        while state in through:
            if time.monotonic() > deadline:
                output(self.tpu.delete())
                self.exists = False
                raise InputError(
                    f"{self.tpu.name} was still {state} after --wait of "
                    f"{self.plan.wait_s / 3600:g} hours; the request is deleted"
                )
            if state != shown:
                say(f"{self.tpu.name} is {state}")
                shown = state
            time.sleep(self.plan.poll_s)
            state = self.patiently(self.tpu.state)
        return state

    def adopt(self) -> bool:
        """Whether a training runs on the slice already, which is then followed and not started."""
        running = [host for host in self.tpu.probe() if host.kind == "running"]
        if not running:
            return False
        host = running[0]
        if host.words != self.plan.words:
            raise InputError(
                f"{self.tpu.name} runs another training: {shlex.join(host.words)}; stop it first"
            )
        say(f"already running on {len(running)} hosts, commit {host.commit[:12]}: following it")
        self.log_offset = host.log_size
        return True

    def start(self) -> None:
        """Install this checkout's commit on every host and start the training there."""
        with tempfile.TemporaryDirectory() as folder:
            bundle = Path(folder) / "tinymathreason.bundle"
            output(bundle_command(bundle))
            say("installing on every host: some minutes")
            output(self.tpu.copy(bundle))
            output(self.tpu.ssh(install(bundle, self.plan.prepare)))
        output(self.tpu.ssh(on_host("start", *self.plan.words)))
        self.log_offset = 0
        say(f"started: {shlex.join(['python', '-m', 'maxtext.train', *self.plan.words])}")

    def follow(self) -> list[Host]:
        """Show the first host's log until no host trains any more; the hosts' last reports.

        Raises `SliceGoneError` when the slice is. A connection that breaks is tried again for ever:
        the training does not need it.
        """
        uneven = 0
        while True:
            try:
                state = self.tpu.state()
                if state == "DELETING":
                    raise InputError(f"{self.tpu.name} is being deleted by someone: not made again")
                if state in GONE:
                    raise SliceGoneError
                reports = self.tpu.probe()
                self.show_log()
                running = sum(host.kind == "running" for host in reports)
                if not running:
                    return reports
                uneven = uneven + 1 if running < len(reports) else 0
                if uneven > GRACE_POLLS:
                    output(self.tpu.ssh(on_host("halt")))
            except CommandError as error:
                if self.patiently(self.gone):
                    raise SliceGoneError from error
                say(f"cannot look at the training, which goes on: {error}")
            time.sleep(self.plan.poll_s)

    def show_log(self) -> None:
        """Print what the first host's log has grown by."""
        new = output(self.tpu.ssh(on_host("log", str(self.log_offset)), worker="0"))
        self.log_offset += len(new)
        sys.stdout.write(new.decode(errors="replace"))
        sys.stdout.flush()

    def tail(self, host: Host) -> str:
        """The last lines of a host's log."""
        command = f'test "$(hostname)" != {shlex.quote(host.name)} || tail -n 30 {LOG}'
        try:
            lines = output(self.tpu.ssh(command)).decode(errors="replace").rstrip()
        except CommandError as error:
            lines = f"cannot be read: {error}"
        return f"--- the last lines of {host.name}, which tell why\n{lines}\n---"
