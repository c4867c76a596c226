"""An overlay and a list of alternatives in; all compiled, estimated and ranked out.

The list for a topology is ``sweeps/<topology>.yaml``: a name for each alternative and the
``key=value`` arguments that make it from the overlay.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pretrain.preflight import forecast
from pretrain.preflight.forecast import Report
from pretrain.topology import GIB, Topology
from tinymathreason.cli import InputError
from tinymathreason.config import read_yaml

LISTS = Path(__file__).parent / "sweeps"


def alternatives(where: Topology) -> dict[str, list[str]]:
    """The alternatives listed for a topology; `InputError` for no list or a malformed one."""
    path = LISTS / f"{where.name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in LISTS.glob("*.yaml")))
        raise InputError(f"no list of alternatives for {where.name}; there is one for: {known}")
    found = read_yaml(path)
    for name, arguments in found.items():
        if not isinstance(arguments, list) or not all(isinstance(a, str) for a in arguments):
            raise InputError(f"{path}: {name!r}: expected a list of key=value")
    return found


def run(path: Path, where: Topology, overrides: Sequence[str]) -> dict[str, Report]:
    """Every alternative's report by its name, and the overlay's own as ``as it is``.

    Tells its progress; what was compiled before comes from the cache, so it can be interrupted. An
    alternative that XLA refuses is told and left out.
    """
    listed = {"as it is": [], **alternatives(where)}
    found = {}
    started = time.monotonic()
    for number, (name, arguments) in enumerate(listed.items(), start=1):
        try:
            found[name] = forecast.report(path, where, [*overrides, *arguments])
            outcome = _line(found[name])
        except InputError as error:
            outcome = f"refused: {error}"
        spent = time.monotonic() - started
        left = spent / number * (len(listed) - number)
        print(
            f"[{number}/{len(listed)}, {left / 60:.0f} min left] {name}: {outcome}",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    return found


def ranking(found: dict[str, Report]) -> str:
    """A Markdown table: those that fit by their estimated tokens/s, then those that do not."""
    rows = sorted(found.items(), key=lambda item: (not item[1].fits, -(item[1].mfu or 0)))
    lines = [
        "| alternative | HBM to spare, GiB | rematerialised | estimated step, s | fusions | "
        "attention | collectives | estimated tokens/s | estimated MFU |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, report in rows:
        if report.estimate is None:
            lines.append(f"| {name} | does not fit | | | | | | | |")
            continue
        parts = report.estimate
        spare = ((report.hbm_of_chip or 0) - report.hbm) / GIB
        lines.append(
            f"| {name} | {spare:.1f} | {report.rematerialised:.1%} | {parts.seconds:.3f} | "
            f"{parts.fusions:.3f} | {parts.attention:.3f} | {parts.collectives:.3f} | "
            f"{report.tokens_per_second:,.0f} | {report.mfu:.1%} |"
        )
    return "\n".join(lines)


def _line(report: Report) -> str:
    if report.estimate is None:
        return "does not fit"
    return f"{report.estimate.seconds:.3f} s, MFU {report.mfu:.1%}, {report.hbm / GIB:.1f} GiB"
