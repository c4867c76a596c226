"""Filters by name: each takes a text and returns None, or the reason to reject it.

The four named after papers are datatrove's. They are made for prose from the web, and treat
formulas, tables of numbers and code as noise; `benchmarks/filters.py` counts what each rejects.
"""

import inspect
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tinymathreason.config import nearest

if TYPE_CHECKING:
    from data_prep.classifier import Classifier

Entry = str | dict[str, Any]
"""A filter in a recipe: a name, or one name with its settings."""
Filter = Callable[[str], str | None]
CLASSIFIER = "classifier"
"""The filter that a recipe's classifier decides."""


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


def classified(name: str, classifier: "Classifier", least: float = 0.5) -> Filter:
    """Reject a text whose probability of the classifier's positive kind is below ``least``."""

    def judge(text: str) -> str | None:
        return None if classifier.probability(text) >= least else f"not_{name}"

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


def _parts(entry: Entry) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    if len(entry) != 1:
        raise ValueError(f"a filter is a name, or one name with its settings (got {entry})")
    ((name, settings),) = entry.items()
    if not isinstance(settings, dict):
        raise ValueError(f"filter {name}: its settings are keys with values (got {settings!r})")
    return name, settings


def check(entry: Entry) -> None:
    """Raise `ValueError` for an unknown filter or setting, naming what is accepted."""
    name, settings = _parts(entry)
    known = [*OURS, *DATATROVE, CLASSIFIER]
    if name not in known:
        raise ValueError(f"unknown filter {name!r}; {nearest(name, known)}")
    if name == CLASSIFIER:
        if not isinstance(settings.get("name"), str):
            raise ValueError("filter classifier: name must be one of the recipe's classifiers")
        settings = {key: value for key, value in settings.items() if key != "name"}
    makers = {**OURS, CLASSIFIER: classified}
    maker = makers.get(name) or _datatrove_class(DATATROVE[name])
    parameters = inspect.signature(maker).parameters
    accepted = [key for key in parameters if key not in _HIDDEN]
    for key, value in settings.items():
        if key not in accepted:
            raise ValueError(f"filter {name}: unknown setting {key!r}; {nearest(key, accepted)}")
        # datatrove leaves out a rule whose setting is null.
        optional = name in DATATROVE or parameters[key].default is None
        if not isinstance(value, int | float) and not (value is None and optional):
            raise ValueError(f"filter {name}: {key} must be a number (got {value!r})")
    if name == CLASSIFIER and not 0 <= settings.get("least", 0.5) <= 1:
        raise ValueError(f"filter {name}: least must be between 0 and 1 (got {settings['least']})")


_HIDDEN = ("language", "exclusion_writer", "classifier", "name")


def classifier_of(entry: Entry) -> str | None:
    """The name of the classifier that a filter needs; None for other filters."""
    name, settings = _parts(entry)
    return str(settings["name"]) if name == CLASSIFIER else None


def make(entry: Entry, classifiers: "Mapping[str, Classifier] | None" = None) -> Filter:
    """The filter of one entry of a recipe's ``filters``; ``classifiers`` are the recipe's."""
    name, settings = _parts(entry)
    if name == CLASSIFIER:
        return classified(classifier=(classifiers or {})[settings["name"]], **settings)
    if name in OURS:
        return OURS[name](**settings)
    return _datatrove_filter(DATATROVE[name], settings)
