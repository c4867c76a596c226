"""Command: train on a TPU slice from any machine, through Google's gcloud.

python -m pretrain.launch run OVERLAY.yml --name NAME --zone ZONE --project P --type v4-32
"""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pretrain import overlay, train
from pretrain.launch import outcome, plan
from pretrain.launch.outcome import Outcome
from pretrain.launch.plan import Plan
from pretrain.launch.slice import (
    ABSENT,
    PROBE,
    Slice,
    checkpoint_files,
    install,
    on_host,
    output,
    step_reached,
)
from pretrain.launch.supervisor import LOG, GivenUpError, Supervisor, bundle_command, log
from tinymathreason import cli
from tinymathreason.arguments import parse_arguments
from tinymathreason.cli import InputError

STOP_TIMEOUT = 1200
"""Seconds within which a training must save and end after ``stop``."""


def run(arguments: argparse.Namespace) -> None:
    """Supervise a training to its end; exit status 75 when an operator stopped it."""
    tpu = named_slice(arguments)
    planned = plan.from_arguments(arguments)
    tpu.create(planned.tpu_type, planned.spot, planned.wait_s)  # refuses a wrong type early
    if arguments.dry_run:
        print_commands(tpu, planned)
        return
    plan.check_checkout(planned.arguments[0])
    supervisor = Supervisor(tpu, planned)
    needless = False
    try:
        result = supervisor.run()
        needless = result is Outcome.FINISHED
    except GivenUpError:
        needless = True
        raise
    except KeyboardInterrupt:
        log("this command has ended; a training that was started continues")
        raise
    finally:
        # A slice that is still needed, or that an operator stopped, is never deleted.
        if supervisor.exists and needless and arguments.delete_at_end:
            output(tpu.delete())
            log(f"{tpu.name} is deleted")
        elif supervisor.exists:
            warn_of_costs(tpu)
    if result is Outcome.STOPPED:
        sys.exit(train.PREEMPTED)


def warn_of_costs(tpu: Slice) -> None:
    """Warn that the slice costs money, with the commands to continue or end."""
    place = f"--name {tpu.name} --zone {tpu.zone} --project {tpu.project}"
    log("the slice costs money until it is deleted:")
    for verb in ("status", "logs", "stop", "delete"):
        print(f"  python -m pretrain.launch {verb} {place}", flush=True)


def print_commands(tpu: Slice, planned: Plan) -> None:
    """Print every command of `run` without running it."""
    bundle = Path("tinymathreason.bundle")
    for title, commands in {
        "is the training finished already?": [checkpoint_files(planned.config)],
        "is there a slice? if not, or if it was lost:": [tpu.describe(), tpu.describe_node()],
        "only if something is left of a lost slice:": [tpu.delete()],
        "create one, and check it until it is ACTIVE:": [
            tpu.create(planned.tpu_type, planned.spot, planned.wait_s),
            tpu.describe(),
        ],
        "unless the training runs there already:": [
            tpu.ssh(PROBE),
            bundle_command(bundle),
            tpu.copy(bundle),
            tpu.ssh(install(bundle, planned.prepare)),
            tpu.ssh(on_host("start", *planned.arguments)),
        ],
        "repeatedly, until the training ends:": [
            tpu.describe(),
            tpu.ssh(PROBE),
            tpu.ssh(on_host("log", "0"), worker="0"),
        ],
        "only if some hosts ended long before the others:": [tpu.ssh(on_host("halt"))],
        "which step was reached?": [checkpoint_files(planned.config)],
    }.items():
        print(f"# {title}")
        for command in commands:
            print(shlex.join(command))


def status(arguments: argparse.Namespace) -> None:
    """Print the states of the slice and its hosts, and the newest saved step."""
    tpu = named_slice(arguments)
    if dry_run(arguments, tpu.describe(), tpu.ssh(PROBE)):
        return
    state = tpu.state()
    print(f"{tpu.name}: {state}")
    if state != "ACTIVE":
        return
    hosts = tpu.probe()
    for host in hosts:
        ended = "" if host.status is None else f", exit status {host.status}"
        print(f"{host.name}: {host.state}{ended}")
    print_saved_step(hosts[0].arguments)


def print_saved_step(training: Sequence[str]) -> None:
    """Print the newest saved step of a training, given by its overlay and overrides."""
    if training:
        config: dict[str, Any] = overlay.load(training[0], training[1:])
        print(f"saved: step {step_reached(config)} of {int(config['steps']) - 1}")


def logs(arguments: argparse.Namespace) -> None:
    """Print the end of one host's log and, with --follow, new lines as they come."""
    tpu = named_slice(arguments)
    words = ["tail", "-n", str(arguments.lines), *(["-F"] if arguments.follow else []), LOG]
    command = tpu.ssh(shlex.join(words), worker=str(arguments.worker))
    if dry_run(arguments, command):
        return
    output(command, shown=True)


