"""Evaluates the calculator annotations of GSM8K's solutions, such as ``<<3*4=12>>``, exactly."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

ANNOTATION = re.compile(r"<<([^<>=]*)=([^<>=]*)>>")
_TOKEN = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+|[-+*/()])")
_OPERATORS = {"+": 1, "-": 1, "*": 2, "/": 2}


class ExpressionError(ValueError):
    """An expression that is not plain arithmetic, or that divides by zero."""


@dataclass(frozen=True)
class Expression:
    """An arithmetic expression with numbers, the four operators and parentheses."""

    tokens: tuple[str, ...]
    """Numbers, operators and parentheses in their order."""

    @classmethod
    def parse(cls, text: str) -> "Expression":
        """Split a text; `ExpressionError` if it has anything else in it."""
        parts, place = [], 0
        text = text.strip()
        while place < len(text):
            part = _TOKEN.match(text, place)
            if not part:
                raise ExpressionError(text)
            parts.append(part[1])
            place = part.end()
        expression = cls(tuple(parts))
        expression.evaluate(expression.operands)
        return expression

    @property
    def numbers(self) -> list[str]:
        """The numbers as they are written, in their order."""
        return [token for token in self.tokens if _is_number(token)]

    @property
    def operands(self) -> list[Fraction]:
        """The values of the numbers, in their order."""
        return [Fraction(number) for number in self.numbers]

    def evaluate(self, operands: Sequence[Fraction]) -> list[Fraction]:
        """The results of the operations in the order of their evaluation, with other operands.

        The last one is the expression's value. A single number is its own result.
        """
        values: list[Fraction] = []
        pending: list[str] = []
        results: list[Fraction] = []
        rest = iter(operands)

        def apply() -> None:
            sign = pending.pop()
            if sign not in _OPERATORS or len(values) < 2:
                raise ExpressionError(" ".join(self.tokens))
            right, left = values.pop(), values.pop()
            if sign == "/" and right == 0:
                raise ExpressionError("division by zero")
            if sign in "+-":
                values.append(left + right if sign == "+" else left - right)
            else:
                values.append(left * right if sign == "*" else left / right)
            results.append(values[-1])

        before = "("
        for part in self.tokens:
            number = _is_number(part)
            # A number or a parenthesis opens where an operand is due, everything else elsewhere.
            if (number or part == "(") == (before == ")" or _is_number(before)):
                raise ExpressionError(" ".join(self.tokens))
            if number:
                values.append(next(rest))
            elif part == "(":
                pending.append(part)
            elif part == ")":
                while pending and pending[-1] != "(":
                    apply()
                if not pending:
                    raise ExpressionError(" ".join(self.tokens))
                pending.pop()
            else:
                while pending and _OPERATORS.get(pending[-1], 0) >= _OPERATORS[part]:
                    apply()
                pending.append(part)
            before = part
        while pending:
            apply()
        if len(values) != 1:
            raise ExpressionError(" ".join(self.tokens))
        return results or values

    def written(self, operands: Sequence[str]) -> str:
        """The expression with other operands, without spaces."""
        rest = iter(operands)
        return "".join(next(rest) if _is_number(part) else part for part in self.tokens)


def _is_number(token: str) -> bool:
    return token[-1].isdigit() or token[-1] == "."
