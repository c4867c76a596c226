"""The kinds of variants, and the variants of one problem."""

from collections.abc import Sequence
from random import Random

from tinymathreason.variants import clauses, formats, names, numbers, order, paraphrase, parts
from tinymathreason.variants.problem import ProblemVariant, Rule, SolvedProblem


def _names_and_numbers(problem: SolvedProblem, source: Random) -> ProblemVariant | None:
    """Other names in a variant with other numbers."""
    admitted = names.other_names(problem, source)
    other = admitted and numbers.other_numbers(problem, source)
    if other is None:
        return None
    both = names.other_names(SolvedProblem(other.question, other.solution), source)
    return both and ProblemVariant("names_and_numbers", both.question, both.solution, both.answer)


_SKILL: dict[str, Rule] = {
    "names": names.other_names,
    "numbers": numbers.other_numbers,
    "names_and_numbers": _names_and_numbers,
    "irrelevant": clauses.irrelevant,
    "reordered": order.reordered,
    "paraphrase": paraphrase.paraphrased,
}
_FORMATS: dict[str, Rule] = {
    "latex": formats.latex,
    "markdown": formats.markdown,
    "html": formats.html_entities,
    "number_words": formats.number_words,
    "digits": formats.digits,
    "separators": formats.separators,
    "unicode": formats.unicode_signs,
    "case": formats.case,
    "wrapped": formats.wrapped,
}
_PARTS: dict[str, Rule] = {
    "unanswered": parts.unanswered,
    "statement": parts.statement,
    "three_quarters": parts.first_part,
    "half": parts.first_half,
    "solution_alone": parts.solution_alone,
}
_RULES = _SKILL | _FORMATS | _PARTS

SKILL_KINDS = tuple(_SKILL)
"""Kinds with a question and an answer, which an evaluation can ask."""
FORMATS = tuple(_FORMATS)
"""Kinds with the same words, or numbers, in other formatting."""
PARTS = tuple(_PARTS)
"""Kinds that are a part of the problem."""
OTHER_ANSWER = ("numbers", "names_and_numbers")
"""Kinds with another answer: other problems of the same form."""
KINDS = tuple(_RULES)
"""All kinds."""


def variants(
    question: str, solution: str, seed: int, kinds: Sequence[str] = KINDS
) -> list[ProblemVariant]:
    """The variants of a problem, one of each kind that it admits, in the order of ``kinds``.

    The solution has GSM8K's form: steps with calculator annotations, and a final line. The result
    depends only on the arguments; a kind's variant does not depend on the other kinds. `KeyError`
    for an unknown kind.
    """
    problem = SolvedProblem(question, solution)
    made = (_RULES[kind](problem, Random(f"{seed} {kind} {question}")) for kind in kinds)
    return [variant for variant in made if variant is not None]
