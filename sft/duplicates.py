"""Finds questions that an earlier source already has.

Within a source a question may occur many times: the augmented sets consist of several solutions and
several wordings of the same questions. A repetition between sources would only give the question
more weight.
"""

from collections.abc import Sequence

import numpy as np

from data_prep import similarity
from data_prep.text_hashing import Hashes


def of_earlier_sources(
    questions: Sequence[str], sources: Sequence[int], near: bool
) -> dict[int, tuple[str, int]]:
    """The questions to reject, by index: the reason, and the index of the question that is kept.

    ``sources`` are the numbers of the questions' sources, in ascending order. The reasons are
    ``duplicate_question`` and, with ``near``, ``near_duplicate_question`` (`data_prep.similarity`).
    """
    first: dict[str, int] = {}
    rejected: dict[int, tuple[str, int]] = {}
    for number, question in enumerate(questions):
        owner = first.setdefault(question, number)
        if sources[owner] != sources[number]:
            rejected[number] = ("duplicate_question", owner)
    if near and len(set(sources)) > 1:
        by_owner = _near({q: n for q, n in first.items() if n not in rejected}, sources)
        for number, question in enumerate(questions):
            if first[question] in by_owner:
                rejected.setdefault(number, by_owner[first[question]])
    return rejected


def _near(first: dict[str, int], sources: Sequence[int]) -> dict[int, tuple[str, int]]:
    """The near-duplicates among distinct questions, given with their indices."""
    numbers = list(first.values())
    records = np.zeros(len(numbers), dtype=similarity.RECORD)
    keys: list[Hashes] = []
    for k, question in enumerate(first):
        records[k], hashes = similarity.fingerprint(question)
        keys.append(hashes)
    documents = np.repeat(np.arange(len(keys), dtype=np.uint64), [len(hashes) for hashes in keys])
    pairs = similarity.meetings(keys, [documents])
    places = np.array([sources[number] for number in numbers])
    pairs = pairs[places[pairs[:, 0]] != places[pairs[:, 1]]]
    rejected: dict[int, tuple[str, int]] = {}
    alike = similarity.similar(records[pairs[:, 0]], records[pairs[:, 1]])
    for later, earlier in pairs[alike].tolist():
        if numbers[earlier] not in rejected:
            rejected.setdefault(numbers[later], ("near_duplicate_question", numbers[earlier]))
    return rejected
