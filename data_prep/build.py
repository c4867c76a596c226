"""Command: build a mixture of ArrayRecord files from a recipe.

python -m data_prep.build [RECIPE.yaml] [key=value ...]
"""

import argparse
import dataclasses
import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinymathreason import cli, provenance
from tinymathreason.cli import InputError
from tinymathreason.config import load
from tinymathreason.files import new_directory, read_json, write_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from data_prep.recipe import Recipe

DEFAULT = Path(__file__).parent / "recipes" / "tinymathreason_1b.yaml"
"""The full model's recipe."""
BATCH = 512
"""Documents tokenised at once."""


def build(recipe: "Recipe") -> dict[str, Any]:
    """Write ``recipe.output_dir`` and return its manifest; a finished one is only read.

    The folder holds ``mixture.json`` for MaxText, ``tokenizer/``, ``<source>/train-*`` and
    ``<source>/eval-*`` ArrayRecord files, and ``manifest.json``. It appears when all is written.
    Raises `InputError` for unreadable sources, and when the folder was built by another recipe.
    """
    values = _plain(recipe)
    if recipe.output_dir.exists():
        manifest: dict[str, Any] = read_json(recipe.output_dir / "manifest.json")
        if manifest["recipe"] != values:
            raise InputError(
                f"{recipe.output_dir} was built by another recipe; remove it or set output_dir"
            )
        return manifest
    started = time.monotonic()
    with new_directory(recipe.output_dir) as folder:
        tokenizer = _tokenizer(recipe, folder / "tokenizer")
        sources, weights = {}, {}
        cleaned = _cleaned(recipe)
        for name, documents in cleaned:
            sources[name], weights[name] = _write_source(recipe, name, documents, tokenizer, folder)
        # Grain draws records, not tokens: a source of long documents needs fewer draws.
        mixture = {
            name: {"path": f"{recipe.output_dir / name}/train-*", "weight": weight}
            for name, weight in weights.items()
        }
        write_json(folder / "mixture.json", mixture)
        manifest = {
            "recipe": values,
            "sources": sources,
            "vocab_size": tokenizer.get_vocab_size(),
            "seconds": round(time.monotonic() - started, 1),
            **provenance.record(),
        }
        write_json(folder / "manifest.json", manifest)
    return manifest


