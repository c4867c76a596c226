"""Command: train on a TPU slice from a laptop, through Google's gcloud.

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
from pretrain.launch.supervisor import LOG, GivenUpError, Supervisor, bundle_command, say
from tinymathreason import cli
from tinymathreason.cli import InputError

STOP_S = 1200
"""Seconds in which a training must have saved after it was told to stop."""


def run(arguments: argparse.Namespace) -> None:
    """Supervise a training to its end; exit status 75 when an operator stopped it."""
    tpu = named_slice(arguments)
    wanted = plan.checked(arguments)
    tpu.create(wanted.kind, wanted.spot, wanted.wait_s)  # refuses a wrong type before anything
    if arguments.dry_run:
        show(tpu, wanted)
        return
    plan.check_checkout(wanted.words[0])
    supervisor = Supervisor(tpu, wanted)
    delete_it = False
    try:
        found = supervisor.run()
        delete_it = found is Outcome.FINISHED
    except GivenUpError:
        delete_it = True
        raise
    except KeyboardInterrupt:
        say("this command has ended; a training that was started goes on")
        raise
    finally:
        # A slice that an operator stopped or still needs stays, whatever was asked.
        if supervisor.exists and delete_it and arguments.delete_at_end:
            output(tpu.delete())
            say(f"{tpu.name} is deleted")
        elif supervisor.exists:
            bill(tpu)
    if found is Outcome.STOPPED:
        sys.exit(train.PREEMPTED)


def bill(tpu: Slice) -> None:
    """Say that a slice costs money and how to go on or end it."""
    place = f"--name {tpu.name} --zone {tpu.zone} --project {tpu.project}"
    say("what exists on Google Cloud costs money until it is deleted:")
    for verb in ("status", "logs", "stop", "delete"):
        print(f"  python -m pretrain.launch {verb} {place}", flush=True)


def show(tpu: Slice, wanted: Plan) -> None:
    """Print every command of `run`, none of which is run."""
    bundle = Path("tinymathreason.bundle")
    for title, commands in {
        "finished before?": [checkpoint_files(wanted.config)],
        "is there a slice? if not, or if it was lost:": [tpu.describe(), tpu.describe_node()],
        "only where something is left of a lost one:": [tpu.delete()],
        "make one, and look again until it is ACTIVE:": [
            tpu.create(wanted.kind, wanted.spot, wanted.wait_s),
            tpu.describe(),
        ],
        "unless the training runs there already:": [
            tpu.ssh(PROBE),
            bundle_command(bundle),
            tpu.copy(bundle),
            tpu.ssh(install(bundle, wanted.prepare)),
            tpu.ssh(on_host("start", *wanted.words)),
        ],
        "again and again, until it ends:": [
            tpu.describe(),
            tpu.ssh(PROBE),
            tpu.ssh(on_host("log", "0"), worker="0"),
        ],
        "only where some hosts ended long before the others:": [tpu.ssh(on_host("halt"))],
        "how far it came:": [checkpoint_files(wanted.config)],
    }.items():
        print(f"# {title}")
        for command in commands:
            print(shlex.join(command))


def status(arguments: argparse.Namespace) -> None:
    """Print the slice's state, each host's and the newest saved step."""
    tpu = named_slice(arguments)
    if arguments.dry_run:
        print(shlex.join(tpu.describe()), shlex.join(tpu.ssh(PROBE)), sep="\n")
        return
    state = tpu.state()
    print(f"{tpu.name}: {state}")
    if state != "ACTIVE":
        return
    reports = tpu.probe()
    for host in reports:
        ended = "" if host.status is None else f", exit status {host.status}"
        print(f"{host.name}: {host.kind}{ended}")
    progress(reports[0].words)


def progress(words: Sequence[str]) -> None:
    """Print the newest saved step of a host's training."""
    if words:
        config: dict[str, Any] = overlay.load(words[0], words[1:])
        print(f"saved: step {step_reached(config)} of {int(config['steps']) - 1}")


def logs(arguments: argparse.Namespace) -> None:
    """Print the end of one host's log, and with --follow what comes."""
    tpu = named_slice(arguments)
    words = ["tail", "-n", str(arguments.lines), *(["-F"] if arguments.follow else []), LOG]
    command = tpu.ssh(shlex.join(words), worker=str(arguments.worker))
    if arguments.dry_run:
        print(shlex.join(command))
        return
    output(command, shown=True)


