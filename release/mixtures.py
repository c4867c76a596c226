"""Which mixture belongs to which phase of pretraining, for the card and for the report.

A model with a last phase of its own has several mixtures. A run's folder has one, so the user names
them all, oldest first.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tinymathreason.cli import InputError

if TYPE_CHECKING:
    from release.cards.left_out import LeftOut
    from release.records import RunRecords
    from tinymathreason.records.mixture import Mixture


def add_argument(parser: argparse.ArgumentParser) -> None:
    """The argument for `release.records.Folders.with_mixtures`."""
    parser.add_argument(
        "--mixture", type=Path, action="append",
        help="several for a model with a last phase of its own, oldest first; default: RUN/mixture",
    )  # fmt: skip


def titled[T](earlier: dict[str, T], last: T) -> dict[str, T]:
    """What belongs to each phase, by its title: the ``earlier`` ones by recipe, then the last."""
    titles = {f"Pretraining: {name}": value for name, value in earlier.items()}
    return {**titles, "Pretraining, last phase" if earlier else "Pretraining": last}


def earlier_mixtures(records: "RunRecords", left_out: "LeftOut") -> "dict[str, Mixture | None]":
    """The mixtures of other recipes than the last one, oldest first; None for one not given.

    `InputError` for a mixture that the records do not name as that of an earlier phase.
    """
    from release.recipes import phases

    found = phases(records)
    recipes = dict.fromkeys(phase.recipe for phase in found[:-1])
    wanted = [name for name in recipes if name and name != found[-1].recipe]
    mixtures: dict[str, Mixture | None] = dict.fromkeys(wanted)
    for folder, mixture in records.earlier_mixtures.items():
        name = mixture.recipe.name
        if name is None or name not in wanted:
            raise InputError(
                f"{folder}: no earlier phase of the model has its recipe, {name}; the records name "
                f"{', '.join(wanted) or 'none'}. Name the mixture of the last phase last"
            )
        mixtures[name] = mixture
        wanted.remove(name)
    if wanted:
        left_out.add(
            f"the data of the earlier phases of pretraining: {', '.join(wanted)}",
            "name their mixtures by --mixture, and that of the last phase last",
        )
    return mixtures


def last_mixture(records: "RunRecords", left_out: "LeftOut") -> "Mixture | None":
    """The mixture of the last phase; None without one, or if another one was trained on."""
    from tinymathreason.provenance import file_hash

    mixture, path = records.mixture, records.folders.mixture / "manifest.json"
    start = records.starts[-1].mixture if records.starts else None
    if mixture and start and start.manifest_sha256 not in (None, file_hash(path)):
        left_out.add("the data of pretraining", f"{path} is not of the mixture that was trained on")
        return None
    return mixture
