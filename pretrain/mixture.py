"""Check the mixture that MaxText will read, and pass its paths so that MaxText finds the files.

MaxText makes a path absolute, resolves its links and then interprets all of it as a glob pattern,
so a folder name such as ``d[1]`` must be escaped.
"""

import glob
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.mixture import check_read
from tinymathreason.cli import InputError
from tinymathreason.listing import as_pattern, is_remote, literal
from tinymathreason.records.mixture import Draws, Mixture
from tinymathreason.records.pretraining import MixtureHash

MIXTURE = "grain_train_mixture_config_path"
"""MaxText's key for mixture.json."""


def sources(config: Mapping[str, Any]) -> dict[str, str]:
    """The pattern of every source in mixture.json by name; `InputError` for another file."""
    path = config[MIXTURE]
    if not path:
        return {}
    return {name: source.path for name, source in Draws.load(path).root.items()}


def check(config: Mapping[str, Any]) -> None:
    """Raise `InputError` when files that MaxText will read are missing.

    For a mixture of this project, names and sizes are compared with the manifest, and SHA-256 where
    it takes less than a second. Files in a bucket are not checked.
    """
    for key, pattern in _patterns(config).items():
        if not is_remote(pattern):
            check_read(as_pattern(_absolute(pattern)))
            if not _matches(pattern):
                raise InputError(f"{key}: no file matches {pattern}; build the mixture there first")


def record(config: dict[str, Any]) -> MixtureHash | None:
    """SHA-256 of the mixture's manifest.json and of its content; None without a mixture.

    The content is the names, weights and records of the sources, so a mixture that was rebuilt or
    moved is still the same. Without a manifest it is the bytes of mixture.json.
    """
    if not config[MIXTURE]:
        return None
    path = Path(config[MIXTURE])
    manifest = path.with_name("manifest.json")
    if not manifest.is_file():
        return MixtureHash(
            manifest_sha256=None, content_sha256=_sha256(path.read_bytes()), file=path.name
        )
    mixture, draws = Mixture.load(manifest), Draws.load(path).root
    sources = mixture.sources
    if unknown := draws.keys() - sources.keys():
        raise InputError(f"{path}: {', '.join(sorted(unknown))}: not in {manifest.name} beside it")
    content = [
        [name, draw.weight, [[s.path, s.sha256] for s in sources[name].shards]]
        for name, draw in draws.items()
    ]
    return MixtureHash(
        manifest_sha256=_sha256(manifest.read_bytes()),
        content_sha256=_sha256(json.dumps(content).encode()),
        recipe=mixture.recipe.name,
        file=path.name,
    )


def arguments(config: Mapping[str, Any], folder: Path) -> list[str]:
    """The ``key=value`` arguments for paths that MaxText would interpret differently; often none.

    A changed mixture.json is written to ``folder``.
    """
    result = []
    changed = {
        key: p for key, p in _patterns(config).items() if not (is_remote(p) or _finds_all(p))
    }
    of_sources = {name: f"{MIXTURE}: {name}" for name in sources(config)}
    if changed.keys() & set(of_sources.values()):
        mixture = dict(Draws.load(config[MIXTURE]).root)
        for name, key in of_sources.items():
            if key in changed:
                path = _for_maxtext(changed[key])
                mixture[name] = mixture[name].model_copy(update={"path": path})
        Draws(mixture).write(folder / "mixture.json")
        result.append(argument(MIXTURE, str(folder / "mixture.json")))
    for key in changed.keys() - set(of_sources.values()):
        pattern = _for_maxtext(changed[key])
        if ";" in pattern:
            raise InputError(f"{key}: MaxText treats the ';' in {pattern} as the end of a path")
        result.append(argument(key, pattern))
    return result


def argument(key: str, value: str) -> str:
    """A ``key=value`` argument that MaxText reads as this text, even if it looks like YAML."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}".replace("${", "\\\\${")


def _patterns(config: Mapping[str, Any]) -> dict[str, str]:
    """The patterns that MaxText's Grain pipeline reads, by the key or source that names them."""
    if config["dataset_type"] != "grain" or config["grain_file_type"] != "arrayrecord":
        return {}
    patterns = {f"{MIXTURE}: {name}": pattern for name, pattern in sources(config).items()}
    keys = [] if patterns else ["grain_train_files"]
    if config["eval_interval"] > 0:
        keys.append("grain_eval_files")
    for key in keys:
        pattern = str(config[key] or "")
        # Several patterns, each with a weight, are MaxText's own notation and need no change.
        if pattern and (";" not in pattern or _matches(pattern)):
            patterns[key] = pattern
    return patterns


def _absolute(pattern: str) -> str:
    """The pattern as an absolute one."""
    if pattern.startswith("~/") and not os.path.lexists("~"):
        pattern = f"{Path.home()}{pattern[1:]}"
    return str(Path.cwd() / pattern)


def _matches(pattern: str) -> list[str]:
    """The files that a pattern matches when names with special characters are taken literally."""
    return glob.glob(as_pattern(_absolute(pattern)))


def _for_maxtext(pattern: str) -> str:
    """A pattern with which MaxText finds the same files: absolute, without links, and escaped."""
    path = _absolute(pattern)
    end = literal(path)
    return glob.escape(os.path.realpath(path[:end] or "/")).rstrip("/") + path[end:]


def _finds_all(pattern: str) -> bool:
    """Whether MaxText finds all files of a pattern."""
    try:
        files = glob.glob(str(Path(pattern).expanduser().resolve()))
    except RuntimeError:  # the home directory of an unknown user
        return False
    return set(map(os.path.realpath, files)) == set(map(os.path.realpath, _matches(pattern)))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
