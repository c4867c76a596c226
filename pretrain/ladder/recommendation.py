"""What a blend recommends, as a recipe, as arguments of a command, and as a part of the report."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_prep.recipe import Recipe
from pretrain.ladder import plots
from pretrain.ladder.blend import LEVEL, Blend
from pretrain.ladder.regression import FORMS
from tinymathreason.cli import InputError
from tinymathreason.config import build, read_yaml
from tinymathreason.files import write_text
from tinymathreason.tables import markdown_table


def write_recipe(result: Blend, source: Path, written: Path) -> None:
    """Write the recipe at ``source`` with the recommended weights and a folder of its own.

    Raises `InputError` when the recipe has other sources than the proxies.
    """
    values = read_yaml(source)
    recipe = build(Recipe, values, source)
    if recipe.sources.keys() != result.recommended.keys():
        raise InputError(
            f"{source}: has the sources {', '.join(recipe.sources)}, the proxies have "
            f"{', '.join(result.recommended)}"
        )
    for name, weight in result.recommended.items():
        values["sources"][name]["weight"] = weight
    values["output_dir"] = f"{recipe.output_dir}-recommended"
    build(Recipe, values, written)
    comment = textwrap.fill(
        f"{source.name} with the weights that {result.proxies} proxies recommend. "
        f"{_gain_in_words(result)}",
        width=98,
    )
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    write_text(written, textwrap.indent(comment, "# ") + "\n" + text)


def arguments(result: Blend) -> str:
    """The weights as ``data_prep.reweight`` takes them, for a mixture that is built already."""
    return " ".join(f"{name}={weight:g}" for name, weight in result.recommended.items())


def lines(result: Blend) -> list[str]:
    """The report's section on the mixture, as lines of Markdown."""
    rows = [
        [
            name,
            f"{result.recipe[name]:.1%}",
            f"{weight:.1%}",
            f"{result.limits[name]:.1%}" if name in result.limits else "",
        ]
        for name, weight in result.recommended.items()
    ]
    head = ["source", "recipe's weight", "recommended", "most by the limit of repetition"]
    formula = " + ".join(
        column if factor == 1 else f"{factor:g} x {column}"
        for column, factor in result.target.items()
    )
    forms = [
        [f"`{fit.column}`", *(f"{fit.errors[form]:.4f}" for form in FORMS), fit.form]
        for fit in result.regressions
    ]
    words = [
        f"The target is {formula}, to be as small as possible, in {result.proxies} proxies.",
        "",
        *markdown_table(head, rows).splitlines(),
        "",
        _gain_in_words(result),
    ]
    if result.at_limit:
        words.append(f"At the limit of repetition: {', '.join(result.at_limit)}.")
    if result.at_edge:
        words.append(
            f"At the edge of the proxies' weights: {', '.join(result.at_edge)}; proxies beyond it "
            "may find better ones."
        )
    return [
        *words,
        "",
        f"Rank correlation of the measured targets with those foretold without each proxy: "
        f"{result.rank_correlation:.2f} (Spearman).",
        "",
        *markdown_table(
            ["column", *(f"left-out error, {form}" for form in FORMS), "chosen"], forms
        ).splitlines(),
        "",
        f"For a mixture that is built already: `python -m data_prep.reweight MIXTURE --output "
        f"FILE.json {arguments(result)}`",
    ]


def _gain_in_words(result: Blend) -> str:
    low, high = result.gain_interval
    verdict = "" if result.certain else " The recipe's own weights may be as good."
    return (
        f"Estimated at the proxies' size, the target falls from {result.before:.4f} by "
        f"{result.gain:.4f} ({LEVEL:.0%} interval: {low:.4f} to {high:.4f}).{verdict}"
    )


def figure(result: Blend) -> Any:
    """A matplotlib figure: left-out forecasts beside measurements, and the weights."""
    drawn, (left, right) = plots.pair((10, 4))
    ends = [min(result.measured.min(), result.left_out.min()), result.measured.max()]
    left.plot(ends, ends, color="grey", linewidth=1)
    left.scatter(result.measured, result.left_out)
    left.set_xlabel("measured target")
    left.set_ylabel("foretold without the proxy")
    left.set_title(f"rank correlation {result.rank_correlation:.2f}")
    places = np.arange(len(result.recipe))
    right.barh(places - 0.2, list(result.recipe.values()), 0.4, label="recipe")
    right.barh(places + 0.2, list(result.recommended.values()), 0.4, label="recommended")
    right.set_yticks(places, list(result.recipe))
    right.invert_yaxis()
    right.set_xlabel("share of the tokens")
    right.legend()
    return drawn
