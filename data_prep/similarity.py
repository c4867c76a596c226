"""Near-duplicates: fingerprints of documents, the keys under which they meet, and their comparison.

MinHash (Broder 1997) over shingles of three words. Documents that agree in one of `BANDS` bands of
`ROWS` hashes meet, and are near-duplicates if at least `LEAST` of all hashes agree. An exercise
with other numbers is another exercise: documents rich in numbers must share their numbers too.
"""

import numpy as np
import numpy.typing as npt

from data_prep.text_hashing import Hashes, chain, hashed_pieces

SHINGLE = 3
"""Words in a shingle. Changing a share p of the words keeps about (1 - p)**SHINGLE of them."""
BANDS = 32
"""Groups of hashes, of which one must agree completely for two documents to be compared."""
ROWS = 5
"""Hashes in a band."""
LEAST = 0.5
"""Estimated Jaccard similarity from which on two documents are near-duplicates."""
NUMBERS = 32
"""Hashes of a document's numbers."""
FIRST = 4
"""Documents under a key with which each later one is compared. Similar documents meet under many
keys, and comparing all with all would be quadratic."""
SHARED_NUMBERS = 0.3
"""Share of the numbers that the other document must contain too, of the document with fewer..."""
WORDS_PER_NUMBER = 60
"""... unless one of them has fewer than one number in this many words."""

RECORD = np.dtype(
    [
        ("digest", "u8", 2),
        ("id", "u8"),
        ("words", "u4"),
        ("numbers", "u4"),
        ("shingle_hashes", "u1", BANDS * ROWS),
        ("number_hashes", "u1", NUMBERS),
    ]
)
"""A document's fingerprint: BLAKE2b of its text (128 bits) and of its id (64 bits), how many words
and distinct numbers it has, and the low byte of each MinHash (Li and Konig 2010)."""

_random = np.random.Generator(np.random.PCG64(0))
_FACTORS = _random.integers(2**32, size=BANDS * ROWS, dtype=np.uint32) | np.uint32(1)
_NUMBER_FACTORS = _random.integers(2**32, size=NUMBERS, dtype=np.uint32) | np.uint32(1)
_BLOCK = 1024


def minima(hashes: Hashes, factors: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """MinHash: for each odd factor, the least product with the hashes' upper halves.

    Returns uint32[factors]; the products wrap around at 2**32. (XOR with masks costs the same, but
    among few hashes the same ones are then often the least, so that estimates from short documents
    would scatter twice as much.)
    """
    halves = (hashes >> np.uint64(32)).astype(np.uint32)
    least = np.full(len(factors), 2**32 - 1, dtype=np.uint32)
    for start in range(0, len(halves), _BLOCK):
        block = factors[:, None] * halves[None, start : start + _BLOCK]
        np.minimum(least, block.min(axis=1), out=least)
    return least


def fingerprint(text: str) -> tuple[npt.NDArray[np.void], Hashes]:
    """A document's `RECORD` of shape (), without digest and id, and its keys, uint64[BANDS].

    A text without letters and digits has no keys, so it is never a near-duplicate.
    """
    record = np.zeros((), dtype=RECORD)
    shingle_hashes = np.full(BANDS * ROWS, 2**32 - 1, dtype=np.uint32)
    number_hashes = np.full(NUMBERS, 2**32 - 1, dtype=np.uint32)
    distinct: set[int] = set()
    for piece in hashed_pieces(text):
        numbers = piece.numbers()
        np.minimum(shingle_hashes, minima(piece.shingles(SHINGLE), _FACTORS), out=shingle_hashes)
        np.minimum(number_hashes, minima(numbers, _NUMBER_FACTORS), out=number_hashes)
        record["words"] += len(piece.starts)
        distinct.update(np.unique(numbers).tolist())
    record["numbers"] = len(distinct)
    record["shingle_hashes"] = shingle_hashes.astype(np.uint8)
    record["number_hashes"] = number_hashes.astype(np.uint8)
    if not record["words"]:
        return record, np.zeros(0, dtype=np.uint64)
    # Each band's key starts from the band's number, so that different bands share no key.
    keys = np.arange(1, BANDS + 1, dtype=np.uint64)
    for row in shingle_hashes.reshape(BANDS, ROWS).T:
        keys = chain(keys, row)
    return record, keys


def _jaccard(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Similarity estimated from low bytes, float64[n]; one in 256 bytes agrees by chance."""
    agree = (left == right).mean(axis=1)
    return np.asarray(np.maximum(0.0, (agree - 1 / 256) / (1 - 1 / 256)))


def similar(left: npt.NDArray[np.void], right: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """Whether each pair of two arrays of n records are near-duplicates, bool[n]."""
    alike = _jaccard(left["shingle_hashes"], right["shingle_hashes"]) >= LEAST
    fewer = np.minimum(left["numbers"], right["numbers"]).astype(np.float64)
    both = left["numbers"].astype(np.float64) + right["numbers"]
    rich = (left["numbers"] * WORDS_PER_NUMBER >= left["words"]) & (
        right["numbers"] * WORDS_PER_NUMBER >= right["words"]
    )
    jaccard = _jaccard(left["number_hashes"], right["number_hashes"])
    # |A & B| = J / (1 + J) (|A| + |B|)
    shared = jaccard / (1 + jaccard) * both / np.maximum(fewer, 1)
    return np.asarray(alike & ~(rich & (fewer > 0) & (shared < SHARED_NUMBERS)))


def meetings(by_file: list[Hashes], documents_by_file: list[Hashes]) -> Hashes:
    """The distinct pairs (later, earlier) of documents that share a key, sorted; uint64[n, 2].

    Takes the keys of each file, in the order of the documents. Empties ``by_file`` to save memory.
    """
    together = np.concatenate(by_file)
    by_file.clear()
    order = np.argsort(together, kind="stable")
    keys = together[order]
    del together
    same = keys[1:] == keys[:-1]
    shared = np.zeros(len(keys), dtype=bool)
    shared[1:] |= same
    shared[:-1] |= same
    keys, order = keys[shared], order[shared]
    documents = np.concatenate(documents_by_file)[order]
    begins = np.flatnonzero(np.diff(keys, prepend=~keys[:1]) != 0)
    lengths = np.diff(begins, append=len(keys))
    first = np.repeat(begins, lengths)
    parts = []
    for k in range(FIRST):
        later = np.flatnonzero(np.arange(len(keys)) > first + k)
        parts.append(np.stack([documents[later], documents[first[later] + k]], axis=1))
    pairs = np.concatenate(parts)
    return np.asarray(np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0))


def chance(jaccard: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The probability that two documents of this similarity agree in a band."""
    return 1 - (1 - np.asarray(jaccard, dtype=np.float64) ** ROWS) ** BANDS