def _plain(value: Any) -> Any:
    """The recipe as JSON holds it, to compare with the one in a manifest."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def _cleaned(recipe: "Recipe") -> Iterator[tuple[str, Iterator[tuple[str, str | None]]]]:
    """For each source its name and its documents: the text, and a reason when it is rejected."""
    from data_prep.clean import Cleaner
    from data_prep.readers import read

    clean = Cleaner()
    for name, source in recipe.sources.items():
        yield name, map(clean, read(name, source, recipe.seed))


def _tokenizer(recipe: "Recipe", folder: Path) -> "Tokenizer":
    """Train or copy the tokenizer into ``folder``, and load it from there."""
    from data_prep import tokenizer

    if recipe.tokenizer.path is not None:
        tokenizer.save(tokenizer.load(recipe.tokenizer.path), folder)
    elif recipe.tokenizer.train is not None:
        sample = _sample(recipe, recipe.tokenizer.train.sample_bytes)
        tokenizer.save(tokenizer.train(sample, recipe.tokenizer.train.vocab_size), folder)
    return tokenizer.load(folder)


def _sample(recipe: "Recipe", sample_bytes: int) -> Iterator[str]:
    """Training documents of every source, in bytes proportional to its weight."""
    from data_prep.clean import is_held_out

    total = sum(source.weight for source in recipe.sources.values())
    for name, documents in _cleaned(recipe):
        left = sample_bytes * recipe.sources[name].weight / total
        for text, reason in documents:
            if left <= 0:
                break
            if reason is None and not is_held_out(text, recipe.eval_fraction, recipe.seed):
                left -= len(text.encode("utf-8"))
                yield text


def _write_source(
    recipe: "Recipe",
    name: str,
    documents: Iterator[tuple[str, str | None]],
    tokenizer: "Tokenizer",
    folder: Path,
) -> tuple[dict[str, Any], float]:
    """Tokenise one source into its shards; returns its manifest entry and its draw weight."""
    from tqdm import tqdm

    from data_prep.clean import is_held_out
    from data_prep.records import Shards
    from tinymathreason.chatml import EOS, SPECIAL_TOKENS

    eos = SPECIAL_TOKENS.index(EOS)
    shards = {
        "train": Shards(folder / name, "train", recipe.shards),
        "eval": Shards(folder / name, "eval", 1),
    }
    rejected: Counter[str] = Counter()
    read = size = 0
    progress = tqdm(desc=name, unit=" documents", total=recipe.sources[name].documents)
    for batch in itertools.batched(documents, BATCH):
        read += len(batch)
        rejected.update(reason for _, reason in batch if reason is not None)
        texts = [text for text, reason in batch if reason is None]
        size += sum(len(text.encode("utf-8")) for text in texts)
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        for text, encoding in zip(texts, encodings, strict=True):
            split = "eval" if is_held_out(text, recipe.eval_fraction, recipe.seed) else "train"
            shards[split].write([*encoding.ids, eos])
        progress.update(len(batch))
    progress.close()
    for shard in shards.values():
        shard.close()

    kept = {split: sum(shard.records) for split, shard in shards.items()}
    for split, records in kept.items():
        if not records:
            raise InputError(f"sources.{name}: no document is left for its {split} split")
    train = shards["train"]
    entry = {
        "documents": {
            "read": read,
            "kept": sum(kept.values()),
            "rejected": dict(rejected),
        },
        "bytes": size,
        "tokens": sum(sum(shard.tokens) for shard in shards.values()),
        "shards": [entry for shard in shards.values() for entry in _describe(shard, folder)],
    }
    if read != sum(kept.values()) + rejected.total():
        raise AssertionError(f"sources.{name}: documents were lost: {entry['documents']}")
    return entry, recipe.sources[name].weight * kept["train"] / sum(train.tokens)


def _describe(shards: Any, folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "path": str(path.relative_to(folder)),
            "records": records,
            "tokens": tokens,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path, records, tokens in zip(shards.paths, shards.records, shards.tokens, strict=True)
    ]


def _table(recipe: "Recipe", manifest: dict[str, Any]) -> str:
    lines = [
        f"{'source':20} {'read':>10} {'kept':>10} {'rejected':>10} {'tokens':>12} {'weight':>7}"
    ]
    total = sum(source.weight for source in recipe.sources.values())
    for name, entry in manifest["sources"].items():
        documents = entry["documents"]
        lines.append(
            f"{name:20} {documents['read']:>10,} {documents['kept']:>10,} "
            f"{sum(documents['rejected'].values()):>10,} {entry['tokens']:>12,} "
            f"{recipe.sources[name].weight / total:>7.1%}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str]) -> None:
    """Parse the command line, build, and print what was written."""
    parser = argparse.ArgumentParser(prog="data_prep.build", description=__doc__.splitlines()[0])
    parser.add_argument(
        "recipe", nargs="?", default=str(DEFAULT), help=f"YAML file; default: {DEFAULT.name}"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="replace a recipe's value"
    )
    arguments = parser.parse_args(argv)

    from data_prep.recipe import Recipe

    path, overrides = arguments.recipe, arguments.overrides
    if "=" in path and not Path(path).is_file():
        path, overrides = str(DEFAULT), [path, *overrides]
    recipe = load(Recipe, path, overrides)
    finished = recipe.output_dir.exists()
    manifest = build(recipe)
    print(_table(recipe, manifest))
    print(f"{recipe.output_dir} {'was already complete' if finished else 'written'}")


if __name__ == "__main__":
    cli.run(main)
