"""Reads YAML files and ``key=value`` arguments into checked dataclasses."""

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, dataclass_transform

import pydantic

from tinymathreason.cli import InputError
from tinymathreason.parsing import parse_yaml

UNKNOWN = "unexpected_keyword_argument"
"""Pydantic's name for a key that a dataclass does not have."""


@dataclass_transform(kw_only_default=True)
def config[T](cls: type[T]) -> type[T]:
    """Make ``cls`` a dataclass of keyword fields for `build`, which refuses unknown keys."""
    cls.__pydantic_config__ = pydantic.ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return dataclasses.dataclass(kw_only=True, slots=True)(cls)


def nearest(word: str, accepted: Iterable[str]) -> str:
    """A hint for an unknown name: the most similar accepted name, then all accepted names."""
    accepted = sorted(accepted)
    close = difflib.get_close_matches(word, accepted, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}accepted: {', '.join(accepted)}"


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file; `InputError` when it is missing, malformed or not a mapping."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    values = parse_yaml(path.read_bytes(), path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping of keys to values")
    return values


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """``["a.b=1", "c=x"]`` -> ``{"a": {"b": 1}, "c": "x"}``; values are read as YAML."""
    overrides: dict[str, Any] = {}
    for argument in arguments:
        key, separator, value = argument.partition("=")
        if not separator or not key:
            raise InputError(f"argument {argument!r}: expected key=value")
        *parents, last = key.split(".")
        node = overrides
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise InputError(f"argument {argument!r}: {parent!r} was given a value before")
        node[last] = parse_yaml(value, f"argument {argument!r}")
    return overrides


def merge(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``overrides``, mapping by mapping; neither is changed."""
    merged = dict(base)
    for key, value in overrides.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = merge(old, value)
        merged[key] = value
    return merged


def build[T](cls: type[T], values: dict[str, Any], origin: str | Path) -> T:
    """Make the dataclass ``cls`` from ``values``.

    Raises `InputError` naming ``origin``, the field and the accepted values when a key is unknown,
    missing or of the wrong type, or when the dataclass's ``__post_init__`` refuses the value.
    """
    try:
        return pydantic.TypeAdapter(cls).validate_python(values)
    except pydantic.ValidationError as error:
        raise InputError(f"{origin}: {_one_line(cls, error)}") from error


def load[T](cls: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """`build` the dataclass from a YAML file and ``key=value`` arguments, which take precedence."""
    return build(cls, merge(read_yaml(path), parse_overrides(overrides)), path)


def _one_line(cls: type, error: pydantic.ValidationError) -> str:
    # A misspelt key also makes the right one missing; the misspelt one is reported.
    first = min(error.errors(), key=lambda entry: entry["type"] != UNKNOWN)
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == UNKNOWN:
        accepted = _fields_beside(cls, first["loc"])
        return f"unknown key {field!r}; {nearest(str(first['loc'][-1]), accepted)}"
    if first["type"] == "missing":
        return f"key {field!r} is missing"
    if not field:
        # The dataclass's own message names the field; all values would only hide it.
        return first["msg"].removeprefix("Value error, ")
    return (
        f"key {field!r}: {first['msg'].removeprefix('Value error, ')} (got {first['input']!r:.80})"
    )


def _fields_beside(cls: Any, location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the dataclass that has the last key of ``location``."""
    schema = pydantic.TypeAdapter(cls).json_schema()
    node = schema
    for part in location[:-1]:
        node = _resolve(node, schema)
        branches = [_resolve(b, schema) for b in node.get("anyOf", [node])]
        objects = [b for b in branches if b.get("type") in ("object", "array")]
        branch = objects[0] if objects else node
        inside = branch.get("properties", {}).get(part) if isinstance(part, str) else None
        node = inside or branch.get("additionalProperties") or branch.get("items") or {}
    node = _resolve(node, schema)
    branches = [_resolve(b, schema) for b in node.get("anyOf", [node])]
    return [name for branch in branches for name in branch.get("properties", {})]


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node
