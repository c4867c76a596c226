"""Filters by name: each takes a text and returns None, or the reason to reject it.

The four named after papers are datatrove's. They are made for prose from the web, and treat
formulas, tables of numbers and code as noise; `benchmarks/filters.py` counts what each rejects.
"""

import inspect
import zlib
from collections.abc import Callable
from typing import Any

from tinymathreason.config import nearest

Filter = Callable[[str], str | None]


def length(least: int = 0, most: int | None = None) -> Filter:
    """Reject a text of fewer than ``least`` or more than ``most`` characters."""

    def judge(text: str) -> str | None:
        if len(text) < least:
            return "too_short"
        return "too_long" if most is not None and len(text) > most else None

    return judge


def repetition(least: float = 0.1) -> Filter:
    """Reject a text that zlib compresses to less than ``least`` of its bytes, as it only repeats.

    Prose shrinks to about a half, LaTeX and code to a quarter, a table of numbers to a third.
    """

    def judge(text: str) -> str | None:
        data = text.encode("utf-8")
        return "repetition" if len(zlib.compress(data, 1)) < least * len(data) else None

    return judge


def _datatrove_class(name: str) -> Callable[..., Any]:
    """One of datatrove's filter classes."""
    from datatrove.pipeline import filters

    kind: Callable[..., Any] = getattr(filters, name)
    return kind


def _datatrove_filter(name: str, settings: dict[str, Any]) -> Filter:
    from datatrove.data import Document

    from data_prep.words import Words

    judge = _datatrove_class(name)(language=Words(), **settings).filter

    def reason(text: str) -> str | None:
        kept = judge(Document(text=text, id=""))
        return None if kept is True else kept[1] if isinstance(kept, tuple) else name

    return reason


OURS: dict[str, Callable[..., Filter]] = {"length": length, "repetition": repetition}
DATATROVE = {
    "gopher_quality": "GopherQualityFilter",
    "gopher_repetition": "GopherRepetitionFilter",
    "c4_quality": "C4QualityFilter",
    "fineweb_quality": "FineWebQualityFilter",
}


def _parts(entry: str | dict[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    if len(entry) != 1:
        raise ValueError(f"a filter is a name, or one name with its settings (got {entry})")
    return next(iter(entry.items()))


def check(entry: str | dict[str, dict[str, Any]]) -> None:
    """Raise `ValueError` for an unknown filter or setting, naming what is accepted."""
    name, settings = _parts(entry)
    if name not in {*OURS, *DATATROVE}:
        raise ValueError(f"unknown filter {name!r}; {nearest(name, [*OURS, *DATATROVE])}")
    maker = OURS.get(name) or _datatrove_class(DATATROVE[name])
    accepted = [key for key in inspect.signature(maker).parameters if key not in _HIDDEN]
    for key in settings:
        if key not in accepted:
            raise ValueError(f"filter {name}: unknown setting {key!r}; {nearest(key, accepted)}")
    for key, value in settings.items():
        if value is not None and not isinstance(value, int | float):
            raise ValueError(f"filter {name}: {key} must be a number (got {value!r})")


_HIDDEN = ("language", "exclusion_writer")


def make(entry: str | dict[str, dict[str, Any]]) -> Filter:
    """The filter of one entry of a recipe's ``filters``."""
    name, settings = _parts(entry)
    if name in OURS:
        return OURS[name](**settings)
    return _datatrove_filter(DATATROVE[name], settings)
