"""The best rate at sizes that were not run: by the ladder, and by published laws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pretrain import overlay
from pretrain.ladder import plots
from pretrain.ladder.rates import LEVEL, Curve, Rates, layer_weights, non_embedding_flops
from pretrain.model import Model, step_tokens
from tinymathreason import units
from tinymathreason.tables import markdown_table

DEVICES: Mapping[str, int] = {
    "tinymathreason_20m.yml": 4,
    "tinymathreason_85m.yml": 4,
    "tinymathreason_300m.yml": 4,
    "tinymathreason_1b_v4_32.yml": 16,
}
"""Overlays for which a rate is wanted, with the devices that they train on."""
TOKENS_EXPONENT = 0.307
"""Of the best rate, by Step Law; a ladder whose sizes have the same tokens cannot tell it."""


@dataclass(frozen=True, kw_only=True)
class PlannedTraining:
    """A training whose best rate is wanted."""

    name: str
    """The overlay."""
    weights: float
    """Weights of the layers, without the embedding and the output head."""
    tokens: float
    """Tokens of training."""
    flops: float
    """`non_embedding_flops`."""
    rate: float
    """The overlay's own rate."""


def overlays(folder: Path = Path("maxtext_configs")) -> list[PlannedTraining]:
    """The trainings of `DEVICES`; `InputError` for an overlay that is missing or malformed."""
    return [_overlay(folder / name, devices) for name, devices in DEVICES.items()]


def _overlay(path: Path, devices: int) -> PlannedTraining:
    config = overlay.load(path)
    model = Model.from_config(config)
    tokens = config["steps"] * step_tokens(config, devices)
    weights = layer_weights(model.parameters, model.matrices)
    return PlannedTraining(
        name=path.stem,
        weights=weights,
        tokens=tokens,
        flops=non_embedding_flops(weights, tokens, model.attention_flops_per_token),
        rate=config["learning_rate"],
    )


def step_law(weights: float, tokens: float) -> float:
    """The best peak rate by Step Law, arXiv 2503.04715: 1.79 N^-0.713 D^0.307.

    Its released dense runs have 215M to 1.07B weights of the layers and 4B to 100B tokens, each at
    the best batch of its tokens, with a rate that falls to 1e-5.
    """
    return float(1.79 * weights**-0.713 * tokens**TOKENS_EXPONENT)


def deepseek(flops: float) -> float:
    """The best peak rate by DeepSeek LLM, arXiv 2401.02954: 0.3118 C^-0.125.

    Fitted between 1e17 and 2e19 operations, each at the best size, tokens and batch.
    """
    return float(0.3118 * flops**-0.125)


def calibration(curves: Sequence[Curve]) -> float | None:
    """Measured best rates divided by Step Law's, geometric mean; None without a bracketed one.

    Step Law's models differ from MaxText's in their initialisation and batch, which moves the level
    of the best rate; the exponents were measured over far more sizes than a ladder has.
    """
    logs = [
        np.log(curve.best / step_law(curve.weights, curve.tokens))
        for curve in curves
        if curve.bracketed
    ]
    return float(np.exp(np.mean(logs))) if logs else None


def recommended(curves: Sequence[Curve], training: PlannedTraining) -> float | None:
    """The rate for a training, to two digits; None without a bracketed minimum.

    The smaller one of two estimates, the calibrated Step Law and DeepSeek LLM's law, because a rate
    that is too large can cost the whole run.
    """
    factor = calibration(curves)
    if factor is None:
        return None
    calibrated = factor * step_law(training.weights, training.tokens)
    return float(f"{min(calibrated, deepseek(training.flops)):.1e}")


def by_law(rates: Rates, training: PlannedTraining) -> str | None:
    """The rate by the ladder's own law, moved to the training's tokens, with its interval."""
    law = rates.law
    if law is None:
        return None
    curves = [curve for curve in rates.curves if curve.bracketed]
    # What the sizes held decides which tokens the law means at the training's weights.
    power = {"tokens": 0.0, "tokens a parameter": 1.0}.get(law.held)
    if power is None:
        return None
    meant = (
        np.exp(np.mean([np.log(each.tokens / each.weights**power) for each in curves]))
        * training.weights**power
    )
    moved = float((training.tokens / meant) ** TOKENS_EXPONENT)
    interval = law.interval(training.weights)
    ends = (moved * interval[0], moved * interval[1]) if interval else None
    return f"{moved * law.at(training.weights):.1e}{_between(ends, '.1e')}"


def distance(curves: Sequence[Curve], training: PlannedTraining) -> tuple[float, float]:
    """Orders of magnitude of weights and of tokens from the ladder's largest runs to a training."""
    return (
        float(np.log10(training.weights / max(curve.weights for curve in curves))),
        float(np.log10(training.tokens / max(curve.tokens for curve in curves))),
    )


