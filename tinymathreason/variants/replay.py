"""Replays the arithmetic of a solution with other numbers in its question.

Every number of the solution must have a meaning: a number of the question, the result of an earlier
annotation, or a constant that a word of the question explains (12 for a dozen). A number can have
several meanings. If these give different values with the new numbers, nobody knows which one was
meant, and the new numbers are refused.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from tinymathreason.variants.calculator import ANNOTATION, Expression, ExpressionError
from tinymathreason.variants.numerals import DIGITS, SPELLED, value, written_like
from tinymathreason.variants.problem import SolvedProblem
from tinymathreason.variants.quantities import Number, numbers

_CONSTANTS: tuple[tuple[str, tuple[int | str, ...]], ...] = (
    (r"twice|doubl\w*|both|pairs?|couples?|half|halves|halved|average|second", (2,)),
    (r"half|halves", ("1/2",)),
    (r"tripl\w*|thrice|thirds?", (3,)),
    (r"quarters?|fourths?|quadrupl\w*", (4, "1/4")),
    (r"fifths?", (5,)),
    (r"sixths?", (6,)),
    (r"sevenths?", (7,)),
    (r"eighths?", (8,)),
    (r"tenths?", (10,)),
    (r"dozens?", (12,)),
    (r"weeks?|weekly|weekdays?|weekends?|days?|daily", (7, 2, 5)),
    (r"weeks?|weekly|months?|monthly", (4,)),
    (r"months?|monthly|years?|yearly|annual\w*", (12,)),
    (r"weeks?|weekly|years?|yearly|annual\w*", (52,)),
    (r"days?|daily|months?|monthly", (30,)),
    (r"days?|daily|years?|yearly", (365,)),
    (r"hours?|hourly|days?|daily", (24,)),
    (r"hours?|hourly|minutes?|seconds?", (60,)),
    (r"feet|foot|inch|inches", (12,)),
    (r"yards?|feet|foot", (3,)),
    (r"dollars?|cents?|pennies|penny", (100,)),
    (r"dimes?", (10, "1/10")),
    (r"nickels?", (5, "1/20")),
    (r"quarters?", (25, "1/4")),
    (r"meters?|metres?|centimeters?|cm|m", (100,)),
    (r"kilo\w+|km|kg|grams?|liters?|milli\w+|ml|gigabytes?|gb|tons?", (1000,)),
    (r"squares?|rectang\w+|perimeter", (2, 4)),
    (r"triang\w+", (3, "1/2", 2)),
)
_CONSTANT = tuple(
    (re.compile(rf"\b(?:{words})\b", re.IGNORECASE), frozenset(Fraction(value) for value in values))
    for words, values in _CONSTANTS
)
_PERCENT = re.compile("%|percent|per cent|discount")

Meaning = tuple[str, int]
"""A number of the question, a result or a constant: its kind and its index."""


class UnclearError(ValueError):
    """The solution's arithmetic cannot be replayed; the message says why."""


@dataclass(frozen=True)
class Use:
    """A number in the solution, and everything it can mean."""

    start: int
    end: int
    text: str
    meanings: tuple[Meaning, ...]


@dataclass(frozen=True)
class Annotation:
    """A calculator annotation."""

    start: int
    end: int
    expression: Expression
    operands: tuple[tuple[Meaning, ...], ...]
    result: str


_DERIVED: dict[str, Callable[[Fraction], Fraction]] = {
    "number": lambda number: number,
    "percent": lambda number: number / 100,
    "left percent": lambda number: 100 - number,
    "left": lambda number: 1 - number / 100,
    "more percent": lambda number: 100 + number,
    "more": lambda number: 1 + number / 100,
    "dollars": lambda number: number / 100,
}
"""The kinds of meanings that a number of the question has, and their values."""


