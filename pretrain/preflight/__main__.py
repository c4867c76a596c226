"""Command: check a pretraining overlay before renting hardware: its memory, time and price.

python -m pretrain.preflight OVERLAY.yml [--topology v4-32 | h100-8] [--sweep] [--ladder FILE]
    [--key value ...]

For a TPU slice it compiles the step. For NVIDIA GPUs it computes from shapes, and without
--topology it compares all cards that it knows. With --ladder it adds what a ladder of small runs
foretells of the loss and the accuracy.
"""

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pretrain import gpus, overlay, topology
from pretrain.model import step_tokens
from pretrain.preflight import gpu_calibration, gpu_forecast, gpu_step, ladder, summary, sweep
from pretrain.preflight.forecast import Forecast, forecast
from pretrain.topology import Topology
from tinymathreason import cli
from tinymathreason.arguments import parse_arguments
from tinymathreason.cli import InputError
from tinymathreason.files import write_json
from tinymathreason.records.ladder import LadderReport
from tinymathreason.tables import text_table


def main(argv: Sequence[str]) -> None:
    """Print the table and the verdict; fail when the step does not fit."""
    parser = argparse.ArgumentParser(
        prog="pretrain.preflight",
        description="Estimate the memory, time and price of an overlay's run on a slice or GPUs.",
    )
    parser.add_argument("overlay", type=Path, help="YAML file, such as one of maxtext_configs")
    parser.add_argument(
        "overrides", nargs="*", metavar="--key value", help="override a MaxText key"
    )
    parser.add_argument(
        "--topology",
        help="slice, such as v4-32 (default: the one that the overlay is named after), or cards, "
        "such as h100-8 (default for an overlay with hardware: gpu: a comparison of all cards)",
    )
    parser.add_argument("--sweep", action="store_true", help="rank the listed alternatives")
    parser.add_argument(
        "--ladder",
        type=Path,
        metavar="REPORT",
        help="report.json of pretrain.ladder fit: also estimate the held-out loss and accuracy",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers to FILE")
    parser.add_argument(
        "--price",
        type=float,
        help="dollars per chip-hour or card-hour (default: the list price, with its month)",
    )
    arguments = parse_arguments(parser, argv)
    path, overrides = arguments.overlay, arguments.overrides
    config = overlay.load(path, overrides)
    if arguments.price is not None and arguments.price < 0:
        raise InputError(f"--price: expected dollars, at least 0 (got {arguments.price})")
    if arguments.ladder and arguments.sweep:
        raise InputError("--ladder: a sweep ranks settings that train the same model; use one")
    arguments.ladder = LadderReport.load(arguments.ladder) if arguments.ladder else None
    if config["hardware"] == "gpu" and arguments.topology is None:
        _compare(path, config, arguments)
        return
    name = arguments.topology or topology.of_overlay(path.stem, config["hardware"])
    target = topology.find(name)
    if target.card:
        if arguments.sweep:
            raise InputError("--sweep: only for TPU slices; without --topology, cards are compared")
        single = gpu_forecast.forecast(path, config, target, arguments.price)
        _finish(single, target, config, arguments)
        return
    if arguments.sweep:
        if arguments.price is not None:
            raise InputError("--price: a sweep ranks by speed; use --price without --sweep")
        forecasts = sweep.run(path, target, overrides)
        print(sweep.ranking(forecasts))
        if arguments.json:
            write_json(arguments.json, {k: v.numbers() for k, v in forecasts.items()})
        return
    _finish(forecast(path, target, overrides, arguments.price), target, config, arguments)


def _finish(
    single: Forecast, target: Topology, config: dict[str, Any], arguments: argparse.Namespace
) -> None:
    """Print one forecast and its verdict; `InputError` with the verdict when it does not fit."""
    how = "from shapes, not compiled or run" if target.card else "compiled, not run"
    print(f"{arguments.overlay} on {target.name}, {how}")
    foretold = (
        ladder.quality(arguments.ladder, config, single.tokens_per_step)
        if arguments.ladder
        else None
    )
    rows = foretold.rows if foretold else []
    print(textwrap.indent(summary.table(single, target, rows), "  "))
    if arguments.json:
        quality = {"quality": foretold.numbers} if foretold else {}
        write_json(arguments.json, single.numbers() | quality)
    for note in foretold.notes if foretold else ():
        print(note)
    verdict = summary.verdict(single, config)
    if not single.fits:
        raise InputError(verdict)
    print(verdict)
    written = topology.cards_of_overlay(arguments.overlay.stem)
    if target.card and target.chips != written:
        print(
            f"the overlay is written for {written}: on {target.chips} cards a step has "
            f"{target.chips / written:g} times the tokens, and so has the run"
        )


def _compare(path: Path, config: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Print the fastest settings that fit each card."""
    if arguments.sweep or arguments.price is not None or arguments.json:
        raise InputError("--sweep, --price and --json need --topology, such as h100-8")
    print(gpu_forecast.comparison(path, config, topology.cards_of_overlay(path.stem)))
    print(
        f"\nEstimates from shapes, at the {gpu_step.SHARE:.0%} of the peak that one run on an H200 "
        f"reached; list prices of {gpus.PRICES_OF}. Error: {gpu_calibration.errors()}."
    )
    if arguments.ladder:
        tokens = step_tokens(config, topology.cards_of_overlay(path.stem))
        foretold = ladder.quality(arguments.ladder, config, int(tokens))
        print("\nOn any of them:")
        print(textwrap.indent(text_table(("", ""), foretold.rows), "  "))
        print("\n".join(foretold.notes))


if __name__ == "__main__":
    cli.run(main)
