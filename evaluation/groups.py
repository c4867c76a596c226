"""The first metric by groups of problems, such as MATH's levels and subjects."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evaluation.interval import estimate
from tinymathreason.records.evaluation import MetricEstimate, SampleRecord
from tinymathreason.tables import text_table

MOST = 30
"""Groups of one column that a terminal shows."""


def of(document: Mapping[str, Any], columns: Sequence[str]) -> dict[str, str]:
    """The values that a problem has in those of the ``columns`` that it has."""
    return {name: str(document[name]) for name in columns if document.get(name) is not None}


def estimates(samples: Sequence[SampleRecord], metric: str) -> dict[str, dict[str, MetricEstimate]]:
    """The ``metric`` by column and value, with Wilson's intervals, in the order of the values."""
    shares: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        for column, value in sample.groups.items():
            shares[column][value].append(sample.metrics[metric])
    return {
        column: {value: estimate(by_value[value]) for value in sorted(by_value)}
        for column, by_value in shares.items()
    }


def tables(groups: Mapping[str, Mapping[str, MetricEstimate]]) -> Iterator[str]:
    """A table for a terminal for each column that groups the problems."""
    for column, by_value in groups.items():
        rows = [
            [value, f"{e.n:,}", f"{e.value:.1%}", f"{e.low:.1%} to {e.high:.1%}"]
            for value, e in list(by_value.items())[:MOST]
        ]
        if len(by_value) > MOST:
            rows.append([f"and {len(by_value) - MOST} more", "", "", ""])
        yield text_table([column.replace("_", " ").lower(), "n", "right", "95 % interval"], rows)
