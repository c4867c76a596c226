"""A ladder file of two sizes, and the manifest of its mixture."""

from pathlib import Path
from typing import Any

import pytest

from tests.support import records
from tests.support.ladders import SOURCES


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """A ladder of two sizes, over a mixture of two sources."""
    made = records.mixture(
        recipe=records.mixture().recipe.model_copy(
            update={
                "sources": {
                    name: records.weighted_source(weight=8 * weight)
                    for name, weight in SOURCES.items()
                }
            }
        )
    )
    made.write(tmp_path / "mixture" / "manifest.json")
    return {
        "run": str(tmp_path / "run"),
        "base": "maxtext_configs/ladder.yml",
        "mixture": str(tmp_path / "mixture"),
        "sizes": {
            "small": {"width": 64, "layers": 2, "heads": 4},
            "large": {"width": 128, "layers": 3, "heads": 8},
        },
        "rate": {"peak": 1e-3, "parameters": 200_000, "exponent": -0.5},
        "device": {"name": "h100", "share": 0.5, "overhead_seconds": 10},
        "law": {"tokens_per_parameter": [1, 4], "seeds": [0, 1], "repeated": ["small"]},
    }
