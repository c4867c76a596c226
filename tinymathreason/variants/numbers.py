"""Other numbers in a question, with the answer recomputed from its solution's arithmetic."""

import re
from fractions import Fraction
from random import Random

from tinymathreason.variants.calculator import ANNOTATION
from tinymathreason.variants.problem import ProblemVariant, SolvedProblem
from tinymathreason.variants.replay import Replay, UnclearError

DRAWS = 1000
"""How many sets of new numbers are tried."""

_JUDGEMENT = re.compile(
    r"\b(?:round(?:ed|ing|s)? (?:up|down|to|off)|nearest|at (?:least|most)|minimum|maximum|"
    r"whichever|which of|cheap(?:er|est)|(?:more|most|less|least) expensive|better|enough|until|"
    r"unless|if and only|greater|exceeds?|larger|largest|smaller|smallest|leap|prime|even|odd|"
    r"equation|variable|solve|clock|noon|midnight|only (?:fit|hold)s?|let [a-z] )\b"
    r"|[<>\u2264\u2265](?![<>\d.(-])|\b[a-z] ?= ?\d|\d ?[xyn]\b(?! ?\d| ?\$| ?\()",
    re.IGNORECASE,
)
"""Words of a problem whose solution could be another one with other numbers."""
_INTERVAL = re.compile(r"\bevery $", re.IGNORECASE)
"""Before a number of which only whole ones count: something happens every 5 minutes."""


def other_numbers(problem: SolvedProblem, source: Random) -> ProblemVariant | None:
    """The problem with new values for the numbers that may change, and another answer."""
    if _JUDGEMENT.search(f"{problem.question} {ANNOTATION.sub('', problem.solution)}"):
        return None
    try:
        replay = Replay(problem)
    except UnclearError:
        return None
    changing = replay.changeable
    if not changing:
        return None
    for _ in range(DRAWS):
        new = {k: replay.numbers[k].drawn(source) for k in changing}
        if not _sensible(replay, new):
            continue
        try:
            made = replay.with_numbers(new)
        except UnclearError:
            continue
        if made.answer != problem.answer:
            return ProblemVariant("numbers", made.question, made.solution, made.answer)
    return None


def _sensible(replay: Replay, new: dict[int, Fraction]) -> bool:
    """All drawn numbers are new, in the order of the old ones, and per cents sum up to no more.

    What was whole intervals stays so: with a part of one, it is not clear whether it counts.
    """
    before = [number.value for number in replay.numbers]
    after = [new.get(k, old) for k, old in enumerate(before)]
    if any(after[k] == before[k] for k in new):
        return False
    for k, number in enumerate(replay.numbers):
        if k in new and number.largest is not None and after[k] > number.largest:
            return False
    ranks = [sorted(set(side)) for side in (before, after)]
    if [ranks[0].index(n) for n in before] != [ranks[1].index(n) for n in after]:
        return False
    for k, number in enumerate(replay.numbers):
        if number.value and _INTERVAL.search(replay.problem.question[: number.start]):
            whole = (j for j, old in enumerate(before) if old % before[k] == 0)
            if any(after[j] % after[k] for j in whole):
                return False
    percents = [k for k, number in enumerate(replay.numbers) if number.percent]
    if sum(before[k] for k in percents) <= 100:
        return sum(after[k] for k in percents) <= 100
    return True
