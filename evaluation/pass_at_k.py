"""What several answers to one problem are worth: pass@k and the vote of the majority."""

import math
from collections.abc import Callable, Sequence


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The chance that at least one of ``k`` answers is right, from ``n`` of which ``correct`` are.

    The unbiased estimator of Chen et al., 2021 (https://arxiv.org/abs/2107.03374). Raises
    ValueError unless 0 <= correct <= n and 1 <= k <= n.
    """
    if not (0 <= correct <= n and 1 <= k <= n):
        raise ValueError(f"pass@{k} from {correct} correct of {n} is no estimate")
    # Of whole numbers up to the last step: a product of n factors would round n times.
    return 1 - math.comb(n - correct, k) / math.comb(n, k)


def majority(answers: Sequence[str | None], same: Callable[[str, str], bool]) -> int | None:
    """The index of the first answer of the largest group of equal ones; None when there is none.

    Equal texts are equal, others when ``same`` says so of one and the first of a group. The group
    seen first wins a tie; None, an answer not found, is in no group.
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
