"""Fits all that a ladder's results allow, and writes its report."""

from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.recipe import Recipe
from pretrain.ladder import blend, plots, rates, recommendation, report, table, transfer
from pretrain.ladder.config import Ladder, MixtureGrid
from pretrain.ladder.sections import Section
from tinymathreason.config import load
from tinymathreason.files import write_text

if TYPE_CHECKING:
    import pandas as pd

RECIPE = "recommended.yaml"
"""The recipe with the recommended weights, beside the report."""


def fit(path: Path, ladder: Ladder) -> list[Path]:
    """Fit the ladder in the file ``path`` to its finished runs; returns the files to look at.

    The parts of the file decide what is fitted: the law, the rates, the mixture. Raises
    `InputError` when a part has too few finished runs.
    """
    table.write(table.collect(ladder), ladder.run / table.FILE)
    # As the file has it, so that the file alone gives the same fits to the last digit.
    results = table.read(ladder.run / table.FILE)
    written = [ladder.run / report.TEXT]
    sections = [rates_section(results)] if ladder.rates else []
    if ladder.mixtures:
        sections.append(mixture_section(ladder.mixtures, results, ladder.run))
        written.append(ladder.run / RECIPE)
    if ladder.law:
        made = report.make(path, results, ladder.mixture)
        report.write(ladder.run, made, results, sections)
        return [*written, ladder.run / report.JSON]
    for section in sections:
        for name, figure in section.figures.items():
            plots.save(figure, ladder.run / f"{name}.png")
    write_text(ladder.run / report.TEXT, report.markdown(str(path), sections))
    return written


def rates_section(results: "pd.DataFrame") -> Section:
    """What the runs say about rates, beside published laws, at the sizes of the overlays."""
    found, wanted = rates.fit(results), transfer.overlays()
    return Section(
        title="Rates",
        lines=transfer.lines(found, wanted),
        figures={"rates": transfer.figure(found, wanted)},
    )


def mixture_section(grid: MixtureGrid, results: "pd.DataFrame", folder: Path) -> Section:
    """What the proxies recommend, which is also written into ``folder`` as a recipe.

    The gain is that over the weights of the large run's recipe, which the ladder's own mixture need
    not have.
    """
    recipe = load(Recipe, grid.recipe)
    most = blend.limits(recipe, grid.available)
    result = blend.blend(results, grid.target, recipe.shares, most, grid.seed)
    recommendation.write_recipe(result, grid.recipe, folder / RECIPE)
    return Section(
        title="Mixture",
        lines=recommendation.lines(result),
        figures={"mixture": recommendation.figure(result)},
    )
