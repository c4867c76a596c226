"""Durations, sizes and counts as people read them."""

import pytest

from tinymathreason import units


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59, "59 s"), (75, "1 min 15 s"), (3599.7, "1 h 0 min"), (802, "13 min"),
     (7500, "2 h 5 min"), (200_000, "2.3 days")],
)  # fmt: skip
def test_durations(seconds, words) -> None:
    assert units.duration(seconds) == words


def test_sizes_are_in_the_largest_unit_that_they_fill() -> None:
    sizes = {0: "0 Bytes", 999: "999 Bytes", 1500: "1.5 kB", 2 * 10**9: "2.0 GB"}
    assert {value: units.size(value) for value in sizes} == sizes
    assert units.memory(3 * 2**29) == "1.50 GiB"
    assert units.count(1_234_567) == "1.2 million"
