"""Supervise one training to its last step: create the slice, start, follow, restart or give up."""

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
"""Polls during which hosts may outlive the first one that ended, before they are killed. jax's
coordinator needs minutes to notice a lost host."""

LEAVING = {"SUSPENDING", "DELETING"}
"""States of a queued resource that is about to end; nothing can be done until it has."""

WAITING = {"STATE_UNSPECIFIED", "CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING"}
"""States of a queued resource whose slice does not exist yet."""

LOG = "tinymathreason.state/log"
"""The training's log, relative to the home directory of a host."""


class SliceGoneError(Exception):
    """The slice was preempted, or its queued resource no longer exists."""


class GivenUpError(InputError):
    """The training ended before its last step and will not be restarted."""


def bundle_command(bundle: Path) -> list[str]:
    """The command that packs the current commit of the checkout, with its history."""
    return ["git", "bundle", "create", "--quiet", str(bundle), "HEAD"]


def log(text: str) -> None:
    """Print a line with the time of day, without buffering."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


class Supervisor:
    """Keeps the training of ``plan`` running on ``tpu`` until it has ended.

    All lasting state is on the slice and in the bucket, so another supervisor can take over.
    """

    def __init__(self, tpu: Slice, plan: Plan) -> None:
        self.tpu = tpu
        self.plan = plan
        self.last_step = run.last_step(plan.config)
        self.exists = False
        """Whether there is something on Google Cloud that costs money."""
        self.log_offset = 0
        self.failures = 0
        self.failed_at: int | None = None

    def run(self) -> Outcome:
        """Return FINISHED, or STOPPED when an operator stopped the training.

        Raises `GivenUpError` when a restart cannot help and after too many failures, another
        `InputError` when no slice is available.
        """
        if step_reached(self.plan.config) >= self.last_step:
            log(f"already finished: step {self.last_step} is saved; nothing to start")
            return Outcome.FINISHED
        while True:
            try:
                self.prepare_slice()
                if not self.adopt():
                    self.start()
                reports = self.follow()
            except SliceGoneError:
                reports = []
            except CommandError as error:
                if not self.exists:
                    raise
                self.count_failure(str(error), self.retry(self.saved))
                continue
            step = self.retry(self.saved)
            result = outcome.classify(reports, step, self.last_step)
            by_operator = any(host.stopped for host in reports)
            failed = result in (Outcome.CRASHED, Outcome.STOPPED) and not by_operator
            if failed and self.retry(self.gone):
                # Hosts of a preempted slice can fail before the slice's state shows it.
                result = Outcome.PREEMPTED
            log(f"{result}; saved: step {step} of {self.last_step}{outcome.statuses(reports)}")
            if result is Outcome.FINISHED or by_operator:
                return result
            if result is not Outcome.PREEMPTED:
                self.check_restart(result, outcome.cause(reports), step)

    def check_restart(self, result: Outcome, host: Host, step: int) -> None:
        """Raise `GivenUpError` when ``result`` is final; return when a restart may help."""
        if result is not Outcome.STOPPED:
            print(self.tail(host), flush=True)
        if result is Outcome.OUT_OF_MEMORY:
            raise GivenUpError(
                f"out of memory on {host.name}; not restarted; check what fits with "
                f"python -m pretrain.preflight {shlex.join(self.plan.arguments)}"
            )
        if result is Outcome.REFUSED:
            raise GivenUpError(
                f"{host.name} refused its input; correct it (the last line above names the error)"
            )
        ended = "no exit status" if host.status is None else f"exit status {host.status}"
        self.count_failure(f"{result} with {ended} on {host.name}", step)

    def count_failure(self, what: str, step: int) -> None:
        """Count a failure. Raises `GivenUpError` at the last one allowed without progress."""
        self.failures = self.failures + 1 if step == self.failed_at else 1
        self.failed_at = step
        count = f"failure {self.failures} of {self.plan.retries} at step {step} without progress"
        if self.failures >= self.plan.retries:
            raise GivenUpError(f"{what}: {count}; giving up")
        log(f"{what}: {count}; restarting")
        time.sleep(self.plan.poll_s)

    def retry[T](self, look: Callable[[], T]) -> T:
        """The result of ``look``, repeated while the network fails; the training goes on anyway."""
        reported = ""
        while True:
            try:
                return look()
            except CommandError as error:
                if str(error) != reported:
                    reported = str(error)
                    log(f"cannot check the slice, trying again: {reported}")
                time.sleep(self.plan.poll_s)

    def saved(self) -> int:
        """The newest saved step of this training, -1 when there is none."""
        return step_reached(self.plan.config)

    def gone(self) -> bool:
        """Whether the slice is lost, by the state of its queued resource or its node."""
        return self.tpu.state() in GONE or self.tpu.node_state() in NODE_GONE

    def prepare_slice(self) -> None:
        """Return when the slice is active; replace a lost one."""
        state = self.wait(self.tpu.state(), LEAVING)
        self.exists = self.exists or state != ABSENT
        if state in GONE or (state == "ACTIVE" and self.tpu.node_state() in NODE_GONE):
            if state != ABSENT:
                log(f"{self.tpu.name} is lost ({state}): deleting its remains")
                output(self.tpu.delete())
            log(f"requesting {self.tpu.name}, a {self.plan.tpu_type} in {self.tpu.zone}")
            output(self.tpu.create(self.plan.tpu_type, self.plan.spot, self.plan.wait_s))
            self.exists = True
            state = self.tpu.state()
        state = self.wait(state, WAITING)
        if state != "ACTIVE":
            reason = output(self.tpu.describe("state.failedData.error.message")).decode().strip()
            raise InputError(
                f"{self.tpu.name} is {state} and not ACTIVE: {reason or 'no reason given'}"
            )
        log(f"{self.tpu.name} is ACTIVE")

    def wait(self, state: str, through: Container[str]) -> str:
        """Wait until the state is none of ``through``, logging every change; the final state.

        Raises `InputError` after ``wait_s``. It then also deletes the request, which could
        otherwise be served, and cost money, while nobody is watching.
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
                log(f"{self.tpu.name} is {state}")
                shown = state
            time.sleep(self.plan.poll_s)
            state = self.retry(self.tpu.state)
        return state

    def adopt(self) -> bool:
        """Whether this training runs on the slice already; it then needs no start."""
        running = [host for host in self.tpu.probe() if host.state == "running"]
        if not running:
            return False
        host = running[0]
        if host.arguments != self.plan.arguments:
            raise InputError(
                f"{self.tpu.name} runs another training: {shlex.join(host.arguments)}; "
                "stop it first"
            )
        log(f"already running on {len(running)} hosts, commit {host.commit[:12]}; following it")
        self.log_offset = host.log_size
        return True

    def start(self) -> None:
        """Install the current commit on every host and start the training there."""
        with tempfile.TemporaryDirectory() as folder:
            bundle = Path(folder) / "tinymathreason.bundle"
            output(bundle_command(bundle))
            log("installing on every host; this takes some minutes")
            output(self.tpu.copy(bundle))
            output(self.tpu.ssh(install(bundle, self.plan.prepare)))
        output(self.tpu.ssh(on_host("start", *self.plan.arguments)))
        self.log_offset = 0
        log(f"started: {shlex.join(['python', '-m', 'maxtext.train', *self.plan.arguments])}")

    def follow(self) -> list[Host]:
        """Print the first host's log until the training has ended on all hosts; their last reports.

        Raises `SliceGoneError` when the slice is lost. Broken connections are retried without
        limit, because the training does not depend on them.
        """
        uneven = 0
        while True:
            try:
                state = self.tpu.state()
                if state == "DELETING":
                    raise InputError(f"{self.tpu.name} is being deleted; not creating it again")
                if state in GONE:
                    raise SliceGoneError
                reports = self.tpu.probe()
                self.show_log()
                running = sum(host.state == "running" for host in reports)
                if not running:
                    return reports
                uneven = uneven + 1 if running < len(reports) else 0
                if uneven > GRACE_POLLS:
                    output(self.tpu.ssh(on_host("halt")))
            except CommandError as error:
                if self.retry(self.gone):
                    raise SliceGoneError from error
                log(f"cannot check the training, which continues: {error}")
            time.sleep(self.plan.poll_s)

    def show_log(self) -> None:
        """Print the new part of the first host's log."""
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
        return f"--- the last lines of {host.name}, with the reason\n{lines}\n---"
