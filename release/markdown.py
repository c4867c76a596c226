"""Markdown for the card and the reports: escaped text, blocks of code and tables.

A text of a record or of the command line is shown as it is: nothing in it becomes markup or HTML.
"""

import re
from collections.abc import Iterable, Sequence

from tabulate import tabulate

# Within a word an underscore is no markup.
_MARKUP = re.compile(r"[\\`*\[\]<>|~$&#!]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_LIST_MARKER = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|(?=[-+](?![A-Za-z0-9])))")
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


def visible(text: str) -> str:
    """A text with U+FFFD for control characters, halves of characters and changes of direction.

    Such characters cannot be written as UTF-8, are not allowed in XML, or make a text read
    otherwise than it is stored. Line ends become ``\\n``.
    """
    return _HIDDEN.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: str) -> str:
    """A text on one line, without the characters that cannot be seen."""
    return " ".join("".join(c for c in text if c.isprintable() or c.isspace()).split())


def escape(text: str) -> str:
    """A text that Markdown and HTML show as it is, on one line, also in a cell of a table."""
    line = _MARKUP.sub(lambda match: _ENTITIES.get(match[0], f"\\{match[0]}"), one_line(text))
    return _LIST_MARKER.sub(r"\1\\", line)


def fenced(text: str, language: str = "") -> str:
    """A block of code that holds any text."""
    text = visible(text)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str | None]]) -> str | None:
    """A Markdown table without the columns that no row fills; None without rows.

    The cells are Markdown. A column is aligned to the right when each of its cells is empty or
    begins with a digit, except for the first column.
    """
    rows = list(rows)
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    if not kept:
        return None
    numeric = [i > 0 and all(re.match(r"[-+]?\d|$", row[i] or "") for row in rows) for i in kept]
    return tabulate(
        [[row[i] or "" for i in kept] for row in rows],
        headers=[head[i] for i in kept],
        tablefmt="pipe",
        colalign=["right" if right else "left" for right in numeric],
        disable_numparse=True,
    )