def stop(arguments: argparse.Namespace) -> None:
    """Let the training save and end; the slice stays."""
    tpu = named_slice(arguments)
    command = tpu.ssh(on_host("stop"))
    if dry_run(arguments, command, tpu.ssh(PROBE)):
        return
    output(command)
    hosts = tpu.probe()
    started = time.monotonic()
    while any(host.state == "running" for host in hosts):
        if time.monotonic() - started > STOP_TIMEOUT:
            # MaxText can miss a signal that arrives just as a step ends.
            raise InputError(
                f"{tpu.name}: still training {STOP_TIMEOUT // 60} minutes after the stop signal; "
                "run stop again, or delete the slice and lose the steps since the last checkpoint"
            )
        time.sleep(arguments.poll)
        hosts = tpu.probe()
    log(f"the training has ended on all hosts{outcome.statuses(hosts)}")
    print_saved_step(hosts[0].arguments)
    warn_of_costs(tpu)


def delete(arguments: argparse.Namespace) -> None:
    """Delete the slice, even while it trains."""
    tpu = named_slice(arguments)
    if dry_run(arguments, tpu.delete()):
        return
    if tpu.state() == ABSENT:
        print(f"{tpu.name}: there is no such slice")
        return
    output(tpu.delete())
    print(f"{tpu.name} is deleted")


def dry_run(arguments: argparse.Namespace, *commands: Sequence[str]) -> bool:
    """Whether the commands are only to be printed, which this then does."""
    if arguments.dry_run:
        print(*map(shlex.join, commands), sep="\n")
    return bool(arguments.dry_run)


def named_slice(arguments: argparse.Namespace) -> Slice:
    """The slice that the command line names."""
    return Slice(name=arguments.name, zone=arguments.zone, project=arguments.project)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    top = argparse.ArgumentParser(
        prog="pretrain.launch",
        description="Train on a TPU slice through gcloud: start, restart, watch, stop, delete.",
        epilog="A slice costs money from the moment it is ACTIVE until it is deleted.",
    )
    verbs = top.add_subparsers(required=True, metavar="run | status | logs | stop | delete")
    parsers = {}
    for verb in (run, status, logs, stop, delete):
        first_line = (verb.__doc__ or "").splitlines()[0]
        one = verbs.add_parser(verb.__name__, help=first_line, description=first_line)
        one.set_defaults(verb=verb, overrides=[])
        one.add_argument("--name", required=True, help="name of the slice")
        one.add_argument("--zone", required=True, help="zone, such as us-central2-b")
        one.add_argument("--project", required=True, help="Google Cloud project")
        one.add_argument("--dry-run", action="store_true", help="only print the commands")
        parsers[verb.__name__] = one
    one = parsers["run"]
    one.add_argument(
        "overlay", type=Path, help="YAML file in the checkout, such as one of maxtext_configs"
    )
    one.add_argument("overrides", nargs="*", metavar="--key value", help="override a MaxText key")
    one.add_argument("--type", required=True, help="TPU type: v4-32, v5e-16, v5p-16, v6e-16, ...")
    one.add_argument("--spot", action="store_true", help="cheaper, but may be preempted")
    one.add_argument(
        "--prepare", default="", metavar="COMMAND",
        help="shell command for every host, in its checkout, to fetch mixture and tokenizer",
    )  # fmt: skip
    one.add_argument(
        "--wait", type=float, default=24, metavar="HOURS", help="how long to wait for a slice (24)"
    )
    one.add_argument(
        "--retries", type=int, default=3, metavar="N",
        help="give up after N failures in a row without a newer checkpoint (3)",
    )  # fmt: skip
    one.add_argument(
        "--delete-at-end", action="store_true",
        help="delete the slice when the training has finished or is given up",
    )  # fmt: skip
    for name in ("run", "stop"):
        parsers[name].add_argument(
            "--poll", type=float, default=30, metavar="SECONDS", help="time between checks (30)"
        )
    logs_parser = parsers["logs"]
    logs_parser.add_argument("--worker", type=int, default=0, metavar="N", help="host number (0)")
    logs_parser.add_argument("--lines", type=int, default=100, metavar="N", help="lines (100)")
    logs_parser.add_argument("--follow", action="store_true", help="print new lines until Ctrl-C")
    return top


def main(argv: Sequence[str]) -> None:
    """Parse the command line and run its verb."""
    top = parser()
    arguments = parse_arguments(top, argv)
    if arguments.overrides and arguments.verb is not run:
        top.error(f"unrecognized arguments: {' '.join(arguments.overrides)}")
    arguments.verb(arguments)


if __name__ == "__main__":
    cli.run(main)
