"""What a build was made of: names, sizes and times of files in; what has changed since, out."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from data_prep.recipe import BenchmarkQuestions, Recipe, Source
from tinymathreason.cli import InputError
from tinymathreason.listing import File, UnreachableError, is_remote, list_files, list_folder

Inputs = dict[str, list[Any]]
"""For each file its bytes, and what changes with its content, as JSON holds them."""
FILES = ("parquet", "jsonl", "text")
"""Formats whose ``path`` names files."""
TOLD = 3
"""Changes that a message names; the others are counted."""


def of_source(name: str, source: Source, skip: bool) -> list[File]:
    """The files of a recipe's source; ``skip`` as for `list_files`.

    Of a dataset on the hub it is one, the dataset itself; of a generator there are none.
    """
    name = f"sources.{name}.path"
    if source.format in FILES:
        return list_files(name, source.path, skip)
    if source.format == "generator":
        return []
    if is_remote(source.path) or Path(source.path).is_dir():
        return list_folder(name, source.path, skip)
    if source.format == "tfds" or Path(source.path).exists():
        return []  # whoever opens it tells what is wrong
    from data_prep.readers import commit

    return [File(f"{source.path}@{source.revision or 'main'}", 0, commit(source))]


def of_sources(recipe: Recipe) -> dict[str, list[File]]:
    """The files of every source; one that cannot be read is an error, or skipped when it comes."""
    skip = recipe.on_bad_input == "skip"
    return {name: of_source(name, source, skip) for name, source in recipe.sources.items()}


def of_benchmarks(benchmarks: Sequence[BenchmarkQuestions]) -> list[File]:
    """The files that hold questions of benchmarks."""
    return [
        file
        for number, benchmark in enumerate(benchmarks)
        for file in list_files(f"decontaminate.{number}.path", benchmark.path)
    ]


def of_recipe(recipe: Recipe, listed: Iterable[File] | None = None) -> Inputs:
    """Everything that a build reads; ``listed`` are the sources' files where they are known."""
    if listed is None:
        listed = itertools.chain.from_iterable(of_sources(recipe).values())
    files = [*listed, *of_benchmarks(recipe.decontaminate)]
    if recipe.tokenizer.path is not None:
        file = recipe.tokenizer.path / "tokenizer.json"
        files += list_files("tokenizer.path", str(file))
    return described(files)


def described(files: Iterable[File]) -> Inputs:
    """What a record keeps of the files."""
    return {file.path: [file.size, file.version] for file in sorted(files)}


def changes(before: Inputs, now: Inputs) -> str:
    """What differs, in words; empty when nothing does."""
    found = [f"{path} is new" for path in now.keys() - before.keys()]
    found += [f"{path} is gone" for path in before.keys() - now.keys()]
    for path in before.keys() & now.keys():
        (size, version), (size_now, version_now) = before[path], now[path]
        if size != size_now:
            found.append(f"{path} had {size:,} bytes and has {size_now:,}")
        elif None not in (version, version_now) and version != version_now:
            found.append(f"{path} was written again")
    more = f" and {len(found) - TOLD:,} more" if len(found) > TOLD else ""
    return "; ".join(sorted(found)[:TOLD]) + more


def check(recipe: Recipe, before: Inputs) -> str:
    """Raise `InputError` when the inputs are not as they were; what could not be asked, in words.

    A remote place that does not answer is no reason to refuse what is complete.
    """
    try:
        now = of_recipe(recipe)
    except UnreachableError as error:
        return f"whether its inputs are as they were is not known: {error}"
    except InputError as error:
        raise InputError(f"the inputs are not as they were: {error}") from error
    if found := changes(before, now):
        raise InputError(f"the inputs are not as they were: {found}")
    return ""
