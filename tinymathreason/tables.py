"""Tables of text cells: Markdown for files and reports, aligned columns for a terminal."""

import re
from collections.abc import Iterable, Sequence

from tabulate import tabulate

Row = Sequence[str | None]
_NUMBER = re.compile(r"[-+]?\d|$")


def markdown_table(head: Sequence[str], rows: Iterable[Row]) -> str:
    """A table in Markdown without the columns that no row fills; empty without rows.

    Cells and head are Markdown already. A column is aligned to the right when each of its cells is
    empty or begins with a number, except for the first one.
    """
    return _table(head, list(rows), "pipe")


def text_table(head: Sequence[str], rows: Iterable[Row]) -> str:
    """Columns aligned as in `markdown_table`, two spaces apart, for a terminal."""
    return _table(head, list(rows), "plain")


def _table(head: Sequence[str], rows: list[Row], form: str) -> str:
    filled = [i for i in range(len(head)) if any(row[i] for row in rows)]
    numeric = [i > 0 and all(_NUMBER.match(row[i] or "") for row in rows) for i in filled]
    return tabulate(
        [[row[i] or "" for i in filled] for row in rows],
        headers=[head[i] for i in filled],
        tablefmt=form,
        colalign=["right" if right else "left" for right in numeric] if filled else None,
        disable_numparse=True,
    )
