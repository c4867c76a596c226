"""Parts of a problem, as they are left of it in other texts."""

from random import Random

from tinymathreason.variants.problem import ProblemVariant, SolvedProblem


def unanswered(problem: SolvedProblem, _: Random) -> ProblemVariant | None:
    """The whole question without its solution."""
    return ProblemVariant("unanswered", problem.question, "", problem.answer)


def first_part(problem: SolvedProblem, _: Random) -> ProblemVariant | None:
    """The first three quarters of the question's words, without a solution."""
    return _first(problem, "three_quarters", 0.75)


def first_half(problem: SolvedProblem, _: Random) -> ProblemVariant | None:
    """The first half of the question's words, without a solution."""
    return _first(problem, "half", 0.5)


def statement(problem: SolvedProblem, _: Random) -> ProblemVariant | None:
    """The question without its last sentence, which asks; None if it has only one."""
    if len(problem.sentences) < 2:
        return None
    end = len(problem.sentences[-1])
    return ProblemVariant("statement", problem.question[:-end].rstrip(), "", None)


def solution_alone(problem: SolvedProblem, _: Random) -> ProblemVariant | None:
    """The worked solution without its question."""
    return ProblemVariant("solution_alone", "", problem.solution, problem.answer)


def _first(problem: SolvedProblem, kind: str, share: float) -> ProblemVariant | None:
    words = problem.question.split(" ")
    part = " ".join(words[: round(share * len(words))])
    return ProblemVariant(kind, part, "", None) if len(words) > 3 else None
