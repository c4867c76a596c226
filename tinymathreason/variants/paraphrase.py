"""A question in other words, by rules that keep its meaning."""

import re
from random import Random

from tinymathreason.variants.problem import ProblemVariant, SolvedProblem

FEWEST = 2
"""Rules that must change the question."""
OFTEN = 0.8
"""Probability with which a rule that fits is used."""

_BOTH_WAYS = (
    ("purchases", "buys"),
    ("purchased", "bought"),
    ("begins", "starts"),
    ("began", "started"),
    ("kids", "children"),
    ("mom", "mother"),
    ("dad", "father"),
    ("grandma", "grandmother"),
    ("altogether", "in total"),
    ("every day", "each day"),
    ("every week", "each week"),
    ("every month", "each month"),
    ("every year", "each year"),
    ("doesn't", "does not"),
    ("didn't", "did not"),
    ("isn't", "is not"),
    ("can't", "cannot"),
    ("larger", "bigger"),
    ("large", "big"),
    ("decides to", "chooses to"),
    ("decided to", "chose to"),
    ("completed", "finished"),
    ("completes", "finishes"),
    ("needs to", "has to"),
    ("twice as many", "two times as many"),
    ("twice as much", "two times as much"),
    ("need to", "have to"),
    ("movie", "film"),
    ("movies", "films"),
    ("additional", "extra"),
)
_ONE_WAY = (
    ("wants to", "would like to"),
    ("half as many", "one half as many"),
    ("store", "shop"),
    ("car", "automobile"),
    ("friends", "pals"),
    ("sister", "female sibling"),
    ("per hour", "an hour"),
    ("brother", "male sibling"),
    ("weighs", "has a weight of"),
    ("attended", "went to"),
    ("attends", "goes to"),
    ("requires", "needs"),
    ("gives", "hands"),
    ("gave", "handed"),
    ("receives", "is given"),
    ("entire", "whole"),
    ("remaining", "left over"),
    ("house", "home"),
)
_OTHER = dict((*_BOTH_WAYS, *_ONE_WAY, *((new, old) for old, new in _BOTH_WAYS)))
_PATTERNS = tuple(
    (re.compile(old), new)
    for old, new in (
        (r"\bHow many (?!more )((?:[a-z]+ )?[a-z]+s) (?=(?:do|does|did|will|would|can)\b)",
         r"What number of \1 "),
        (r"\bhow many (?!more )((?:[a-z]+ )?[a-z]+s) (?=(?:do|does|did|will|would|can)\b)",
         r"what number of \1 "),
        (r"\bHow much money\b", "What amount of money"),
        (r"\bhow much money\b", "what amount of money"),
        (r"(?<!\d )\b(?<!one )half of\b", "one half of"),
        (r"\$(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?"
         r"(?![\d.]*(?:/|-| ?[mb]illion| ?thousand))", r"\1\2 dollars"),
        (r"(?<=\d)%", " percent"),
        (r"(?<=s )a (?=(?:day|week|month|year)\b)", "per "),
        (r"(?<=s )per (?=(?:day|week|month|year)\b)", "a "),
        (r"\b(has|have|had) (?=\d+ [a-z])", r"\1 exactly "),
        (r"\b(costs?) (?=\$?\d)", r"\1 exactly "),
        (r"\bthere (are|were) (?=\d)", r"there \1 exactly "),
        (r"\bThere (are|were) (?=\d)", r"There \1 exactly "),
    )
)  # fmt: skip
_WORDS = re.compile(rf"(?<!-)\b(?:{'|'.join(sorted(_OTHER, key=len, reverse=True))})\b(?![-'])")
_CONDITION = re.compile(r"^(How [^,.?\"]*[^,.? ]),? if ([^,.?\"]+)\?$")


def paraphrased(problem: SolvedProblem, source: Random) -> ProblemVariant | None:
    """The question with other words of the same meaning; its condition may come first.

    Each rule that fits is used with a probability of `OFTEN`. Not admitted are questions that fewer
    than `FEWEST` rules change.
    """

    def other(match: re.Match[str]) -> str:
        return _OTHER[match[0]] if source.random() < OFTEN else match[0]

    sentences, changes = [], 0
    for sentence, space in problem.spaced:
        text = sentence
        condition = _CONDITION.match(text)
        if condition and source.random() < OFTEN:
            text, changes = f"If {condition[2]}, h{condition[1][1:]}?", changes + 1
        replaced = _WORDS.sub(other, text)
        changes += replaced != text
        for rule, new in _PATTERNS:
            if source.random() < OFTEN:
                text, replaced = replaced, rule.sub(new, replaced)
                changes += replaced != text
        sentences.append(replaced + space)
    question = "".join(sentences)
    changed = changes >= FEWEST and question != problem.question
    return problem.same("paraphrase", question) if changed else None
