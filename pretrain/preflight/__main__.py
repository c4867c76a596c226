"""Command: check a pretraining overlay before renting a slice: its memory, time and price.

python -m pretrain.preflight OVERLAY.yml [--topology v4-32] [--sweep] [--key value ...]
"""

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

from pretrain import overlay, topology
from pretrain.preflight import summary, sweep
from pretrain.preflight.forecast import forecast
from pretrain.topology import PRICES_OF
from tinymathreason import cli
from tinymathreason.arguments import parse_arguments
from tinymathreason.cli import InputError
from tinymathreason.files import write_json


def main(argv: Sequence[str]) -> None:
    """Print the table and the verdict; fail when the step does not fit."""
    parser = argparse.ArgumentParser(
        prog="pretrain.preflight",
        description="Compile an overlay's train step for a slice and estimate the run.",
    )
    parser.add_argument("overlay", type=Path, help="YAML file, such as one of maxtext_configs")
    parser.add_argument(
        "overrides", nargs="*", metavar="--key value", help="override a MaxText key"
    )
    parser.add_argument(
        "--topology", help="slice, such as v4-32 (default: the one that the overlay is named after)"
    )
    parser.add_argument("--sweep", action="store_true", help="rank the listed alternatives")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers to FILE")
    parser.add_argument(
        "--price", type=float, help=f"dollars per chip-hour (default: list price of {PRICES_OF})"
    )
    arguments = parse_arguments(parser, argv)
    path, overrides = arguments.overlay, arguments.overrides
    config = overlay.load(path, overrides)
    name = arguments.topology or topology.of_overlay(path.stem, config["hardware"])
    target = topology.find(name)
    if arguments.price is not None and arguments.price < 0:
        raise InputError(f"--price: expected dollars, at least 0 (got {arguments.price})")
    if arguments.sweep:
        if arguments.price is not None:
            raise InputError("--price: a sweep ranks by speed; use --price without --sweep")
        forecasts = sweep.run(path, target, overrides)
        print(sweep.ranking(forecasts))
        if arguments.json:
            write_json(arguments.json, {k: v.numbers() for k, v in forecasts.items()})
        return
    single = forecast(path, target, overrides, arguments.price)
    print(f"{path} on {target.name}, compiled, not run")
    print(textwrap.indent(summary.table(single, target), "  "))
    if arguments.json:
        write_json(arguments.json, single.numbers())
    verdict = summary.verdict(single, config)
    if not single.fits:
        raise InputError(verdict)
    print(verdict)


if __name__ == "__main__":
    cli.run(main)
