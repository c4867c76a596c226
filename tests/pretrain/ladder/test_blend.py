from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from data_prep.recipe import Recipe
from pretrain.ladder import blend as module
from pretrain.ladder.blend import blend, limits, rows
from pretrain.ladder.config import Ladder
from pretrain.ladder.proxies import proxies
from pretrain.ladder.recommendation import arguments, figure, lines, write_recipe
from pretrain.ladder.regression import Array
from pretrain.ladder.table import read
from tinymathreason.cli import InputError
from tinymathreason.config import load

SHARES = {"math": 0.3, "code": 0.2, "web": 0.5}
TARGET = {"bits/gsm8k": 0.5, "loss/web": 0.5}
RECIPES = Path("data_prep/recipes")


def bits(w: Array) -> Array:
    return 0.8 + np.exp(w @ np.array([-1.6, -0.4, 0.0]))


def loss(w: Array) -> Array:
    return 2.0 + np.exp(w @ np.array([0.4, 0.3, -1.4]))


def target(w: Array) -> Array:
    return (bits(w) + loss(w)) / 2


def table(count: int = 12, noise: float = 0.002) -> pd.DataFrame:
    """The results of proxies whose best mixture is known."""
    design = proxies(SHARES, count, 0)
    weights = np.array([list(each.values()) for each in design])
    generator = np.random.default_rng(0)
    made = pd.DataFrame(
        {
            "name": [f"mixtures-{number:02}" for number in range(count)],
            "group": "mixtures",
            "status": "finished",
            "size": "1.2M",
            "tokens": 2_400_000,
            "rate": 3e-3,
            "weight_decay": 0.1,
            "seed": 0,
            "bits/gsm8k": bits(weights) + generator.normal(0, noise, count),
            "loss/web": loss(weights) + generator.normal(0, noise, count),
        }
    )
    return made.assign(**{f"weight/{name}": weights[:, i] for i, name in enumerate(SHARES)})


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAWS", 40)


def best(most: Array) -> Array:
    """The best mixture of the known truth, by a fine grid."""
    steps = np.arange(0.02, 0.98, 0.005)
    grid = np.array([(a, b, 1 - a - b) for a in steps for b in steps if a + b < 0.98])
    grid = grid[(grid <= most).all(axis=1)]
    return grid[target(grid).argmin()]


def test_the_recommended_weights_are_the_best_ones() -> None:
    result = blend(table(), TARGET, SHARES)
    own, found = (np.array(list(each.values())) for each in (SHARES, result.recommended))
    gained = target(own) - target(found)
    assert sum(result.recommended.values()) == pytest.approx(1)
    assert gained == pytest.approx(target(own) - target(best(np.ones(3))), abs=0.003)
    assert result.gain == pytest.approx(gained, abs=0.005)
    assert result.gain_interval[0] < gained < result.gain_interval[1]
    assert result.gain_interval[1] - result.gain_interval[0] < 0.02
    assert result.certain
    assert result.before == pytest.approx(target(own), abs=0.005)
    assert result.rank_correlation > 0.95
    assert not result.at_limit


def test_the_weights_never_pass_the_limit_of_repetition() -> None:
    unlimited = blend(table(), TARGET, SHARES).recommended
    most = {"math": unlimited["math"] - 0.10003}
    result = blend(table(), TARGET, SHARES, most)
    assert most["math"] - 2e-4 < result.recommended["math"] <= most["math"]
    assert result.at_limit == ["math"]
    found = np.array(list(result.recommended.values()))
    reachable = best(np.array([most["math"], 1, 1]))
    assert target(found) == pytest.approx(target(reachable), abs=0.003)
    assert "At the limit of repetition: math." in lines(result)


def test_limits_that_no_proxy_reaches() -> None:
    with pytest.raises(InputError, match="excludes every mean of the proxies"):
        blend(table(), TARGET, SHARES, {"math": 0.01, "code": 0.01})


def test_noise_alone_recommends_nothing() -> None:
    made = table().assign(**{"loss/web": np.random.default_rng(3).normal(3, 0.02, 12)})
    result = blend(made, "loss/web", SHARES)
    assert not result.certain
    assert "may be as good" in "\n".join(lines(result))
    assert abs(result.rank_correlation) < 0.6


def test_a_source_whose_weights_end_too_early_is_named() -> None:
    result = blend(table(), "bits/gsm8k", SHARES)
    assert "math" in result.at_edge
    assert any("math" in line and "edge" in line for line in lines(result))


