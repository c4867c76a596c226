"""The input files of a build: their sizes and versions, and what has changed since."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.recipe import BenchmarkQuestions, ClassifierTraining, Recipe, Source
from tinymathreason.cli import InputError
from tinymathreason.listing import File, UnreachableError, is_remote, list_files, list_folder

Inputs = Mapping[str, Sequence[Any]]
"""For each file its size in bytes and its version, which changes with its content; as in JSON."""
FILES = ("parquet", "jsonl", "text")
"""Formats whose ``path`` names files."""
NAMED = 3
"""Changes that a message names; the others are only counted."""


def of_source(name: str, source: Source, skip: bool) -> list[File]:
    """The files of a recipe's source; ``skip`` as for `list_files`.

    A dataset on the hub counts as one file; a generator has none.
    """
    name = f"sources.{name}.path"
    if source.format in FILES:
        return list_files(name, source.path, skip)
    if source.format == "generator":
        return []
    if is_remote(source.path) or Path(source.path).is_dir():
        return list_folder(name, source.path, skip)
    if source.format == "tfds" or Path(source.path).exists():
        return []  # opening it reports what is wrong
    from data_prep.readers import commit

    return [File(f"{source.path}@{source.revision or 'main'}", 0, commit(source))]


def of_sources(recipe: Recipe) -> dict[str, list[File]]:
    """The files of every source; an unreadable one is an error, unless bad input is skipped."""
    skip = recipe.on_bad_input == "skip"
    return {name: of_source(name, source, skip) for name, source in recipe.sources.items()}


def of_benchmarks(benchmarks: Sequence[BenchmarkQuestions]) -> list[File]:
    """The files of benchmark questions."""
    return [
        file
        for number, benchmark in enumerate(benchmarks)
        for file in list_files(f"decontaminate.{number}.path", benchmark.path)
    ]


def of_classifier(name: str, training: ClassifierTraining) -> list[File]:
    """The files of a classifier's examples."""
    return [
        file
        for kind in ("positives", "negatives")
        for number, examples in enumerate(getattr(training, kind))
        for file in list_files(f"classifiers.{name}.{kind}.{number}.path", examples.path)
    ]


def of_recipe(recipe: Recipe, listed: Iterable[File] | None = None) -> Inputs:
    """All files that a build reads; ``listed`` are those of the sources, if they are known."""
    if listed is None:
        listed = itertools.chain.from_iterable(of_sources(recipe).values())
    files = [*listed, *of_benchmarks(recipe.decontaminate)]
    for name, training in recipe.classifiers.items():
        files += of_classifier(name, training)
    if recipe.tokenizer.path is not None:
        file = recipe.tokenizer.path / "tokenizer.json"
        files += list_files("tokenizer.path", str(file))
    return described(files)


def described(files: Iterable[File]) -> Inputs:
    """The files as a record stores them."""
    return {file.path: [file.size, file.version] for file in sorted(files)}


def changes(before: Inputs, now: Inputs) -> str:
    """What differs, in words; empty when nothing does."""
    changed = [f"{path} is new" for path in now.keys() - before.keys()]
    changed += [f"{path} is gone" for path in before.keys() - now.keys()]
    for path in before.keys() & now.keys():
        (size, version), (size_now, version_now) = before[path], now[path]
        if size != size_now:
            changed.append(f"{path} had {size:,} bytes and has {size_now:,}")
        elif None not in (version, version_now) and version != version_now:
            changed.append(f"{path} was modified")
    more = f" and {len(changed) - NAMED:,} more" if len(changed) > NAMED else ""
    return "; ".join(sorted(changed)[:NAMED]) + more


def check(recipe: Recipe, before: Inputs) -> str:
    """Raise `InputError` when the inputs have changed.

    A remote place that does not answer is no reason to refuse a complete mixture: then this returns
    in words what is unknown, and otherwise an empty text.
    """
    try:
        now = of_recipe(recipe)
    except UnreachableError as error:
        return f"it is unknown whether its inputs have changed: {error}"
    except InputError as error:
        raise InputError(f"the inputs have changed: {error}") from error
    if changed := changes(before, now):
        raise InputError(f"the inputs have changed: {changed}")
    return ""
