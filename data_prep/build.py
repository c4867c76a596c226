"""Command: build a mixture of ArrayRecord files from a recipe.

python -m data_prep.build [RECIPE.yaml] [--key value ...]
"""

import argparse
import contextlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinymathreason import cli, disk
from tinymathreason.arguments import parse_arguments
from tinymathreason.cli import InputError
from tinymathreason.config import load
from tinymathreason.files import locked
from tinymathreason.records.mixture import Mixture
from tinymathreason.tables import text_table

if TYPE_CHECKING:
    from data_prep.recipe import Recipe

DEFAULT = Path(__file__).parent / "recipes" / "tinymathreason_1b.yaml"
"""The 1B model's recipe."""
AGAIN = "to build again, remove it or set another output_dir"
"""What to do about a finished mixture that is not the requested one."""


def build(recipe: "Recipe", plan_only: bool = False) -> Mixture | None:
    """Write ``recipe.output_dir`` and return its manifest; a finished mixture is only checked.

    The folder holds ``mixture.json`` for MaxText, ``tokenizer/``, ``<source>/train-*`` and
    ``<source>/eval-*`` ArrayRecord files, ``rejected/``, ``manifest.json`` and ``report.md``. It
    appears when everything is written; until then the files are in ``<output_dir>.work``, where the
    same recipe continues after an interruption. Returns None for a plan, and when the jobs were
    submitted to Slurm. Raises `InputError` for unreadable sources, and when the folder was built by
    another recipe.
    """
    from data_prep.recipe import decisive

    folder = recipe.output_dir.with_name(recipe.output_dir.name + ".work")
    if recipe.output_dir.exists():
        if not (recipe.output_dir / "manifest.json").is_file():
            raise InputError(
                f"output_dir: {recipe.output_dir} exists but is not a mixture; remove it"
            )
        manifest = Mixture.load(recipe.output_dir / "manifest.json")
        if decisive(manifest.recipe.model_dump()) != decisive(recipe.plain()):
            raise InputError(f"{recipe.output_dir} was built by another recipe; {AGAIN}")
        _check_complete(recipe, manifest)
        shutil.rmtree(folder, ignore_errors=True)
        return manifest

    from data_prep import executors, plan, slurm
    from data_prep.work import begin, open_work

    with _exclusive(folder):
        slurm.refuse_running(folder)
        work = open_work(recipe, folder)
        estimates = {name: plan.estimate(work, name) for name in recipe.sources}
        print(plan.table(work, estimates), file=sys.stderr, flush=True)
        plan.check(work, estimates)
        if plan_only:
            return None
        texts = {name: each.text for name, each in estimates.items()}
        begin(work, texts, sum(each.documents for each in estimates.values()))
        if recipe.executor.kind == "slurm":
            print(f"submitted to Slurm; the last job is {slurm.submit(work)}")
            return None
        executors.run(work)
        shutil.rmtree(folder, ignore_errors=True)
    return Mixture.load(recipe.output_dir / "manifest.json")


def _check_complete(recipe: "Recipe", manifest: Mixture) -> None:
    """Raise `InputError` when a finished mixture is damaged, or its inputs have changed."""
    from data_prep import inputs, mixture

    mixture.check(recipe.output_dir, manifest)
    try:
        unknown = inputs.check(recipe, manifest.inputs)
    except InputError as error:
        raise InputError(f"{recipe.output_dir} is complete, but {error}; {AGAIN}") from error
    if unknown:
        print(f"{recipe.output_dir}: {unknown}", file=sys.stderr)


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Lock the working folder; remove it again if no build was begun in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output_dir: {disk.explain(error, folder)}") from error
    with locked(folder, "building"):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _table(recipe: "Recipe", manifest: Mixture) -> str:
    rows = []
    for name, entry in manifest.sources.items():
        documents = entry.documents
        rejected = sum(documents.rejected.values())
        counts = (documents.read, documents.kept, rejected, entry.tokens)
        rows.append([name, *(f"{n:,}" for n in counts), f"{recipe.shares[name]:.1%}"])
    return text_table(["source", "read", "kept", "rejected", "tokens", "weight"], rows)


def main(argv: Sequence[str]) -> None:
    """Parse the command line, build, and print the counts."""
    parser = argparse.ArgumentParser(prog="data_prep.build", description=__doc__.splitlines()[0])
    parser.add_argument(
        "recipe", nargs="?", default=str(DEFAULT), help=f"YAML file; default: {DEFAULT.name}"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="--key value", help="replace a recipe's value"
    )
    parser.add_argument(
        "--plan", action="store_true", help="print what the build needs, without building"
    )
    arguments = parse_arguments(parser, argv)

    from data_prep.recipe import Recipe

    recipe = load(Recipe, arguments.recipe, arguments.overrides)
    recipe.name = recipe.name or Path(arguments.recipe).stem
    finished = recipe.output_dir.exists()
    manifest = build(recipe, arguments.plan)
    if manifest is not None:
        print(_table(recipe, manifest))
        if manifest.encoding and manifest.encoding.reason:
            print(f"encoded by the tokenizers library, since {manifest.encoding.reason}")
        print(f"{recipe.output_dir} {'was already complete' if finished else 'written'}")


if __name__ == "__main__":
    cli.run(main)
