"""The runs that a ladder file asks for, and what they would take."""

from pathlib import Path
from typing import Any

import pytest

from pretrain import overlay
from pretrain.ladder import plan
from pretrain.ladder.config import Device, Ladder, Rate
from pretrain.ladder.points import points, recipe_shares
from tests.support import records
from tests.support.ladders import SOURCES, ladder
from tinymathreason.cli import InputError
from tinymathreason.config import load


def test_the_law_has_every_size_on_every_number_of_tokens(values: dict[str, Any]) -> None:
    chosen = points(ladder(values))
    assert {p.name for p in chosen} == {
        "law-small-1x-seed0",
        "law-small-1x-seed1",
        "law-small-4x-seed0",
        "law-small-4x-seed1",
        "law-large-1x-seed0",
        "law-large-4x-seed0",
    }
    for point in chosen:
        ratio = int(point.name.split("-")[2][0])
        assert point.tokens == pytest.approx(ratio * point.model.parameters, rel=1e-2)
        assert point.shares == SOURCES
    assert [p.flops for p in chosen] == sorted(p.flops for p in chosen)


def test_tokens_have_bounds(values: dict[str, Any]) -> None:
    names = {p.name for p in points(ladder(values, law={"most_tokens": 300_000}))}
    assert names == {"law-small-1x-seed0", "law-small-1x-seed1"}
    with pytest.raises(InputError, match="no run has a number of tokens"):
        points(ladder(values, law={"most_tokens": 3}))


def test_a_run_that_two_parts_ask_for_occurs_once(values: dict[str, Any]) -> None:
    own = ladder(values).rate.of(points(ladder(values))[0].model.parameters)
    rates = {"peaks": {"small": [own, own / 2]}, "tokens_per_parameter": 1}
    mixtures = {"size": "small", "tokens": 100_000, "count": 3, "target": "loss", "recipe": "r"}
    chosen = points(ladder(values, rates=rates, mixtures=mixtures))
    by_group = {g: [p for p in chosen if p.group == g] for g in ("law", "rates", "mixtures")}
    assert len(by_group["law"]) == 6
    (slow,) = by_group["rates"]  # at its own rate it is a run of the law
    assert slow.rate == own / 2
    assert len(by_group["mixtures"]) == 3
    first = next(p for p in chosen if p.name == "mixtures-00")
    assert first.shares == SOURCES
    assert all(sum(p.shares.values()) == pytest.approx(1) for p in by_group["mixtures"])


def test_the_overlay_describes_the_model(values: dict[str, Any], tmp_path: Path) -> None:
    made = ladder(values)
    point = next(p for p in points(made) if p.name == "law-large-4x-seed0")
    import yaml

    folder = point.folder(made)
    folder.mkdir(parents=True)
    (folder / "overlay.yml").write_text(yaml.safe_dump(point.overlay(made)))
    config = overlay.load(folder / "overlay.yml")
    assert point.model == point.model.from_config(config)
    # The 1B model's ratios.
    assert config["base_mlp_dim"] == 2.75 * config["base_emb_dim"]
    assert config["base_num_query_heads"] == 4 * config["base_num_kv_heads"]
    assert config["steps"] == point.steps
    assert config["learning_rate"] == point.rate


def test_the_rate_is_a_power_of_the_size() -> None:
    rate = Rate(peak=1e-3, parameters=1_000_000, exponent=-0.5)
    assert rate.of(1_000_000) == 1e-3
    assert rate.of(4_000_000) == 5e-4


def test_a_plan_adds_up(values: dict[str, Any]) -> None:
    made = ladder(values)
    chosen = points(made)
    device = made.device
    seconds = sum(plan.seconds(made, p) for p in chosen)
    assert seconds == pytest.approx(
        sum(p.flops for p in chosen) / (0.5 * 989e12) + 10 * len(chosen)
    )
    last = plan.table(made, chosen).splitlines()[-1].split()
    assert last[0] == "all"
    assert float(last[-2]) == pytest.approx(seconds / 3600, abs=0.01)
    assert float(last[-1]) == pytest.approx(seconds / 3600 * device.price, abs=0.01)
    assert "estimates" in plan.summary(made, chosen)


def test_shares_sum_to_one(values: dict[str, Any]) -> None:
    assert recipe_shares(ladder(values)) == SOURCES


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": {"small": {"heads": 3}}}, "heads must be a multiple of 4"),
        ({"sizes": {"small": {"keys": {"no_such_key": 1}}}}, "MaxText has no key no_such_key"),
        ({"law": {"sizes": ["smal"]}}, "law.sizes: no size 'smal'; did you mean 'small'"),
        ({"law": {"tokens_per_parameter": [0]}}, "tokens_per_parameter must be above 0"),
        ({"device": {"name": "h101"}}, "set tflops for device 'h101', or did you mean"),
        ({"measure": {"tasks": {"gsm": {}}}}, "unknown 'gsm'; did you mean 'gsm8k'"),
        ({"rates": {"peaks": {"small": [1e-3]}}}, "set either tokens_per_parameter or tokens"),
        ({"mixture": "nowhere"}, "nowhere has no manifest.json; build it first"),
    ],
)
def test_a_wrong_file_is_refused(
    values: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        points(ladder(values, **changes))


def test_a_vocabulary_that_is_too_small_is_refused(values: dict[str, Any]) -> None:
    path = Path(values["mixture"]) / "manifest.json"
    records.mixture(vocab_size=10_000).write(path)
    with pytest.raises(InputError, match=r"vocab_size 448, the mixture's tokenizer has 10000"):
        points(ladder(values))


def test_a_device_of_ones_own_has_no_price() -> None:
    assert Device(name="laptop", tflops=0.1).price == 0
    assert Device(name="laptop", tflops=0.1, count=2).flops == pytest.approx(0.2e12)


@pytest.mark.parametrize("path", sorted(Path("pretrain/ladder/ladders").glob("*.yaml")), ids=str)
def test_the_ladders_of_the_project_are_valid(path: Path) -> None:
    made = load(Ladder, path)
    overlay.load(made.base)
    assert made.run != made.mixture
