"""Command: give a built mixture other weights, such as more mathematics for the end of training.

python -m data_prep.reweight MIXTURE_FOLDER --output FILE.json SOURCE=WEIGHT ...

It reads only the manifest and writes only the file; the records stay where they are.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_prep.mixture import glob_of
from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.config import nearest
from tinymathreason.records.mixture import Draw, Draws, Mixture, Shard, SourceRecord


def training_shards(source: SourceRecord) -> list[Shard]:
    """The training shards of a source in a manifest."""
    return [shard for shard in source.shards if "/train-" in shard.path]


def draws(share: float, source: SourceRecord) -> float:
    """The weight with which Grain draws ``share`` of all tokens from a source in a manifest.

    Grain draws records, not tokens, so a source of long documents needs fewer draws.
    """
    shards = training_shards(source)
    records = sum(shard.records for shard in shards)
    return share * records / sum(shard.tokens for shard in shards)


def reweight(folder: Path, shares: Mapping[str, float]) -> Draws:
    """MaxText's mixture file for drawing ``shares`` of the tokens from the sources of ``folder``.

    Sources without a share are left out. Raises `InputError` for a folder without a manifest, an
    unknown source, a share that is not positive, and shares that do not sum to 1.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise InputError(f"{folder}: no manifest.json; build a mixture there first")
    sources = Mixture.load(path).sources
    for name, share in shares.items():
        if name not in sources:
            raise InputError(f"{folder} has no source {name!r}; {nearest(name, sources)}")
        if not 0 < share <= 1:
            raise InputError(f"{name}={share}: expected a share above 0 and at most 1")
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise InputError(f"the shares sum to {sum(shares.values()):g}; they must sum to 1")
    return Draws(
        {
            name: Draw(path=glob_of(folder, name), weight=draws(share, sources[name]))
            for name, share in shares.items()
        }
    )


def main(argv: Sequence[str]) -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(
        prog="data_prep.reweight", description="Give a built mixture other weights."
    )
    parser.add_argument("mixture", type=Path, help="folder of a built mixture")
    parser.add_argument("shares", nargs="+", metavar="SOURCE=WEIGHT", help="share of the tokens")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_intermixed_args(argv)
    shares = {}
    for argument in arguments.shares:
        name, _, value = argument.partition("=")
        if name in shares:
            raise InputError(f"argument {argument!r}: {name} already has a weight")
        try:
            shares[name] = float(value)
        except ValueError:
            raise InputError(f"argument {argument!r}: expected SOURCE=WEIGHT") from None
    reweight(arguments.mixture, shares).write(arguments.output)
    print(f"{arguments.output}: {', '.join(f'{k} {v:.0%}' for k, v in shares.items())}")


if __name__ == "__main__":
    cli.run(main)