def stop(arguments: argparse.Namespace) -> None:
    """Let the training save and end; the slice stays."""
    tpu = named_slice(arguments)
    command = tpu.ssh(on_host("stop"))
    if arguments.dry_run:
        print(shlex.join(command), shlex.join(tpu.ssh(PROBE)), sep="\n")
        return
    output(command)
    reports = tpu.probe()
    begun = time.monotonic()
    while any(host.kind == "running" for host in reports):
        if time.monotonic() - begun > STOP_S:
            # Upstream can miss a signal that arrives just as a step ends.
            raise InputError(
                f"{tpu.name}: still training {STOP_S // 60} minutes after it was told to stop; "
                "tell it again, or delete the slice and lose the steps since the last checkpoint"
            )
        time.sleep(arguments.poll)
        reports = tpu.probe()
    say(f"no host trains any more{outcome.statuses(reports)}")
    progress(reports[0].words)
    bill(tpu)


def delete(arguments: argparse.Namespace) -> None:
    """Delete the slice, whatever runs on it."""
    tpu = named_slice(arguments)
    if arguments.dry_run:
        print(shlex.join(tpu.delete()))
        return
    if tpu.state() == ABSENT:
        print(f"{tpu.name}: there is no such slice")
        return
    output(tpu.delete())
    print(f"{tpu.name} is deleted")


def named_slice(arguments: argparse.Namespace) -> Slice:
    """The slice that the command line names."""
    return Slice(name=arguments.name, zone=arguments.zone, project=arguments.project)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="pretrain.launch",
        description="Train on a TPU slice, through gcloud: start, restart, watch, stop, delete.",
        epilog="A slice costs money from the moment it is ACTIVE until it is deleted.",
    )
    verbs = top.add_subparsers(required=True, metavar="run | status | logs | stop | delete")
    made = {}
    for verb in (run, status, logs, stop, delete):
        first_line = (verb.__doc__ or "").splitlines()[0]
        one = verbs.add_parser(verb.__name__, help=first_line, description=first_line)
        one.set_defaults(verb=verb, overrides=[])
        one.add_argument("--name", required=True, help="name of the slice")
        one.add_argument("--zone", required=True, help="as us-central2-b")
        one.add_argument("--project", required=True, help="Google Cloud project")
        one.add_argument("--dry-run", action="store_true", help="print the commands, run none")
        made[verb.__name__] = one
    one = made["run"]
    one.add_argument(
        "overlay", type=Path, help="YAML file below the checkout; maxtext_configs has some"
    )
    one.add_argument("overrides", nargs="*", metavar="key=value", help="replace MaxText's value")
    one.add_argument("--type", required=True, help="v4-32, v5e-16, v5p-16, v6e-16 or another size")
    one.add_argument("--spot", action="store_true", help="cheaper, and may be taken away")
    one.add_argument(
        "--prepare", default="", metavar="COMMAND",
        help="shell command for every host, in the checkout: brings mixture and tokenizer there",
    )  # fmt: skip
    one.add_argument("--wait", type=float, default=24, metavar="HOURS", help="for a slice (24)")
    one.add_argument(
        "--retries", type=int, default=3, metavar="N",
        help="give up after N failures in a row without a newer checkpoint (3)",
    )  # fmt: skip
    one.add_argument(
        "--delete-at-end", action="store_true",
        help="delete the slice when the training has finished or is given up",
    )  # fmt: skip
    for name in ("run", "stop"):
        made[name].add_argument(
            "--poll", type=float, default=30, metavar="SECONDS", help="between two looks (30)"
        )
    made["logs"].add_argument("--worker", type=int, default=0, metavar="N", help="which host (0)")
    made["logs"].add_argument("--lines", type=int, default=100, metavar="N", help="how many (100)")
    made["logs"].add_argument("--follow", action="store_true", help="until Ctrl-C")
    return top


def main(argv: Sequence[str]) -> None:
    """Parse the command line and do what its first word says."""
    top = parser()
    # argparse gives ``key=value`` words that come after an option back as unknown.
    arguments, rest = top.parse_known_args(argv)
    unknown = [word for word in rest if arguments.verb is not run or word.startswith("-")]
    if unknown:
        top.error(f"unrecognized arguments: {' '.join(unknown)}")
    arguments.overrides = [*arguments.overrides, *rest]
    arguments.verb(arguments)


if __name__ == "__main__":
    cli.run(main)
