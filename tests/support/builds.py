"""Inputs of data preparation: random documents, rows, recipes and the command that builds them."""

import json
import random
import sys
from pathlib import Path

import yaml

WORDS = [
    a + b + c
    for a in ("ba", "ce", "di", "fo", "gu", "ka", "le", "mi")
    for b in ("rn", "st", "l", "nd", "m")
    for c in ("a", "e", "ing", "or", "ed")
]
EXIT_FOR_INPUT = 2
"""Exit status of a command that refuses its input."""


def documents(seed: int, count: int, words: int = 60) -> list[str]:
    """Random texts, no two of them near-duplicates."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=words)) + "." for _ in range(count)]


def write_jsonl(path: Path, texts: list[str], first: int = 0) -> None:
    rows = [{"text": text, "id": f"{path.stem}-{first + i}"} for i, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_recipe(folder: Path, sources: dict, **values) -> Path:
    """A recipe with a relative output, so that builds in different folders have equal records."""
    recipe = {
        "output_dir": "mixture",
        "tokenizer": {"train": {"vocab_size": 320, "sample_bytes": 50_000}},
        "eval_fraction": 0.1,
        "sources": sources,
        **values,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "data_prep.build", *map(str, arguments)]