class Replay:
    """A problem whose arithmetic can be replayed with other numbers."""

    def __init__(self, problem: SolvedProblem) -> None:
        """Find the meaning of every number; `UnclearError` if one has none."""
        self.problem = problem
        self.numbers: list[Number] = list(numbers(problem.question))
        counts = Counter(number.value for number in self.numbers)
        # Of two equal numbers nobody knows which one the solution means.
        self.numbers = [
            replace(number, free=number.free and counts[number.value] == 1)
            for number in self.numbers
        ]
        self._constants = _constants(problem.question) | {
            number.value for number in self.numbers if not number.free
        }
        self._original: dict[Meaning, Fraction] = {}
        for index, number in enumerate(self.numbers):
            if number.free:
                for kind in _kinds(number):
                    self._original[kind, index] = _DERIVED[kind](number.value)
        self.steps = list(self._steps())
        if not self.steps or problem.answer is None:
            raise UnclearError("the solution has no annotated arithmetic or no final line")
        self._answer: Meaning = ("result", len(self.steps) - 1)
        self.uses = list(self._uses())
        if Fraction(problem.answer) != self._original[self._answer]:
            raise UnclearError("the final answer is not the last annotation's result")
        self._check_all_used()

    def _meanings(self, number: Fraction) -> tuple[Meaning, ...]:
        found = [meaning for meaning, known in self._original.items() if known == number]
        if number in self._constants:
            found.append(("constant", 0))
        return tuple(found)

    def _steps(self) -> Iterator[Annotation]:
        for index, match in enumerate(ANNOTATION.finditer(self.problem.solution)):
            try:
                expression = Expression.parse(match[1])
                result = Fraction(match[2])
            except ValueError as error:
                raise UnclearError(f"{match[0]} is not plain arithmetic") from error
            if expression.evaluate(expression.operands)[-1] != result:
                raise UnclearError(f"{match[0]} is not exact")
            operands = tuple(self._meanings(operand) for operand in expression.operands)
            if not all(operands):
                raise UnclearError(f"{match[0]} has a number from nowhere")
            self._original["result", index] = result
            yield Annotation(match.start(), match.end(), expression, operands, match[2])

    def _uses(self) -> Iterator[Use]:
        """The numbers outside the annotations, with their meanings."""
        text = self.problem.solution
        blank = ANNOTATION.sub(lambda match: " " * len(match[0]), text)
        for rule in (DIGITS, SPELLED):
            for match in rule.finditer(blank):
                number = value(match[0])
                before = blank[: match.start()].rstrip()
                if before.endswith("####"):
                    yield Use(*match.span(), match[0], (self._answer,))
                    continue
                # The number directly after an annotation is its result.
                step = next((k for k, s in enumerate(self.steps) if s.end == match.start()), None)
                meanings = self._meanings(number)
                if step is not None and self._original["result", step] == number:
                    meanings = (("result", step),)
                if not meanings:
                    raise UnclearError(f"{match[0]} is from nowhere")
                yield Use(*match.span(), match[0], meanings)

    def _check_all_used(self) -> None:
        used = {meaning for step in self.steps for places in step.operands for meaning in places}
        spent = {number for kind, number in used if kind in _DERIVED}
        fixed = {
            operand for step in self.steps for operand in step.expression.operands
        }  # values, for numbers that stay
        for index, number in enumerate(self.numbers):
            known = index in spent if number.free else number.value in fixed
            if not known and number.value > 1 and number.text[0].isdigit():
                raise UnclearError(f"the solution does not use {number.text}")

    @property
    def changeable(self) -> list[int]:
        """The numbers of the question that may change without making a meaning unclear."""
        places = [places for step in self.steps for places in step.operands]
        places += [use.meanings for use in self.uses]
        unclear = {
            index
            for meanings in places
            if ("constant", 0) in meanings
            for kind, index in meanings
            if kind in _DERIVED
        }
        return [k for k, number in enumerate(self.numbers) if number.free and k not in unclear]

    def with_numbers(self, new: Mapping[int, Fraction]) -> SolvedProblem:
        """The problem with other numbers at some indices of ``numbers``.

        `UnclearError` if a number then has two values, if a result is no longer positive or whole
        where it was, or if it cannot be written as the old one was.
        """
        known = {}
        for meaning, original in self._original.items():
            kind, index = meaning
            if kind in _DERIVED:
                known[meaning] = _DERIVED[kind](new[index]) if index in new else original
        edits: list[tuple[int, int, str]] = []
        for index, step in enumerate(self.steps):
            old = step.expression.operands
            operands = [
                self._one(meanings, known, operand)
                for meanings, operand in zip(step.operands, old, strict=True)
            ]
            results = _checked(step.expression, old, operands)
            known["result", index] = results[-1]
            shown = [
                _written(operand, text)
                for operand, text in zip(operands, step.expression.numbers, strict=True)
            ]
            written = f"<<{step.expression.written(shown)}={_written(results[-1], step.result)}>>"
            same = operands == old
            text = self.problem.solution[step.start : step.end]
            edits.append((step.start, step.end, text if same else written))
        for use in self.uses:
            old_value = value(use.text)
            new_value = self._one(use.meanings, known, old_value)
            text = use.text if new_value == old_value else _written(new_value, use.text)
            edits.append((use.start, use.end, text))
        question = [
            (number.start, number.end, _written(new[k], number.text))
            for k, number in enumerate(self.numbers)
            if new.get(k, number.value) != number.value
        ]
        return SolvedProblem(
            _edited(self.problem.question, question), _edited(self.problem.solution, edits)
        )

    @staticmethod
    def _one(
        meanings: Sequence[Meaning], known: Mapping[Meaning, Fraction], old: Fraction
    ) -> Fraction:
        values = {known.get(meaning, old) for meaning in meanings}
        if len(values) != 1:
            raise UnclearError(f"{old} has several meanings")
        return values.pop()


def _kinds(number: Number) -> list[str]:
    if number.percent:
        return ["number", "percent", "left percent", "left", "more percent", "more"]
    return ["number", "dollars"] if number.cents else ["number"]


def _constants(question: str) -> set[Fraction]:
    found = {Fraction(1)}
    for rule, values in _CONSTANT:
        if rule.search(question):
            found |= values
    if _PERCENT.search(question):
        found |= {Fraction(100), Fraction(1, 100)}
    return found


def _checked(
    expression: Expression, old: Sequence[Fraction], new: Sequence[Fraction]
) -> list[Fraction]:
    """The results of the operations; each must be whole and positive if it was."""
    try:
        results = expression.evaluate(new)
    except ExpressionError as error:
        raise UnclearError(str(error)) from error
    for before, after in zip(expression.evaluate(old), results, strict=True):
        if (before.denominator == 1 < after.denominator) or (before > 0 >= after):
            raise UnclearError(f"{before} would become {after}")
    return results


def _written(number: Fraction, like: str) -> str:
    text = written_like(number, like)
    if text is None:
        raise UnclearError(f"{number} cannot be written like {like}")
    return text


def _edited(text: str, edits: Sequence[tuple[int, int, str]]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text
