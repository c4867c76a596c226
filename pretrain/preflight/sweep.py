"""Compile, estimate and rank a list of alternatives to an overlay.

The list for a topology is ``sweeps/<topology>.yaml``: the name of each alternative with the
``key=value`` arguments that it adds to the overlay.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pretrain.gpus import GIB
from pretrain.preflight.forecast import Forecast, forecast
from pretrain.topology import Topology
from tinymathreason.cli import InputError
from tinymathreason.config import read_yaml
from tinymathreason.tables import markdown_table
from tinymathreason.units import duration

LISTS = Path(__file__).parent / "sweeps"

COLUMNS = (
    "alternative", "HBM to spare, GiB", "rematerialised", "estimated step, s", "fusions",
    "attention", "collectives", "estimated tokens/s", "estimated MFU",
)  # fmt: skip


def alternatives(topology: Topology) -> dict[str, list[str]]:
    """The alternatives listed for a topology; `InputError` for a missing or malformed list."""
    path = LISTS / f"{topology.name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in LISTS.glob("*.yaml")))
        raise InputError(f"no list of alternatives for {topology.name}; there is one for: {known}")
    listed = read_yaml(path)
    for name, arguments in listed.items():
        if not isinstance(arguments, list) or not all(isinstance(a, str) for a in arguments):
            raise InputError(f"{path}: {name!r}: expected a list of key=value")
    return listed


def run(path: Path, topology: Topology, overrides: Sequence[str]) -> dict[str, Forecast]:
    """The forecast of every alternative by its name, and of the overlay itself as ``as it is``.

    Prints its progress on stderr. Compiled steps are cached, so the sweep can be interrupted and
    resumed. An alternative that does not compile is reported and left out.
    """
    listed = {"as it is": [], **alternatives(topology)}
    forecasts = {}
    started = time.monotonic()
    for number, (name, arguments) in enumerate(listed.items(), start=1):
        try:
            forecasts[name] = forecast(path, topology, [*overrides, *arguments])
            result = _line(forecasts[name])
        except InputError as error:
            result = f"refused: {error}"
        elapsed = time.monotonic() - started
        left = elapsed / number * (len(listed) - number)
        print(
            f"[{number}/{len(listed)}, {duration(left)} left] {name}: {result}",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    return forecasts


def ranking(forecasts: dict[str, Forecast]) -> str:
    """A Markdown table: first those that fit, by estimated speed, then those that do not."""
    ranked = sorted(forecasts.items(), key=lambda item: (not item[1].fits, -(item[1].mfu or 0)))
    return markdown_table(COLUMNS, [[name, *_cells(forecast)] for name, forecast in ranked])


def _cells(forecast: Forecast) -> list[str]:
    step = forecast.estimate
    if step is None:
        return ["does not fit", *[""] * (len(COLUMNS) - 2)]
    return [
        f"{((forecast.hbm_of_device or 0) - forecast.hbm) / GIB:.1f}",
        f"{forecast.rematerialised:.1%}",
        *(f"{part:.3f}" for part in (step.seconds, step.fusions, step.attention, step.collectives)),
        f"{forecast.tokens_per_second:,.0f}",
        f"{forecast.mfu:.1%}",
    ]


def _line(forecast: Forecast) -> str:
    if forecast.estimate is None:
        return "does not fit"
    return (
        f"{forecast.estimate.seconds:.3f} s, MFU {forecast.mfu:.1%}, {forecast.hbm / GIB:.1f} GiB"
    )
