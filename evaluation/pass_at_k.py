"""Metrics of several answers to one problem: pass@k and the majority vote."""

import math
from collections.abc import Callable, Sequence


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The chance that one of ``k`` answers is right, if ``correct`` of ``n`` answers are.

    The unbiased estimator of Chen et al., 2021 (https://arxiv.org/abs/2107.03374). Raises
    ValueError unless 0 <= correct <= n and 1 <= k <= n.
    """
    if not (0 <= correct <= n and 1 <= k <= n):
        raise ValueError(f"pass@{k} from {correct} correct of {n} is not an estimate")
    # In integers up to the last step: a product of n floats would round n times.
    return 1 - math.comb(n - correct, k) / math.comb(n, k)


def majority(answers: Sequence[str | None], same: Callable[[str, str], bool]) -> int | None:
    """The index of the first answer of the largest group of equal answers; None without answers.

    An answer joins a group when its text equals one of the group, or when ``same`` holds for it and
    the group's first answer. The earlier group wins a tie. None, a missing answer, has no group.
    """
    group_of: dict[str, int] = {}
    sizes: dict[int, int] = {}
    for i, answer in enumerate(answers):
        if answer is None:
            continue
        if answer not in group_of:
            firsts = ((first, answers[first]) for first in sizes)
            equal = (first for first, text in firsts if text is not None and same(answer, text))
            group_of[answer] = next(equal, i)
        group = group_of[answer]
        sizes[group] = sizes.get(group, 0) + 1
    return max(sizes, key=lambda first: (sizes[first], -first), default=None)
