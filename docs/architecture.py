"""Draws the picture and the table of imports in docs/architecture.md from the source code.

    python -m docs.architecture

The floors are those of the test that checks the imports, so a changed floor changes both.
"""

from html import escape
from pathlib import Path

from tests.test_commands import ROOMS, imports

PAGE = Path("docs/architecture.md")
PICTURE = Path("docs/architecture.svg")

FLOW = {
    "data_prep": "mixture",
    "pretrain": "checkpoint",
    "conversion": "base model",
    "sft": "chat model",
    "evaluation": "accuracies",
    "release": "",
}
"""Rooms in the order in which data flows through them, and what each hands to the next one."""

WIDTH, GAP, HEIGHT, FLOOR = 122, 50, 44, 84
"""Pixels: a room's width, the space between two, a room's height, a floor's height."""
LEFT = 70
"""Pixels left of the first room, for the floors' names."""
RIGHT = LEFT + len(FLOW) * (WIDTH + GAP)
INK, LINE, PAPER, ROOM = "#1f2933", "#5b6b7b", "#ffffff", "#e3ecf7"


def edges() -> dict[str, list[str]]:
    """For each room the other rooms that its modules import, lowest floor first."""
    return {
        room: sorted(
            set().union(*map(imports, Path(room).rglob("*.py"))) - {room},
            key=lambda other: list(ROOMS).index(other),
        )
        for room in ROOMS
    }


def table() -> str:
    """The Markdown table of floors, rooms and imports, highest floor first."""
    lines = ["| floor | room | imports |", "|---:|---|---|"]
    for room, others in sorted(edges().items(), key=lambda edge: -ROOMS[edge[0]]):
        names = ", ".join(f"`{other}`" for other in others) or "no other room"
        lines.append(f"| {ROOMS[room]} | `{room}` | {names} |")
    return "\n".join(lines)


def svg() -> str:
    """The picture: floors from the ground up, rooms in them, and arrows for what flows."""
    top = max(ROOMS.values())
    height = (top + 1) * FLOOR + 10

    def middle(room: str) -> int:
        return 5 + (top - ROOMS[room]) * FLOOR + FLOOR // 2

    def left(room: str) -> int:
        return LEFT + list(FLOW).index(room) * (WIDTH + GAP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {RIGHT} {height}" '
        f'font-family="sans-serif" font-size="14" fill="{INK}" role="img">',
        "<title>The rooms on their floors, and what flows between them</title>",
        f'<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{LINE}"/></marker></defs>',
        f'<rect width="{RIGHT}" height="{height}" fill="{PAPER}"/>',
    ]
    for floor in range(top + 1):
        y = 5 + (top - floor) * FLOOR
        parts.append(f'<path d="M0 {y + FLOOR}H{RIGHT}" stroke="#d5dce4"/>')
        parts.append(f'<text x="8" y="{y + FLOOR // 2 + 5}" fill="{LINE}">floor {floor}</text>')
    beside = {
        floor: [r for r in ROOMS if ROOMS[r] == floor and r not in FLOW] for floor in range(top + 1)
    }
    for floor, rooms in beside.items():
        # Rooms that data does not flow through fill the floor, or what the others leave of it.
        start = max([LEFT, *(left(r) + WIDTH + GAP for r in FLOW if ROOMS[r] == floor)])
        width = (RIGHT - GAP - start - GAP * (len(rooms) - 1)) // max(1, len(rooms))
        for number, room in enumerate(rooms):
            parts += _box(room, start + number * (width + GAP), middle(room), width)
    for room in FLOW:
        parts += _box(room, left(room), middle(room), WIDTH)
    for (room, flows), following in zip(FLOW.items(), [*FLOW][1:], strict=False):
        x, y, end = left(room) + WIDTH // 2 + 20, middle(room), middle(following)
        if ROOMS[following] > ROOMS[room]:
            path, at = f"M{x} {y - HEIGHT // 2}V{end}H{left(following)}", end
        elif ROOMS[following] < ROOMS[room]:
            path = (
                f"M{left(room) + WIDTH} {y}H{left(following) + WIDTH // 2 - 20}V{end - HEIGHT // 2}"
            )
            x, at = left(room) + WIDTH + 4, y
        else:
            x, at = left(room) + WIDTH, y
            path = f"M{x} {y}H{left(following)}"
        parts.append(f'<path d="{path}" fill="none" stroke="{LINE}" marker-end="url(#tip)"/>')
        parts.append(f'<text x="{x + 4}" y="{at - 6}" font-size="12">{escape(flows)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _box(room: str, x: int, middle: int, width: int) -> list[str]:
    return [
        f'<rect x="{x}" y="{middle - HEIGHT // 2}" width="{width}" height="{HEIGHT}" rx="4" '
        f'fill="{ROOM}" stroke="{LINE}"/>',
        f'<text x="{x + width // 2}" y="{middle + 5}" text-anchor="middle" '
        f'font-weight="bold">{escape(room)}</text>',
    ]


def page(text: str) -> str:
    """The page with the table of imports replaced by the one of today's source code."""
    before, mark, rest = text.partition("| floor | room | imports |")
    _, end, after = (mark + rest).partition("\n\n")
    return before + table() + end + after


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    PICTURE.write_text(svg(), encoding="utf-8")
