"""Compares the figures of a report with the ranges that a run must reach."""

from pathlib import Path
from typing import Any

from tinymathreason.cli import InputError
from tinymathreason.config import build, config, read_yaml


@config
class Bar:
    """The accepted range of one figure."""

    least: float | None = None
    """The figure must be at least this."""
    most: float | None = None
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
        figure: Any = record
        for key in name.split("."):
            if not isinstance(figure, dict) or key not in figure:
                raise InputError(f"the report has no figure {name!r}")
            figure = figure[key]
        if not isinstance(figure, int | float):
            raise InputError(f"{name!r} in the report is not a figure")
        if not (
            (bar.least is None or figure >= bar.least) and (bar.most is None or figure <= bar.most)
        ):
            limits = [("at least", bar.least), ("at most", bar.most)]
            wanted = " and ".join(
                f"{words} {limit}" for words, limit in limits if limit is not None
            )
            lines.append(f"{name} is {figure}, accepted is {wanted}")
    return lines
