"""An irrelevant sentence with a number in a question, as in GSM-NoOp (arXiv 2410.05229)."""

import re
from random import Random

from tinymathreason.variants.problem import ProblemVariant, SolvedProblem

_CLAUSES = (
    ("The street outside is {n} years old.", "year old age street road"),
    ("A bus with {n} seats passes by.", "bus seat passenger ride travel"),
    ("The nearest library has {n} shelves.", "library shelf book shelves"),
    ("It is {n} degrees outside.", "degree temperature weather celsius fahrenheit heat"),
    ("A neighbor owns {n} umbrellas.", "neighbor umbrella rain"),
    ("The clock on the wall is {n} centimeters wide.", "clock wall centimeter wide width"),
    ("A poster in the town hall lists {n} rules.", "poster rule town"),
    ("There are {n} lamps along the nearby bridge.", "lamp bridge light"),
    ("The local radio station has {n} songs about summer.", "radio song music summer"),
    ("A cat in the neighborhood has {n} spots.", "cat spot pet animal neighborhood"),
    ("The old map of the town shows {n} wells.", "map well town"),
    ("A flag nearby has {n} stripes.", "flag stripe"),
)
"""Sentences, each with the words of questions in which it could matter."""
_REFERENCE = re.compile(
    r"\b(?:he|she|it|they|him|her|them|his|hers|its|their|theirs|this|that|these|those|there|then|"
    r"one|ones|other|others|another|rest|remaining|same|such|each|every|both|all|half|here)\b",
    re.IGNORECASE,
)


def irrelevant(problem: SolvedProblem, source: Random) -> ProblemVariant | None:
    """The question with a sentence that has a number and does not matter.

    It stands before the question, or before a sentence of it that has no word that could refer to
    something in the sentence before. Not admitted are questions of one sentence that begin with
    such a word, and those whose words do not allow any of the sentences.
    """
    places = [k for k, text in enumerate(problem.sentences) if not _REFERENCE.search(text)]
    if not _REFERENCE.match(problem.question):
        places.append(0)
    low = problem.question.lower()
    clauses = [text for text, words in _CLAUSES if not any(word in low for word in words.split())]
    if not clauses or not places:
        return None
    used = set(re.findall(r"\d+", f"{problem.question} {problem.solution}"))
    number = source.choice([n for n in range(11, 90) if str(n) not in used])
    place = source.choice(sorted(set(places)))
    clause = source.choice(clauses).format(n=number)
    parts = [f"{text}{space}" for text, space in problem.spaced]
    return problem.same("irrelevant", "".join([*parts[:place], f"{clause} ", *parts[place:]]))
