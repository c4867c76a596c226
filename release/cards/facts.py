"""The records of a run in; figures, and what has none, out. Words and tables of Markdown besides.

Every figure of a card is taken here, so that what no record holds is left out and named.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release.markdown import escape
from release.records import examples_folder, flat
from tinymathreason.files import read_json

NUMBER = (int, float)
"""The kind of most figures."""
METHODS = {
    "sft.json": "supervised fine-tuning",
    "dpo.json": "direct preference optimisation",
    "grpo.json": "group relative policy optimisation",
}
"""How a model was tuned, by the record in its folder."""
Bullets = list[tuple[str, str]]
"""Labels with their phrases, both in Markdown."""


class Facts:
    """The figures that a card wanted and no record has."""

    def __init__(self) -> None:
        self.missing: dict[str, list[str]] = {}
        """Names of figures, by the record that would have had them and what it lacks."""

    def record(self, path: Path) -> "Record":
        """The record in a JSON file, which may be missing; `InputError` when it is malformed."""
        return Record(self, str(path), flat(read_json(path)) if path.is_file() else None)

    def lack(self, figure: str, where: str) -> None:
        """Remember a figure that is left out."""
        named = self.missing.setdefault(where, [])
        if figure not in named:
            named.append(figure)

    def lines(self) -> list[str]:
        """What is left out, a line for each record and what it lacks."""
        return [f"left out: {', '.join(names)} ({where})" for where, names in self.missing.items()]


@dataclass(frozen=True)
class Record:
    """What one file, or a part of it, says; ``value`` is None when there is no such file."""

    facts: Facts
    name: str
    value: Any

    def take(self, figure: str, *keys: str, kind: type | tuple[type, ...] = NUMBER) -> Any:
        """The value under ``keys``, of this kind and finite; else None, and ``figure`` is missing.

        A list or a mapping may be empty, a text may not.
        """
        found = self.value
        if found is None:
            self.facts.lack(figure, f"{self.name}: no such record")
            return None
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if found is None or found == "":
            self.facts.lack(figure, f"{self.name} has no {'.'.join(keys)}")
            return None
        wrong = not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool)
        if wrong or (isinstance(found, float) and not math.isfinite(found)):
            self.facts.lack(figure, f"{self.name}: {'.'.join(keys)} is not what it should be")
            return None
        return found

    def maybe(self, *keys: str, kind: type | tuple[type, ...] = object) -> Any:
        """The value under ``keys``, of this kind, or None: for what a record need not have."""
        found = self.value
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, kind) else None

    def under(self, *keys: str) -> "Record":
        """The part of the record under ``keys``."""
        if self.value is None:
            return self
        return Record(self.facts, f"{self.name} {'.'.join(keys)}", self.maybe(*keys) or {})


@dataclass(frozen=True)
class Places:
    """Where the records of a run lie; what is absent is missing."""

    mixture: Path
    pretrain: Path
    base: Path
    model: Path
    """Folder of the model that the card is of; that of ``base`` where none was tuned."""
    evaluation: Path
    stages: Path

    @property
    def examples(self) -> Path:
        """The folder of the fine-tuning examples."""
        return examples_folder(self.model.parent)

    @property
    def tuning(self) -> str | None:
        """The name of the record of fine-tuning; None for a base model."""
        return next((name for name in METHODS if (self.model / name).is_file()), None)


def last_start(facts: Facts, places: Places) -> Record:
    """What the last start of pretraining recorded of itself."""
    record = facts.record(places.pretrain / "provenance.json")
    starts = record.maybe("starts")
    if record.value is None or not isinstance(starts, list) or not starts:
        return Record(facts, record.name, record.value)
    return Record(facts, f"{record.name}, last start,", starts[-1])


def say(words: str, *values: Any) -> str | None:
    """``words`` with the values in their places, texts escaped; None without one."""
    if any(value is None for value in values):
        return None
    return words.format(*(escape(value) if isinstance(value, str) else value for value in values))


def listed(*phrases: str | None, between: str = ", ") -> str | None:
    """The phrases that there are, joined; None when there is none."""
    return between.join(phrase for phrase in phrases if phrase) or None


def bullets(**phrases: str | None) -> Bullets:
    """The phrases that there are, labelled by their names."""
    return [(name.replace("_", " "), phrase) for name, phrase in phrases.items() if phrase]


def share(value: float | None) -> str | None:
    """A share of one in percent, any other number as it is."""
    if value is None:
        return None
    return f"{100 * value:.1f} %" if 0 <= value <= 1 else f"{value:.4g}"
