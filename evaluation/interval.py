"""Confidence intervals of an accuracy."""

import math
import statistics
from collections.abc import Sequence

from tinymathreason.records.evaluation import MetricEstimate

Z95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""


def wilson(correct: float, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of ``correct`` out of ``n`` (Wilson 1927).

    Unlike the normal approximation it stays within [0, 1] and has a width at 0 and at n. When
    ``correct`` is a sum of shares, as for pass@k, it is wider than necessary, since shares of 0 and
    1 have the largest variance.
    Raises ValueError unless 0 <= correct <= n and n > 0.
    """
    if not 0 <= correct <= n or n == 0:
        raise ValueError(f"{correct} correct out of {n} is not an accuracy")
    rate = correct / n
    centre = rate + Z95**2 / (2 * n)
    spread = Z95 * math.sqrt(rate * (1 - rate) / n + Z95**2 / (4 * n**2))
    scale = 1 + Z95**2 / n
    # Rounding could leave 1e-17 where the formula gives exactly 0 or 1.
    low = 0.0 if correct == 0 else (centre - spread) / scale
    high = 1.0 if correct == n else (centre + spread) / scale
    return low, high


def estimate(shares: Sequence[float]) -> MetricEstimate:
    """The mean of shares, one for each problem, with Wilson's interval."""
    low, high = wilson(sum(shares), len(shares))
    return MetricEstimate(value=statistics.fmean(shares), low=low, high=high, n=len(shares))
