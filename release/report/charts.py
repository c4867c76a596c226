"""Numbers in, small inline SVG out: readable on a phone, coloured by the page's style sheet.

Every picture is 400 units wide, so that its text of 12 units stays legible when the page is narrow.
"""

import html
import math
from collections.abc import Mapping, Sequence, Sized

Points = Sequence[Sequence[float]]
"""Pairs of x and y."""

WIDTH = 400
_MAX_POINTS = 600


def curves(name: str, title: str, description: str, lines: Mapping[str, Points]) -> str:
    """Lines over linear x and logarithmic y, each with its label; all but the first have dots.

    ``name`` makes the ids of this picture the only ones of the page.
    """
    lines = {label: _drawable(points) for label, points in lines.items()}
    every = [point for points in lines.values() for point in points]
    if not every:
        return ""
    left, right, top, bottom = 46, WIDTH - 14, 26, 206
    first, last = min(x for x, _ in every), max(x for x, _ in every)
    low, high = min(y for _, y in every), max(y for _, y in every)
    # Room around a line, also around a level one.
    low, high = low / 1.15, high * 1.15

    def across(x: float) -> float:
        return left + (right - left) * (x - first) / max(last - first, 1e-9)

    def down(y: float) -> float:
        return bottom - (bottom - top) * math.log(y / low) / math.log(high / low)

    parts = []
    for y in log_ticks(low, high):
        parts.append(_line(left, down(y), right, down(y), "grid"))
        parts.append(_text(left - 6, down(y) + 4, f"{y:g}", "end"))
    for x in linear_ticks(first, last):
        parts.append(_line(across(x), bottom, across(x), bottom + 4, "axis"))
        parts.append(_text(across(x), bottom + 17, f"{x:,.0f}", "middle"))
    parts.append(_line(left, bottom, right, bottom, "axis"))
    parts.append(_text((left + right) / 2, bottom + 34, "step", "middle"))
    parts.append(_text(2, 12, "loss, nats a token", "start"))
    for number, points in enumerate(lines.values()):
        drawn = [(round(across(x), 1), round(down(y), 1)) for x, y in points]
        path = " ".join(f"{x:g},{y:g}" for x, y in drawn)
        parts.append(f'<polyline class="line s{number}" points="{path}"/>')
        if number:
            parts.extend(_dot(x, y, number, 2.4) for x, y in drawn)
    end = right
    for number, label in reversed(list(enumerate(lines))):
        parts.append(_text(end, 12, label, "end"))
        end -= round(6.4 * len(label)) + 4
        parts.append(_line(end - 16, 8, end, 8, f"line s{number}"))
        end -= 34
    return _svg(name, title, description, bottom + 40, parts)


def intervals(
    name: str, title: str, description: str, rows: Sequence[tuple[str, float, float, float]]
) -> str:
    """A dot and its interval for each row: a label, then value, low and high from 0 to 1."""
    left, right, step = 8, WIDTH - 12, 46
    bottom = step * len(rows) + 6

    def across(share: float) -> float:
        return left + (right - left) * share

    parts, fifths = [], [fifth / 5 for fifth in range(6)]
    for share in fifths:
        anchor = {0.0: "start", 1.0: "end"}.get(share, "middle")
        parts.append(_text(across(share), bottom + 16, f"{100 * share:.0f} %", anchor))
    for number, (label, value, low, high) in enumerate(rows):
        y = step * number + 36
        parts.append(_text(left, y - 16, label, "start", "strong"))
        parts.append(_text(right, y - 16, percent(value), "end", "strong"))
        parts.append(_line(left, y, right, y, "grid"))
        parts.extend(_line(across(x), y - 6, across(x), y + 6, "grid") for x in fifths)
        parts.append(_line(across(low), y, across(high), y, "line s0"))
        parts.extend(_line(across(x), y - 5, across(x), y + 5, "line s0") for x in (low, high))
        parts.append(_dot(across(value), y, 0, 4.5))
    return _svg(name, title, description, bottom + 24, parts)


def stacked(name: str, title: str, description: str, parts: Mapping[str, float]) -> str:
    """One bar, as wide as the page, of the shares of its parts; colours count from s0."""
    total = sum(parts.values()) or 1
    drawn, x = [], 0.0
    for number, (label, value) in enumerate(parts.items()):
        width = WIDTH * value / total
        drawn.append(
            f'<rect class="fill s{number % 6}" x="{x:.2f}" y="0" width="{width:.2f}" height="20">'
            f"<title>{html.escape(label)}</title></rect>"
        )
        x += width
    return _svg(name, title, description, 20, drawn, 'class="bar" preserveAspectRatio="none"')


def count(things: Sized, noun: str) -> str:
    """How many there are, with their noun, such as ``1 token``."""
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def percent(share: float) -> str:
    """A share of 1 in percent, one decimal."""
    return f"{100 * share:.1f}\u00a0%"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 12 s, 3 min 5 s, 13 min, 2 h 4 min or 11.5 days."""
    if seconds < 60:
        return f"{seconds:.0f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 10:
        return f"{minutes}\u00a0min {rest}\u00a0s"
    if minutes < 60:
        return f"{minutes}\u00a0min"
    if minutes < 48 * 60:
        return f"{minutes // 60}\u00a0h {minutes % 60}\u00a0min"
    return f"{seconds / 86400:.1f}\u00a0days"


def gibibytes(number: float) -> str:
    """Bytes in GiB, two decimals."""
    return f"{number / 2**30:.2f}\u00a0GiB"


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers of a logarithmic axis: at least two of them, mostly three to eight."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7), range(1, 10)):
        found = [step * 10.0**power for power in decades for step in steps]
        found = [tick for tick in found if low <= tick <= high]
        if len(found) >= 3:
            return found
    return linear_ticks(low, high)


def linear_ticks(low: float, high: float) -> list[float]:
    """Four to six round numbers from ``low`` to ``high``; only ``low`` when they are the same."""
    if high <= low:
        return [low]
    size = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(k * size for k in (1, 2, 2.5, 5, 10) if (high - low) / (k * size) <= 5)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _drawable(points: Points) -> list[tuple[float, float]]:
    """The points that a logarithmic axis has, thinned out evenly; the last one stays."""
    kept = [(x, y) for x, y in points if math.isfinite(y) and y > 0]
    stride = math.ceil(len(kept) / _MAX_POINTS) or 1
    return kept[::stride] + ([kept[-1]] if kept and (len(kept) - 1) % stride else [])


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _dot(x: float, y: float, series: int, radius: float) -> str:
    return f'<circle class="fill s{series}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'


def _text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f"<text {place}{kind}>{html.escape(words)}</text>"


def _svg(
    name: str, title: str, description: str, height: float, parts: Sequence[str], more: str = ""
) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" {more} '
        f'aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-desc">{html.escape(description)}</desc>{"".join(parts)}</svg>'
    )