def test_limits_come_from_the_passes_over_a_source() -> None:
    recipe = load(Recipe, RECIPES / "tinymathreason_1b.yaml")
    assert recipe.token_budget == 300e9
    found = limits(recipe, {"arxiv": 22e9, "open-web-math": 11.4e9})
    assert found == pytest.approx({"arxiv": 4 * 22 / 300, "open-web-math": 4 * 11.4 / 300})
    recipe.token_budget = None
    assert limits(recipe, {"arxiv": 22e9}) == {}
    with pytest.raises(InputError, match="no source 'arxive'; did you mean 'arxiv'"):
        limits(recipe, {"arxive": 1})


def test_only_runs_that_differ_in_nothing_else_are_used() -> None:
    made = table()
    other = made.iloc[:1]
    more = [
        made.assign(status=["diverged", *["finished"] * 11]),
        other.assign(name="law-own", group="law", seed=1),
        other.assign(name="law-other-size", group="law", size="0.3M"),
        other.assign(name="law-longer", group="law", tokens=9_600_000),
        other.assign(name="rates-other", group="rates", rate=6e-3),
    ]
    used = rows(pd.concat(more))
    assert list(used["name"]) == [*made["name"][1:], "law-own"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[t["group"] == "law"], "no proxy is finished"),
        (lambda t: t.head(4), "4 finished proxies; 3 sources need 5 or more"),
        (lambda t: t.rename(columns={"loss/web": "loss/wob"}), "no column 'loss/web'; did you"),
        (
            lambda t: t.assign(**{"loss/web": t["loss/web"].where(t.index != 2)}),
            "loss/web was not measured for mixtures-02",
        ),
    ],
)
def test_bad_tables(change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        blend(change(table()), TARGET, SHARES)


def test_the_recommended_recipe_is_a_recipe(tmp_path: Path) -> None:
    source = tmp_path / "small.yaml"
    made = {name: {"format": "text", "path": f"{name}/*", "weight": 7.0} for name in SHARES}
    made["math"]["filters"] = [{"length": {"least": 100}}]
    values = {"output_dir": "runs/small", "tokenizer": {"train": {"vocab_size": 300}}}
    source.write_text(yaml.safe_dump({**values, "sources": made}, sort_keys=False))
    result = blend(table(), TARGET, SHARES)
    write_recipe(result, source, tmp_path / "out" / "recommended.yaml")
    before, after = load(Recipe, source), load(Recipe, tmp_path / "out" / "recommended.yaml")
    assert after.shares == pytest.approx(result.recommended)
    assert list(after.sources) == list(before.sources)  # the order is the duplicates' priority
    assert after.sources["math"].filters == before.sources["math"].filters
    assert after.output_dir == Path("runs/small-recommended")
    first = (tmp_path / "out" / "recommended.yaml").read_text().splitlines()[0]
    assert first.startswith("# small.yaml with the weights that 12 proxies recommend.")
    with pytest.raises(InputError, match=r"has the sources open-web-math.*the proxies have math"):
        write_recipe(result, RECIPES / "tinymathreason_1b.yaml", tmp_path / "no.yaml")


def test_report() -> None:
    result = blend(table(), TARGET, SHARES, {"math": 0.9})
    text = "\n".join(lines(result))
    assert "The target is 0.5 x bits/gsm8k + 0.5 x loss/web" in text
    assert f"{result.rank_correlation:.2f} (Spearman)" in text
    assert f"{result.gain:.4f} (90% interval" in text
    assert f"--output FILE.json {arguments(result)}`" in text
    assert len(figure(result).axes) == 2


def test_the_mixture_of_the_repository_is_that_of_the_page() -> None:
    """The proxies in docs/scaling/mixtures.csv; the page has what the report says of them."""
    grid = load(Ladder, "pretrain/ladder/ladders/cpu_mixtures.yaml").mixtures
    recipe = load(Recipe, grid.recipe)
    results = read(Path("docs/scaling/mixtures.csv"))
    found = blend(results, grid.target, recipe.shares, limits(recipe, grid.available), grid.seed)
    page = " ".join(Path("docs/scaling.md").read_text().split())
    shown = [line for line in lines(found) if line.startswith("| ") or "correlation" in line]
    shown = [line for line in shown if "left-out" not in line and "`" not in line]
    assert len(shown) >= 6
    for line in shown:
        assert " ".join(line.split()) in page
