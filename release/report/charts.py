"""Charts of a report, drawn by matplotlib: SVG for the page, and a PNG of the losses.

An SVG is 400 units wide, so that its text stays legible on a phone. It takes its colours from the
page's style sheet, holds no address, and has no id that another chart of the page has.
"""

import html
import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinymathreason.files import new_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[Sequence[float]]
"""Pairs of a step and a loss in nats a token."""
WIDTH = 400
_SERIES = ("#2f6093", "#b4651d")
_SOFT, _RULE = "#5a6270", "#ddd9d0"
_VARIABLES = {_SERIES[0]: "--s0", _SERIES[1]: "--s1", _SOFT: "--soft", _RULE: "--rule"}
"""The colours of a chart, by the variable of the style sheet that replaces each."""
_MAX_POINTS = 600
_STYLE: dict[str, Any] = {
    "axes.edgecolor": _SOFT,
    "axes.labelcolor": _SOFT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 12,
    "grid.color": _RULE,
    "legend.frameon": False,
    "path.simplify": False,
    "svg.fonttype": "none",
    "text.color": _SOFT,
    "text.parse_math": False,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
}


def losses(name: str, title: str, description: str, lines: Mapping[str, Points]) -> str:
    """An SVG of losses by step on a logarithmic axis; empty without a loss that it can show.

    ``lines`` are the points of each curve by its label. ``name`` begins the ids in the SVG.
    """
    if not any(_drawable(points) for points in lines.values()):
        return ""
    with _style(name):
        figure, axes = _figure(240)
        _draw_losses(axes, lines)
        return _svg(figure, name, title, description)


def accuracies(
    name: str, title: str, description: str, rows: Sequence[tuple[str, float, float, float]]
) -> str:
    """An SVG of accuracies with intervals: rows of a label, value, low and high from 0 to 1."""
    from matplotlib.ticker import PercentFormatter

    with _style(name):
        figure, axes = _figure(44 * len(rows) + 36)
        for place, (label, value, low, high) in enumerate(rows):
            errors = [[max(0.0, value - low)], [max(0.0, high - value)]]
            axes.errorbar(value, place, xerr=errors, fmt="o", capsize=4, color=_SERIES[0])
            axes.text(0, place - 0.3, label)
        axes.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.6, -0.8), yticks=[])
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol="\u00a0%"))
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        return _svg(figure, name, title, description)


def losses_png(curves: Mapping[str, Mapping[str, Points]], path: Path) -> None:
    """Write a PNG of the losses of several trainings, by title and label, side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(curves), 4), layout="constrained")
    for axes, (title, lines) in zip(
        figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
    ):
        _draw_losses(axes, lines)
        axes.set(title=title)
    with new_file(path) as aside:
        figure.savefig(aside, dpi=120, format="png", metadata={"Software": None})


def _draw_losses(axes: "Axes", lines: Mapping[str, Points]) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    for number, (label, points) in enumerate(lines.items()):
        if drawable := _drawable(points):
            steps, values = zip(*drawable, strict=True)
            marker = "o" if number else ""
            colour = _SERIES[number % len(_SERIES)]
            axes.plot(steps, values, marker=marker, ms=4, color=colour, label=label)
    axes.set(xlabel="step", ylabel="loss, nats a token", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y")
    if lines:
        axes.legend()


def _drawable(points: Points) -> list[tuple[float, float]]:
    """The points that a logarithmic axis can show, thinned out evenly; the last one stays."""
    kept = [(x, y) for x, y in points if math.isfinite(y) and y > 0]
    stride = math.ceil(len(kept) / _MAX_POINTS) or 1
    return kept[::stride] + ([kept[-1]] if kept and (len(kept) - 1) % stride else [])


def _style(name: str) -> AbstractContextManager[None]:
    """matplotlib's settings while a chart is made, whose ids depend on ``name`` alone."""
    import matplotlib

    return matplotlib.rc_context({**_STYLE, "svg.hashsalt": name})


def _figure(height: int) -> "tuple[Figure, Axes]":
    """A figure of `WIDTH` and this height, in units of an SVG, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: "Figure", name: str, title: str, description: str) -> str:
    """A figure as an inline SVG with a title and a description for those who cannot see it."""
    file = io.StringIO()
    with warnings.catch_warnings():
        # The text is set by the reader's browser, in a font that has the character.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    drawing = file.getvalue().partition("<g id=")[2].rpartition("</svg>")[0]
    drawing = re.sub(r"<defs>\s*<clipPath.*?</defs>", "", f"<g id={drawing}", flags=re.DOTALL)
    # Only the ids that matplotlib makes of the salt are referred to.
    drawing = re.sub(r' id="(?!m[0-9a-f]{10}")[^"]*"| clip-path="[^"]*"', "", drawing)
    drawing = re.sub(r"font-family: [^;\"]*;? ?", "", drawing)
    for colour, variable in _VARIABLES.items():
        drawing = drawing.replace(colour, f"var({variable})")
    height = figure.get_figheight() * 72
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">'
        f'{html.escape(title)}</title><desc id="{name}-desc">{html.escape(description)}</desc>'
        f"{' '.join(drawing.split())}</svg>"
    )
