"""What a ladder would take, before anything runs: runs, tokens, operations, hours and price."""

from collections.abc import Sequence

from pretrain.ladder.config import Ladder
from pretrain.ladder.points import Point
from tinymathreason.tables import text_table
from tinymathreason.units import count, duration

COLUMNS = ("part", "size", "parameters", "runs", "tokens a run", "FLOPs", "hours", "dollars")


def seconds(ladder: Ladder, point: Point) -> float:
    """The estimated seconds of a point on the ladder's device, its overhead included."""
    return point.flops / ladder.device.flops + ladder.device.overhead_seconds


def table(ladder: Ladder, points: Sequence[Point]) -> str:
    """The estimates by part and size, and their sums, as columns for a terminal."""
    kinds: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        kinds.setdefault((point.group, point.size), []).append(point)
    rows = [_row(ladder, part, size, chosen) for (part, size), chosen in kinds.items()]
    rows.append(_row(ladder, "all", "", points))
    return text_table(COLUMNS, rows)


def _row(ladder: Ladder, part: str, size: str, chosen: Sequence[Point]) -> list[str]:
    hours = sum(seconds(ladder, point) for point in chosen) / 3600
    tokens = sorted({point.tokens for point in chosen})
    spread = count(tokens[0]) if len(tokens) == 1 else f"{count(tokens[0])} to {count(tokens[-1])}"
    return [
        part,
        size,
        f"{chosen[0].model.parameters:,}" if size else "",
        f"{len(chosen)}",
        spread,
        f"{sum(point.flops for point in chosen):.2e}",
        f"{hours:.2f}",
        f"{hours * ladder.device.price:.2f}",
    ]


def summary(ladder: Ladder, points: Sequence[Point]) -> str:
    """The plan's last line: what the estimates rest on."""
    device = ladder.device
    total = sum(seconds(ladder, point) for point in points)
    return (
        f"{len(points)} runs, about {duration(total)}: estimates for {device.count} x "
        f"{device.name} at {device.flops / 1e12:.3g} TFLOP/s and ${device.price:.2f} an hour, "
        f"{device.overhead_seconds:.0f} s a run besides training"
    )
