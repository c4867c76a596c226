"""Parses YAML and JSON; a malformed text is one line that says where it is wrong.

Depth and size are bounded. Deep nesting or aliases that multiply would otherwise end later in a
RecursionError or use up the memory.
"""

import json
from typing import Any

import yaml

from tinymathreason.cli import InputError

DEPTH = 100
"""Maximum nesting of mappings and lists."""
VALUES = 100_000
"""Maximum number of values in a YAML text; an alias counts all values that it repeats."""
_NOT_OF_ITS_TAG = (ValueError, LookupError, AttributeError, TypeError)
"""Exceptions of PyYAML for a value such as ``2020-99-99`` or ``!!int x``."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, but with bounds, and with an error for a key that appears twice."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        before = self._values
        self._depth += 1
        if self._depth > DEPTH:
            raise _wrong(f"nested deeper than {DEPTH}", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if not isinstance(event, yaml.AliasEvent):
            self._values += 1
            self._sizes[id(node)] = self._values - before
        elif id(node) in self._sizes:
            self._values += self._sizes[id(node)]
        else:
            raise _wrong("an alias of a value that contains it", event)
        if self._values > VALUES:
            raise _wrong(f"more than {VALUES:,} values", event)
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                name = self.construct_object(key)
                if name in lines:
                    raise _wrong(f"duplicate key {key.value!r}, first in line {lines[name]}", key)
                lines[name] = _line(key)
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except _NOT_OF_ITS_TAG as error:
            raise _wrong(f"{getattr(node, 'value', '')!r:.80}: {error}", node) from error


def _line(where: Any) -> int:
    return int(where.start_mark.line) + 1


def _wrong(problem: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


def parse_yaml(text: str | bytes, origin: object) -> Any:
    """The value of a YAML text, without Python's own tags.

    Raises `InputError` naming ``origin`` and the line for a malformed text, for a duplicate key,
    and beyond `DEPTH` and `VALUES`.
    """
    try:
        loader = _Loader(text.decode("utf-8") if isinstance(text, bytes) else text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(part for part in (error.context, error.problem) if part)
        place = f"line {mark.line + 1}: " if mark else ""
        raise InputError(f"{origin}: not valid YAML: {place}{reason}") from error
    except (yaml.YAMLError, *_NOT_OF_ITS_TAG) as error:
        raise InputError(f"{origin}: not valid YAML: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError for a duplicate key."""
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(k for k in keys if keys.count(k) > 1)!r:.80} appears twice")
    return value


def parse_json(text: str | bytes, origin: object, unique: bool = False) -> Any:
    """The value of a JSON text in UTF-8.

    Raises `InputError` naming ``origin`` for a malformed text, beyond `DEPTH`, and with ``unique``
    for a duplicate key; without it the last value counts.
    """
    deep = InputError(f"{origin}: not valid JSON: nested deeper than {DEPTH}")
    try:
        value = json.loads(
            text.decode("utf-8") if isinstance(text, bytes) else text,
            object_pairs_hook=_unique if unique else None,
        )
    except RecursionError as error:
        raise deep from error
    except ValueError as error:
        raise InputError(f"{origin}: not valid JSON: {error}") from error
    level = [value]
    for _ in range(DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return value
    raise deep
