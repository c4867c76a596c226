"""Confidence intervals of an accuracy."""

import math
import statistics
from collections import defaultdict
from collections.abc import Hashable, Sequence

from tinymathreason.records.evaluation import MetricEstimate

Z95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""


def wilson(correct: float, n: float) -> tuple[float, float]:
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


def estimate(shares: Sequence[float], clusters: Sequence[Hashable] | None = None) -> MetricEstimate:
    """The mean of shares, one for each problem, with Wilson's interval.

    Problems of the same value in ``clusters`` are versions of one problem. The interval is then
    that of `effective` many independent problems.
    """
    rate = statistics.fmean(shares)
    if clusters is None:
        low, high = wilson(sum(shares), len(shares))
    else:
        n = effective(shares, clusters)
        low, high = wilson(rate * n, n)
    return MetricEstimate(value=rate, low=low, high=high, n=len(shares))


def effective(shares: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """The number of independent problems whose mean varies as much as that of the clusters'.

    The problems divided by the design effect (Kish 1965), with the variance of clustered problems
    (Miller 2024, arXiv 2411.00640). At most the problems. Where all shares are 0 or all are 1,
    nothing is known of the variance, and it is the clusters.
    """
    rate = statistics.fmean(shares)
    together: dict[Hashable, float] = defaultdict(float)
    for share, cluster in zip(shares, clusters, strict=True):
        together[cluster] += share - rate
    variance = sum(total**2 for total in together.values()) / len(shares) ** 2
    if rate in (0, 1):
        return len(together)
    return min(len(shares), rate * (1 - rate) / variance) if variance else len(shares)
