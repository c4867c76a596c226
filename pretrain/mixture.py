"""What MaxText will read of a mixture: whether it is whole, and how its folders must be written.

MaxText makes a path absolute, follows its links, and then takes every part of it as a pattern.
"""

import glob
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.mixture import check_read
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json
from tinymathreason.listing import as_pattern, is_remote, literal

MIXTURE = "grain_train_mixture_config_path"
"""MaxText's key for mixture.json."""


def sources(config: Mapping[str, Any]) -> dict[str, str]:
    """The pattern of every source in mixture.json, by name; `InputError` when it is none."""
    path = config[MIXTURE]
    if not path:
        return {}
    found = read_json(path)
    try:
        return {name: str(source["path"]) for name, source in found.items()}
    except (AttributeError, TypeError, KeyError) as error:
        raise InputError(f"{path}: not a mixture: expected a path for each source") from error


def check(config: Mapping[str, Any]) -> None:
    """Raise `InputError` unless what MaxText will read is there, and of our mixtures all of it.

    Names and sizes are compared with the manifest, and SHA-256 where it takes a second. What lies
    in a bucket is upstream's to find.
    """
    for key, pattern in _patterns(config).items():
        if not is_remote(pattern):
            check_read(as_pattern(_absolute(pattern)))
            if not _meant(pattern):
                raise InputError(f"{key}: no file matches {pattern}; build the mixture there first")


def arguments(config: Mapping[str, Any], folder: Path) -> list[str]:
    """``key=value`` for MaxText in place of the paths that it would read otherwise than meant.

    A changed mixture.json is written to ``folder``. Most paths need none of it.
    """
    found = []
    read = {key: p for key, p in _patterns(config).items() if not (is_remote(p) or _is_read(p))}
    of_sources = {name: f"{MIXTURE}: {name}" for name in sources(config)}
    if read.keys() & set(of_sources.values()):
        mixture = read_json(config[MIXTURE])
        for name, key in of_sources.items():
            if key in read:
                mixture[name] = {**mixture[name], "path": _for_upstream(read[key])}
        write_json(folder / "mixture.json", mixture)
        found.append(argument(MIXTURE, str(folder / "mixture.json")))
    for key in read.keys() - set(of_sources.values()):
        pattern = _for_upstream(read[key])
        if ";" in pattern:
            raise InputError(f"{key}: MaxText takes the ';' in {pattern} for the end of a path")
        found.append(argument(key, pattern))
    return found


def argument(key: str, value: str) -> str:
    """``key=value`` that gives MaxText exactly this text, whatever YAML would make of it."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}".replace("${", "\\\\${")


def _patterns(config: Mapping[str, Any]) -> dict[str, str]:
    """Everything that MaxText's Grain pipeline reads, by where it is named."""
    if config["dataset_type"] != "grain" or config["grain_file_type"] != "arrayrecord":
        return {}
    found = {f"{MIXTURE}: {name}": pattern for name, pattern in sources(config).items()}
    keys = [] if found else ["grain_train_files"]
    if config["eval_interval"] > 0:
        keys.append("grain_eval_files")
    for key in keys:
        pattern = str(config[key] or "")
        # Several patterns, each with a weight, are upstream's own form.
        if pattern and (";" not in pattern or _meant(pattern)):
            found[key] = pattern
    return found


def _absolute(pattern: str) -> str:
    """The absolute path, or pattern, that is meant."""
    if pattern.startswith("~/") and not os.path.lexists("~"):
        pattern = f"{Path.home()}{pattern[1:]}"
    return str(Path.cwd() / pattern)


def _meant(pattern: str) -> list[str]:
    """The files that are meant."""
    return glob.glob(as_pattern(_absolute(pattern)))


def _for_upstream(pattern: str) -> str:
    """The glob that is meant, with nothing left in it for MaxText to resolve."""
    path = _absolute(pattern)
    end = literal(path)
    return glob.escape(os.path.realpath(path[:end] or "/")).rstrip("/") + path[end:]


def _is_read(pattern: str) -> bool:
    """Whether MaxText finds the files that are meant."""
    try:
        upstream = glob.glob(str(Path(pattern).expanduser().resolve()))
    except RuntimeError:  # the home of nobody
        return False
    return set(map(os.path.realpath, upstream)) == set(map(os.path.realpath, _meant(pattern)))
