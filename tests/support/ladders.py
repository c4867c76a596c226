"""Synthetic ladders: tables of results whose law and link are known, and a ladder file's."""

from typing import Any

import numpy as np
import pandas as pd

from pretrain.ladder.config import Ladder
from pretrain.ladder.forecast import accuracy_of
from pretrain.ladder.forms import log_value
from tinymathreason.config import build, merge

LOSS = np.array([np.log(0.4), 3.2, 4.0, 0.3, 0.35, 1.0, 0.0])
"""log E, log A, log B, alpha, beta, gamma of the loss."""
BITS = np.array([np.log(0.1), 3.2, 4.6, 0.35, 0.4, 1.0, 0.0])
"""The same of the bits a byte of the task ``arithmetic``."""
LINK = np.array([0.01, 9.0, 0.62])
"""Floor, slope and middle of its accuracy."""
SIZES = {"0.3M": 0.3e6, "0.6M": 0.6e6, "1.2M": 1.2e6, "2.5M": 2.5e6, "5M": 5e6}
"""Weights by the name of the size."""
RATIOS = (0.5, 1.0, 2.0, 4.0)
"""Tokens a weight."""


def table(
    seed: int = 0, scatter: float = 0.005, problems: int = 1000, seeds: int = 1,
    sizes: dict[str, float] = SIZES, ratios: tuple[float, ...] = RATIOS,
) -> pd.DataFrame:  # fmt: skip
    """A table of results; losses and bits scatter by ``scatter`` of themselves."""
    generator = np.random.default_rng(seed)
    rows = []
    for size, weights in sizes.items():
        for ratio in ratios:
            for number in range(seeds):
                tokens = ratio * weights
                loss, bits = (
                    float(
                        np.exp(
                            log_value(law, np.array(weights), np.array(tokens))
                            + scatter * generator.standard_normal()
                        )
                    )
                    for law in (LOSS, BITS)
                )
                right = generator.binomial(problems, accuracy_of(LINK, np.array(bits)))
                rows.append(
                    {
                        "name": f"{size}-{ratio:g}x-s{number}",
                        "group": "law",
                        "status": "finished",
                        "size": size,
                        "parameters": weights * 1.1,
                        "matrices": weights,
                        "tokens": tokens,
                        "tokens_per_parameter": ratio,
                        "rate": 0.003,
                        "weight_decay": 0.1,
                        "seed": number,
                        "flops": 6 * weights * tokens,
                        "seconds": 60.0,
                        "loss": loss,
                        "bits/arithmetic": bits,
                        "correct/arithmetic": right,
                        "problems/arithmetic": problems,
                    }
                )
    return pd.DataFrame(rows)


SOURCES = {"web": 0.75, "maths": 0.25}
"""Shares of the mixture of the ladder file in tests/pretrain/ladder/conftest.py."""


def ladder(values: dict[str, Any], **changes: Any) -> Ladder:
    """The ladder of a file with these values, some of them changed."""
    return build(Ladder, merge(values, changes), "ladder.yaml")
