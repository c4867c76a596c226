"""Command: plan and run a ladder of small runs that foretells a large one.

python -m pretrain.ladder plan|run LADDER.yaml [key=value ...]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pretrain.ladder.config import Ladder
from tinymathreason import cli
from tinymathreason.config import load


def main(argv: Sequence[str]) -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(
        prog="pretrain.ladder", description="Small runs that foretell the loss of a large one."
    )
    parser.add_argument(
        "action",
        choices=("plan", "run"),
        help="plan: runs, FLOPs, hours and price; run: every run that is not finished",
    )
    parser.add_argument("ladder", type=Path, help="YAML file, such as pretrain/ladder/ladders/*")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replace a key")
    arguments = parser.parse_args(argv)
    ladder = load(Ladder, arguments.ladder, arguments.overrides)
    if arguments.action == "plan":
        from pretrain.ladder import plan, points

        chosen = points.points(ladder)
        print(plan.table(ladder, chosen))
        print(plan.summary(ladder, chosen))
    else:
        from pretrain.ladder import run

        run.run(ladder)


if __name__ == "__main__":
    cli.run(main)
