"""Chooses the examples of a source that fill its budget, by difficulty and diversity.

The rows of each level are sorted by the tokens of their answers, and cut into classes of equal
size: the length of a solution is the usual sign of difficulty (s1, arXiv 2501.19393). Each class of
each level has a share of the budget, and what a small one cannot use goes to the others. So easy
and hard problems are kept in the numbers that the configuration says, not in those of the set.

Within a class, problems of other wording come first (DEITA, arXiv 2312.15685, prefers examples that
are unlike those chosen before; the authors of OpenMathInstruct-2, arXiv 2410.01560, find that the
number of different questions matters most). A *cluster* is a set of questions of like wording, and
clusters take turns: one example of each, then a second one of each. The second solution of a
question waits until all questions of its cluster have had their turn.

Everything else is decided by a hash of the example and a seed, so the order of the rows does not
matter. The time is that of sorting a few numbers for each row.
"""

import hashlib
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep.similarity import minima
from data_prep.text_hashing import chain, hashed_pieces, mix
from sft.config import Selection
from tinymathreason.records.examples import Selected, Spread, Stratum

HASHES = 4
"""MinHashes of a question's words that must agree in a cluster. With `tinymathreason.variants` of
400 questions of GSM8K, a question and its variant share a cluster in 100 % of the cases with other
numbers or another order, 72 % with other names, 59 % in other words and 35 % with a sentence more;
of two questions of GSM8K's training set, 0.008 % do."""
CANDIDATE = np.dtype(
    [
        ("digest", "u8"),
        ("question", "u8"),
        ("cluster", "u8"),
        ("tokens", "u4"),
        ("level", "u4"),
    ]
)
"""What is known of a row: hashes of its conversation, of its question and of the question's
cluster, the tokens of its answers, and the number of its level."""
QUANTILES = (0.1, 0.5, 0.9)
"""Of the answers' tokens, as a record has them."""

_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)*")
_random = np.random.Generator(np.random.PCG64(1))
_FACTORS = _random.integers(2**32, size=HASHES, dtype=np.uint32) | np.uint32(1)


def text_hash(text: str) -> int:
    """The hash of a text, 64 bits, as candidates have it."""
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def cluster(question: str) -> int:
    """The cluster of a question: MinHash (Broder 1997) of its words; a number counts as any other.

    Questions whose words have the Jaccard similarity s share a cluster with probability
    s**`HASHES`.
    """
    masked = _NUMBER.sub("0", question)
    least = np.min([minima(piece.words, _FACTORS) for piece in hashed_pieces(masked)], axis=0)
    key = np.zeros(1, dtype=np.uint64)
    for value in least:
        key = chain(key, value)
    return int(key[0])


def choose(
    candidates: npt.NDArray[np.void], levels: list[str], selection: Selection, seed: int
) -> tuple[npt.NDArray[np.bool_], Selected]:
    """Which candidates to keep, bool[n], and what that makes of their distribution.

    ``candidates`` are of `CANDIDATE`; ``levels`` are the names of their levels, sorted. Their order
    does not matter.
    """
    # Of one source and seed, every row has a place in a random order.
    lot = mix(candidates["digest"] ^ mix(np.array([seed], dtype=np.uint64)))
    repeat = _rank(candidates["question"], lot)
    turn = _rank(candidates["cluster"], repeat, lot)
    place = _rank(candidates["level"], candidates["tokens"], lot)
    size = np.bincount(candidates["level"], minlength=len(levels))[candidates["level"]]
    classes = len(selection.difficulty)
    stratum = candidates["level"].astype(np.int64) * classes + place * classes // np.maximum(
        size, 1
    )
    sizes = np.bincount(stratum, minlength=len(levels) * classes)
    by_level = sizes.reshape(len(levels), classes)
    shares = np.array(selection.difficulty)
    budgets = allot(selection.examples, by_level[:, shares > 0].sum(axis=1), np.ones(len(levels)))
    quotas = np.array(
        [
            allot(int(budget), of_level, shares)
            for budget, of_level in zip(budgets, by_level, strict=True)
        ],
        dtype=np.int64,
    ).reshape(-1)
    chosen = _rank(stratum, turn, lot) < quotas[stratum]
    strata = [
        Stratum(
            level=levels[number // classes],
            difficulty=number % classes + 1,
            longest=int(candidates["tokens"][stratum == number].max(initial=0)),
            candidates=int(sizes[number]),
            chosen=int(quotas[number]),
        )
        for number in np.flatnonzero(sizes).tolist()
    ]
    before, after = (_spread(some) for some in (candidates, candidates[chosen]))
    return chosen, Selected(candidates=before, chosen=after, strata=strata)


def allot(
    budget: int, sizes: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """How many of each part to take, int[parts]: in proportion to weights, at most its size.

    What small parts leave is divided among the others. The sum is the budget, or the size of all
    parts of a weight above 0 if that is less.
    """
    quotas = np.zeros_like(sizes)
    sharing = (sizes > 0) & (weights > 0)
    left = min(budget, int(sizes[sharing].sum()))
    while sharing.any():
        shares = np.where(sharing, left * weights / weights[sharing].sum(), 0.0)
        full = sharing & (sizes <= shares)
        if not full.any():
            quotas[sharing] = np.floor(shares[sharing]).astype(np.int64)
            rest = left - int(quotas[sharing].sum())
            # The largest remainders get one more each; of equal ones, the first.
            lacking = np.where(sharing, quotas - shares, 1.0)
            quotas[np.argsort(lacking, kind="stable")[:rest]] += 1
            break
        quotas[full] = sizes[full]
        left -= int(sizes[full].sum())
        sharing &= ~full
    return quotas


def _rank(keys: npt.NDArray[Any], *order: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The place of each row among the rows of the same key, in an order, from 0; int[n]."""
    by_key = np.lexsort((*reversed(order), keys))
    ordered = keys[by_key]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(keys)])
    ranks = np.empty(len(keys), dtype=np.int64)
    starts = np.repeat(first, np.diff(first, append=len(keys)))
    ranks[by_key] = np.arange(len(keys)) - starts
    return ranks


def _spread(rows: npt.NDArray[np.void]) -> Spread:
    tokens = np.quantile(rows["tokens"], QUANTILES) if len(rows) else np.zeros(len(QUANTILES))
    return Spread(
        examples=len(rows),
        questions=len(np.unique(rows["question"])),
        clusters=len(np.unique(rows["cluster"])),
        tokens=[round(float(value)) for value in tokens],
    )
