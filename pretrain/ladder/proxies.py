"""Weights of the small runs that a mixture is chosen by: a design around the recipe's own."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pretrain.ladder.forms import Array
from tinymathreason.cli import InputError

STEP = 10_000
"""Weights are whole multiples of one part in so many, so that they are exact in a file."""
LEAST = 0.02
"""Every source has at least this share in every proxy, or half the recipe's where that is less."""
CANDIDATES = 2_000
"""Mixtures among which the design is chosen."""


def proxies(
    shares: Mapping[str, float], count: int, seed: int, limits: Mapping[str, float] | None = None
) -> list[dict[str, float]]:
    """The weights of ``count`` proxies over the sources of ``shares``; each proxy's sum to 1.

    The first has the recipe's own weights. Candidates for the others are Dirichlet with the
    recipe's weights as their mean, as those of RegMix and Olmix (arXiv 2407.01492, 2602.12237), and
    weakly to strongly concentrated. Of them, each next proxy is the one farthest from those chosen
    before (Kennard and Stone 1969), which determines a regression with fewer runs than a random
    draw. The design depends on nothing but the arguments, and a shorter one is the beginning of a
    longer one: proxies that were trained stay valid when more are added.

    ``limits`` are the largest weights by source; a source without one has none. Raises `InputError`
    for fewer than two sources, a share that is too small, and limits that the recipe breaks or
    that leave no room.
    """
    names = list(shares)
    total = sum(shares.values())
    if len(names) < 2 or min(shares.values()) * STEP < 2 * total:
        raise InputError(
            f"proxies need two sources or more, each with a weight of {2 / STEP:g} or more"
        )
    if count < 1:
        raise InputError(f"the number of proxies must be at least 1 (got {count})")
    center = np.array([share / total for share in shares.values()])
    most = np.array([min(1.0, (limits or {}).get(name, 1.0)) for name in names])
    for name, share, limit in zip(names, center, most, strict=True):
        if share > limit + 1 / STEP:
            raise InputError(
                f"sources.{name}: the weight {share:.3f} is above its limit of {limit:.3f}"
            )
    most = np.maximum(center, np.floor(most * STEP) / STEP)
    chosen = [whole(weights) for weights in _spread(center, most, count, seed)]
    if len({tuple(parts) for parts in chosen}) < count:
        raise InputError(f"the limits leave no room for {count} different mixtures")
    return [
        {name: int(part) / STEP for name, part in zip(names, parts, strict=True)}
        for parts in chosen
    ]


def _spread(center: Array, most: Array, count: int, seed: int) -> list[Array]:
    generator = np.random.default_rng(seed)
    least = np.minimum(LEAST, center / 2)
    room = 1 - least.sum()
    mean = (center - least) / room
    points = np.array(
        [
            limited(least + room * generator.dirichlet(strength * mean), most)
            for strength in np.geomspace(1, 8, CANDIDATES) * len(center)
        ]
    )
    chosen = [center]
    distance = np.full(CANDIDATES, np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, np.linalg.norm(points - chosen[-1], axis=1))
        chosen.append(points[int(distance.argmax())])
    return chosen


def limited(weights: Array, most: Array) -> Array:
    """Weights of which none is above its limit; the others take what is left in proportion."""
    for _ in weights:
        free = weights < most
        if not (weights > most).any() or not free.any():
            break
        weights = np.where(free, weights, most)
        weights[free] *= 1 + (1 - weights.sum()) / weights[free].sum()
    return weights


def whole(weights: Array) -> NDArray[np.int64]:
    """The weights in parts of `STEP`, which sum to it: the largest remainders are rounded up."""
    exact = np.round(weights * STEP, 6)
    parts = np.floor(exact).astype(np.int64)
    up = np.argsort(parts - exact, kind="stable")[: STEP - parts.sum()]
    parts[up] += 1
    return parts