def lines(rates: Rates, wanted: Sequence[PlannedTraining]) -> list[str]:
    """The report's section on rates, as lines of Markdown."""
    if not rates.curves and not rates.decays:
        return ["No size was run at three rates or more."]
    words = _table(rates.curves, "rate") if rates.curves else []
    for size, values in rates.diverged.items():
        words += [
            "",
            f"Diverged at {size}: rates of {', '.join(f'{value:g}' for value in values)}.",
        ]
    scatter = "not known" if rates.scatter is None else f"{rates.scatter:.2%}"
    words += ["", f"Scatter of a run's loss: {scatter}."]
    if rates.law is None:
        words.append("No law over sizes: fewer than three have a minimum inside of what was tried.")
    else:
        held = f" at the same {rates.law.held}" if rates.law.held else ""
        words.append(
            f"Best rate{held}: {rates.law.rate:.2e} (N / {units.count(rates.law.center)})^"
            f"{rates.law.exponent:.2f}{_between(rates.law.exponent_interval, '.2f')}, where N are "
            "the weights of the layers."
        )
    if rates.curves:
        words += ["", *_forecasts(rates, wanted)]
    if rates.decays:
        words += ["", *_table(rates.decays, "weight decay")]
    return words


def _table(curves: Sequence[Curve], name: str) -> list[str]:
    rows = []
    for curve in curves:
        tried = ", ".join(f"{value:.3g}" for value in curve.values)
        best = f"{curve.best:.2e}" + _between(curve.interval, ".2e")
        if not curve.bracketed:
            side = "or less" if curve.losses.argmin() == 0 else "or more"
            best = f"{curve.best:.2e} {side}: the end of what was tried"
        row = [
            curve.size,
            units.count(curve.weights),
            units.count(curve.tokens),
            tried,
            best,
            f"{curve.losses.min():.4f}",
        ]
        if name == "rate":
            row += [
                f"{step_law(curve.weights, curve.tokens):.1e}",
                f"{deepseek(curve.flops):.1e}",
            ]
        rows.append(row)
    head = ["size", "weights of layers", "tokens", f"{name}s tried", f"best {name}", "least loss"]
    published = ["Step Law", "DeepSeek LLM"] if name == "rate" else []
    return markdown_table([*head, *published], rows).splitlines()


def _forecasts(rates: Rates, wanted: Sequence[PlannedTraining]) -> list[str]:
    factor = calibration(rates.curves)
    rows = []
    for each in wanted:
        rate = recommended(rates.curves, each)
        weights, tokens = distance(rates.curves, each)
        rows.append(
            [
                each.name,
                units.count(each.weights),
                units.count(each.tokens),
                f"{each.rate:.1e}",
                by_law(rates, each),
                f"{factor * step_law(each.weights, each.tokens):.1e}" if factor else None,
                f"{step_law(each.weights, each.tokens):.1e}",
                f"{deepseek(each.flops):.1e}",
                f"{rate:.1e}" if rate else None,
                f"{weights:.1f}, {tokens:.1f}",
            ]
        )
    head = [
        "overlay",
        "weights of layers",
        "tokens",
        "its rate",
        "ladder's law",
        "calibrated Step Law",
    ]
    far = "orders of magnitude beyond the ladder (weights, tokens)"
    words = markdown_table(
        [*head, "Step Law", "DeepSeek LLM", "recommended", far], rows
    ).splitlines()
    words += ["", "All but the overlays' own rates are estimates."]
    if rates.law:
        words.append(
            f"The ladder's law is moved to other tokens by Step Law's D^{TOKENS_EXPONENT:g}; its "
            "interval leaves out what that is worth."
        )
    if factor:
        words.append(
            f"Calibrated is Step Law times {factor:.2f}, the mean ratio of the best rates measured "
            "here to it. Recommended is the smaller one of it and DeepSeek LLM's, because a rate "
            "that is too large can cost the whole run."
        )
    return words


def _between(interval: tuple[float, float] | None, form: str) -> str:
    return f" ({LEVEL:.0%}: {interval[0]:{form}} to {interval[1]:{form}})" if interval else ""


def figure(rates: Rates, wanted: Sequence[PlannedTraining]) -> Any:
    """A matplotlib figure: loss over rate at each size, and the best rate over sizes."""
    drawn, (left, right) = plots.pair((11, 4.5))
    for curve in rates.curves:
        (line,) = left.plot(curve.values, curve.losses, marker="o", label=curve.size)
        if curve.bracketed:
            left.axvline(curve.best, color=line.get_color(), linestyle=":")
        low, high = curve.interval or (curve.best, curve.best)
        right.errorbar(
            curve.weights,
            curve.best,
            [[max(curve.best - low, 0)], [max(high - curve.best, 0)]],
            marker="o" if curve.bracketed else "x",
            color=line.get_color(),
        )
    left.set(xscale="log", yscale="log", xlabel="peak rate", ylabel="held-out loss")
    left.legend()
    sizes = [*(curve.weights for curve in rates.curves), *(each.weights for each in wanted)]
    if rates.law and sizes:
        grid = np.geomspace(min(sizes), max(sizes), 50)
        right.plot(grid, [rates.law.at(size) for size in grid], label="ladder's law")
        if len(rates.law.draws):
            bounds = np.array([rates.law.interval(size) for size in grid])
            right.fill_between(grid, bounds[:, 0], bounds[:, 1], alpha=0.2)
    for name, values, marker in (
        ("overlay", [each.rate for each in wanted], "s"),
        ("Step Law", [step_law(each.weights, each.tokens) for each in wanted], "^"),
        ("DeepSeek LLM", [deepseek(each.flops) for each in wanted], "v"),
    ):
        right.plot([each.weights for each in wanted], values, marker, label=name)
    right.set(xscale="log", yscale="log", xlabel="weights of the layers", ylabel="best peak rate")
    right.legend()
    return drawn
