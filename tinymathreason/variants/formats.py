"""The same words in other formatting, as web pages, notebooks and other datasets have them."""

import html
import re
from random import Random

from tinymathreason.variants.numerals import DIGITS, SPELLED, spelled, value
from tinymathreason.variants.problem import ProblemVariant, SolvedProblem

_FRACTION = re.compile(r"(?<![\d.,/])(\d+)/(\d+)(?![\d.,/])", re.ASCII)
_MONEY = re.compile(r"\$(?=\d)")
_PART = re.compile(r"[- ](?:thirds?|halves|quarters?|\w+ths?|hundred|thousand|million)\b")
_WIDTH = 60


def latex(problem: SolvedProblem, _: Random) -> ProblemVariant | None:
    r"""Numbers between dollars, fractions as ``\frac``, ``\$`` and ``\%``."""
    text = _FRACTION.sub(r"\\frac{\1}{\2}", problem.question)
    text = re.sub(
        r"(\$?)(\\frac\{\d+\}\{\d+\}|(?<![\w.{])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\d}]))(%?)",
        lambda m: f"${'\\' * bool(m[1])}{m[1]}{m[2]}{'\\%' * bool(m[3])}$",
        text,
        flags=re.ASCII,
    )
    return _changed(problem, "latex", text)


def markdown(problem: SolvedProblem, _: Random) -> ProblemVariant | None:
    """A list with a sentence in each entry, bold numbers, and a heading."""
    lines = [re.sub(r"(\$?\d[\d,.]*\d|\$?\d)", r"**\1**", line) for line in problem.sentences]
    return _changed(problem, "markdown", "\n".join(["## Problem", *(f"- {x}" for x in lines)]))


def html_entities(problem: SolvedProblem, _: Random) -> ProblemVariant | None:
    """A page's source: paragraphs, entities for quotes, dollars and some of the spaces."""
    text = html.escape(problem.question).replace("$", "&#36;").replace("\u2019", "&rsquo;")
    text = re.sub(r"(?<=\d) (?=[a-z])", "&nbsp;", text)
    sentences = re.split(r"(?<=[.?!])\s+(?=[A-Z])", text)
    return _changed(problem, "html", "".join(f"<p>{sentence}</p>\n" for sentence in sentences))


def number_words(problem: SolvedProblem, _: Random) -> ProblemVariant | None:
    """Whole numbers up to 999 in words: ``twenty-five``."""

    def word(match: re.Match[str]) -> str:
        number = value(match[0])
        before, after = match.string[: match.start()], match.string[match.end() :]
        plain = number.denominator == 1 and number < 1000 and not match[0].endswith(".")
        if not plain or before[-1:] in ("$", "/", ":", "-") or re.match(r"[/:%\w]", after):
            return match[0]
        text = spelled(int(number))
        start = not before.strip() or before.rstrip()[-1] in ".?!"
        return text.capitalize() if start else text

    return _changed(problem, "number_words", DIGITS.sub(word, problem.question))


def digits(problem: SolvedProblem, _: Random) -> ProblemVariant | None:
    """Numbers in digits that the original has in words, except for *one*."""

    def figure(match: re.Match[str]) -> str:
        number = value(match[0])
        part = _PART.match(match.string, match.end())
        return match[0] if number < 2 or part else str(number)

    return _changed(problem, "digits", SPELLED.sub(figure, problem.question))


def separators(problem: SolvedProblem, _: Random) -> ProblemVariant | None:
    """Thousands with a comma where there was none, and without where there was one."""

    def other(match: re.Match[str]) -> str:
        if "," in match[0]:
            return match[0].replace(",", "")
        whole, dot, decimals = match[0].partition(".")
        year = (
            re.fullmatch(r"(?:1[89]|20)\d\d", whole) and match.string[: match.start()][-1:] != "$"
        )
        return match[0] if len(whole) < 4 or year else f"{int(whole):,}{dot}{decimals}"

    return _changed(problem, "separators", DIGITS.sub(other, problem.question))


def unicode_signs(problem: SolvedProblem, _: Random) -> ProblemVariant | None:
    """Curly quotes, non-breaking spaces, long dashes, full-width per cent and fraction signs."""
    table: dict[str, str | int | None] = {
        "'": "\u2019",
        "%": "\uff05",
        "-": "\u2011",
        "/": "\u2044",
    }
    text = re.sub(r'"([^"]*)"', "\u201c\\1\u201d", problem.question)
    text = re.sub(r" (?=\d)|(?<=\d) ", "\u00a0", text.translate(str.maketrans(table)))
    return _changed(problem, "unicode", text)


def case(problem: SolvedProblem, source: Random) -> ProblemVariant | None:
    """All letters in one case."""
    change = source.choice((str.upper, str.lower))
    return _changed(problem, "case", change(problem.question))


def wrapped(problem: SolvedProblem, _: Random) -> ProblemVariant | None:
    """Lines of at most 60 characters, each with a mark of quotation as in a mail."""
    lines, line = [], ""
    for word in problem.question.split():
        if line and len(line) + 1 + len(word) > _WIDTH:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return _changed(problem, "wrapped", "\n".join(f"> {text}" for text in [*lines, line]))


def _changed(problem: SolvedProblem, kind: str, text: str) -> ProblemVariant | None:
    return None if text == problem.question else problem.same(kind, text)
