"""The open model of others that a model comes from: its name, revision and licence.

The record of the fine-tuning names a model of the hub, that of a continued pretraining the model
that `conversion.to_maxtext` converted. The folder of a model has no name and no revision, so that
the user gives them. The licence is that of the model's own card.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release.cards.metadata import HUB_ID, LICENSES
from release.lineage import PARITY, lineage, tuning_record
from release.records import RunRecords
from tinymathreason.cli import InputError
from tinymathreason.parsing import parse_yaml
from tinymathreason.provenance import model_hash
from tinymathreason.records.pretraining import StartRecord

LICENSE = "apache-2.0"
"""Of a model that was pretrained from nothing, unless the user names another."""
LICENSE_KEYS = ("license", "license_name", "license_link")
"""Keys of a card's metadata that tell its licence; the last two explain a licence ``other``."""
_REVISION = re.compile(r"[\w./-]+")
_FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Origin:
    """A model that was not trained here."""

    folder: Path | None
    """Its folder; None when it is on the hub and not in the cache."""
    name: str | None = None
    """Its name on the hub; None when nothing tells it."""
    revision: str | None = None
    """Its commit on the hub; None when nothing tells it."""

    @property
    def words(self) -> str:
        """Its name and revision, or its folder."""
        if self.name is None:
            return str(self.folder)
        return f"{self.name} at {self.revision}" if self.revision else self.name

    @property
    def license(self) -> dict[str, str]:
        """`LICENSE_KEYS` of its card; empty without a card or without a licence in it."""
        card = self.folder / "README.md" if self.folder else None
        if card is None or not card.is_file():
            return {}
        front = _FRONT.match(card.read_text(encoding="utf-8", errors="replace"))
        values = parse_yaml(front[1], card) if front else None
        if not isinstance(values, dict):
            return {}
        return {key: text for key in LICENSE_KEYS if isinstance(text := values.get(key), str)}


def origin(folder: Path) -> Origin | None:
    """Where a model's lineage begins; None for one that was pretrained from nothing.

    None also when its start is gone, so that nothing tells where it comes from.
    """
    last = list(lineage(folder))[-1]
    tuned = tuning_record(last)
    if tuned is not None:
        name = tuned.model_name_or_path
        if re.fullmatch("[0-9a-f]{64}", tuned.base) or not HUB_ID.fullmatch(name):
            return None
        return Origin(cached(name, tuned.base), name, tuned.base)
    return None if (last / PARITY).is_file() else Origin(last)


def continued(starts: Sequence[StartRecord]) -> Origin | None:
    """The open model whose pretraining was continued; None when it began with none."""
    weights = next((start.weights for start in starts if start.weights), None)
    if weights is None or weights.model is None:
        return None
    name, _, revision = weights.model.partition("@")
    folder = Path(weights.model_folder) if weights.model_folder else None
    if folder and (
        not (folder / "config.json").is_file() or model_hash(folder) != weights.model_sha256
    ):
        folder = None
    # Without a name on the hub the record has that of the folder.
    return Origin(folder, name if "/" in name else None, revision or None)


def cached(name: str, revision: str) -> Path | None:
    """The folder of a model of the hub in this machine's cache; None when it is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def named(start: Origin, given: str | None) -> Origin:
    """The origin with the name and the revision that the user gave as ``ORG/NAME[@REVISION]``.

    Raises `InputError` for another form, and for a name that a record contradicts.
    """
    if given is None:
        return start
    name, _, revision = given.partition("@")
    if (
        not HUB_ID.fullmatch(name)
        or "/" not in name
        or (given != name and not _REVISION.fullmatch(revision))
    ):
        raise InputError(f"--base-model {given!r}: is not ORG/NAME or ORG/NAME@REVISION")
    known = (start.name, start.revision)
    for ours, theirs in zip(known, (name, revision or start.revision), strict=True):
        if ours is not None and ours != theirs:
            raise InputError(f"--base-model {given!r}: the record of its fine-tuning says {ours!r}")
    return Origin(start.folder, name, revision or start.revision)


def beginning(records: RunRecords, base_model: str | None) -> Origin | None:
    """The open model that a run began with; None for a model that was pretrained from nothing.

    Raises `InputError` for a ``base_model`` that does not fit the records.
    """
    folders = records.folders
    start = origin(folders.model)
    if start is None and (folders.base / "config.json").is_file():
        start = origin(folders.base)
    if records.starts and not (start and start.name):
        start = continued(records.starts)  # a base without a proof of its conversion is ours, too
    if start is None and base_model is not None:
        raise InputError(
            f"--base-model {base_model!r}: by its records, {folders.model} began with no other"
        )
    return start and named(start, base_model)


def licence(given: str | None, began: Origin | None) -> dict[str, str]:
    """The licence of the weights: the given one, else that of the open model, else the project's.

    Raises `InputError` for one that the hub does not know, and where nothing tells that of the open
    model.
    """
    keys = {"license": given} if given else began.license if began else {"license": LICENSE}
    if "license" not in keys:
        raise InputError(
            "--license: is needed, because nothing tells the licence of the model that this one "
            "began with"
        )
    if keys["license"] not in LICENSES:
        raise InputError(f"--license {keys['license']!r}: one of {', '.join(sorted(LICENSES))}")
    return keys


def described(start: Origin) -> dict[str, Any]:
    """What a card shows of an origin: its name, or the last part of its folder's, and the rest."""
    return {
        "name": start.name,
        "folder": start.folder.resolve().name if start.folder else None,
        "revision": start.revision,
        "license": start.license.get("license"),
    }
