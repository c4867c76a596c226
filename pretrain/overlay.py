"""Resolve an overlay and ``key=value`` arguments to a full MaxText configuration.

This imports neither MaxText nor jax, so a wrong key is reported at once.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tinymathreason.cli import InputError
from tinymathreason.config import nearest
from tinymathreason.parsing import parse_yaml


def upstream_configs() -> Path:
    """The folder of configurations in the installed MaxText package."""
    spec = importlib.util.find_spec("maxtext")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("MaxText is not installed: install the extra 'pretrain'")
    return Path(spec.submodule_search_locations[0]) / "configs"


def load(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration that MaxText resolves: base.yml, the overlay and its bases, ``overrides``.

    ``base_config`` is searched for beside the file that names it, then in `upstream_configs`.
    Raises `InputError` naming file and key for a missing file, a cycle, a key that is not in
    MaxText's base.yml, or a value whose type differs from that in base.yml.
    """
    base = _read(upstream_configs() / "base.yml")
    values = dict(base)
    for file in reversed(_chain(Path(path))):
        values.update(_checked(_read(file), base, str(file)))
    for override in overrides:
        if not override.partition("=")[1]:
            raise InputError(f"argument {override!r}: expected key=value")
    try:
        command_line: Any = OmegaConf.to_container(
            OmegaConf.from_cli(list(overrides)), resolve=True
        )
    except (yaml.YAMLError, OmegaConfBaseException, RecursionError) as error:
        raise InputError(f"command line: {' '.join(overrides)!r}: {error}") from error
    values.update(_checked(command_line, base, "command line"))
    return values


def _chain(path: Path) -> list[Path]:
    """The overlay and its bases, nearest first, without MaxText's base.yml."""
    chain: list[Path] = []
    while path.resolve() != (upstream_configs() / "base.yml").resolve():
        if path.resolve() in (file.resolve() for file in chain):
            raise InputError(f"{path}: base_config leads back to itself")
        chain.append(path)
        parent = _read(path).get("base_config")
        if not isinstance(parent, str):
            raise InputError(f"{path}: key 'base_config' must name another overlay or base.yml")
        beside = path.parent / parent
        path = beside if beside.is_file() else upstream_configs() / parent
    return chain


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if not path.is_relative_to(upstream_configs()):
        parse_yaml(path.read_bytes(), path)  # refuses duplicate keys and unlimited nesting
    try:
        values: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a valid overlay: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping of keys to values")
    return values


def _checked(values: dict[str, Any], base: dict[str, Any], origin: str) -> dict[str, Any]:
    values = {key: value for key, value in values.items() if key != "base_config"}
    for key, value in values.items():
        if key not in base:
            close = nearest(key, base).partition("accepted:")[0]
            raise InputError(
                f"{origin}: unknown key {key!r}; {close}accepted: the keys of base.yml"
            )
        expected = base[key]
        if isinstance(expected, bool):
            wrong = not isinstance(value, bool)
        elif isinstance(expected, int | float):
            wrong = isinstance(value, bool) or not isinstance(value, int | float)
        elif isinstance(expected, list):
            wrong = not isinstance(value, list | str)
        else:
            # None in base.yml stands for a value of any type.
            wrong = expected not in (None, "None") and not isinstance(value, str | None)
        if wrong:
            raise InputError(
                f"{origin}: key {key!r}: expected {_kind(expected)} (got {value!r:.80})"
            )
    return values


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "text, in quotes when it looks like a number"
    return "a list" if isinstance(value, list) else "a number"
