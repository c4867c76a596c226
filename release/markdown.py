"""Markdown for the card and the reports: escaped text, blocks of code and tables.

A text of a record or of the command line is shown as it is: nothing in it becomes markup or HTML.
"""

import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
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


def render(template: str, /, **values: Any) -> str:
    """The Markdown of a template, in which every text of ``values`` is escaped.

    Its filters: ``n`` and ``g`` format numbers, ``fenced`` makes a block of code, and ``markdown``
    takes a text as it is.
    """
    environment = jinja2.Environment(
        autoescape=True,
        finalize=_escaped,
        loader=jinja2.FileSystemLoader(TEMPLATES),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "fenced": lambda text, language: Markup(fenced(text, language)),  # noqa: S704
        "g": "{:.6g}".format,
        "markdown": Markup,
        "n": "{:,}".format,
    }
    return environment.get_template(template).render(values).strip() + "\n"


def _escaped(value: Any) -> Any:
    """What a template prints: a text is escaped unless it is marked as Markdown."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return Markup(escape(value))  # noqa: S704
    return value
