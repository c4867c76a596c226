"""Command: plan, run and fit a ladder of small runs that foretells a large one.

python -m pretrain.ladder plan|run|fit LADDER.yaml [key=value ...]
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
        choices=("plan", "run", "fit"),
        help="plan: runs, FLOPs, hours and price; run: every run that is not finished; "
        "fit: the report of those that are",
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
    elif arguments.action == "run":
        from pretrain.ladder import run

        run.run(ladder)
    else:
        from pretrain.ladder.fit import fit

        written = fit(arguments.ladder, ladder)
        print("\n".join([written[0].read_text(encoding="utf-8"), *map(str, written)]))


if __name__ == "__main__":
    cli.run(main)
