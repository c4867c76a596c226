"""Compares the figures of a report with the ranges that a run must reach."""

from pathlib import Path
from typing import Any

from tinymathreason.cli import InputError
from tinymathreason.config import build, config, read_yaml


@config
class Bar:
    """The accepted range of one figure; a bound is a number or the name of another figure."""

    least: float | str | None = None
    """The figure must be at least this."""
    most: float | str | None = None
    """The figure must be at most this."""

    def __post_init__(self) -> None:
        if self.least is None and self.most is None:
            raise ValueError("give least, most or both")


def load(path: Path) -> dict[str, Bar]:
    """The bars of a YAML file, by the figure's dotted name in the report."""
    return build(dict[str, Bar], read_yaml(path), path)


def missed(record: dict[str, Any], bars: dict[str, Bar]) -> list[str]:
    """A line for every figure outside its range; NaN is outside every range.

    Raises `InputError` for a name that the report does not have, or that is not a figure.
    """
    lines = []
    for name, bar in bars.items():
        figure = _figure(record, name)
        least, most = (
            _figure(record, bound) if isinstance(bound, str) else bound
            for bound in (bar.least, bar.most)
        )
        if not ((least is None or figure >= least) and (most is None or figure <= most)):
            limits = [("at least", least), ("at most", most)]
            wanted = " and ".join(
                f"{words} {limit}" for words, limit in limits if limit is not None
            )
            lines.append(f"{name} is {figure}, accepted is {wanted}")
    return lines


def _figure(record: dict[str, Any], name: str) -> float:
    """The figure of a dotted name."""
    figure: Any = record
    for key in name.split("."):
        if not isinstance(figure, dict) or key not in figure:
            raise InputError(f"the report has no figure {name!r}")
        figure = figure[key]
    if not isinstance(figure, int | float):
        raise InputError(f"{name!r} in the report is not a figure")
    return figure
