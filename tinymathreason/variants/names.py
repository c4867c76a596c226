"""Other first names in a problem."""

import re
from random import Random

from tinymathreason.variants.first_names import BOTH, HE, SHE
from tinymathreason.variants.problem import ProblemVariant, SolvedProblem

_KNOWN = {name: group for group in (SHE, HE, BOTH) for name in group}
_NAME = re.compile(rf"\b(?:{'|'.join(sorted(_KNOWN, key=len, reverse=True))})\b")
_USE = re.compile(rf"({_NAME.pattern})(['\u2019](?![a-z]))?")
"""A name, with the apostrophe alone by which one that ends with s owns something."""
_CAPITAL = re.compile(r"[A-Z][a-z]+")
_WORDS = """
If When While After Before Because Since As How Does Did Is Was Can Should And But So Then For On
In At To With By From Yesterday Today Tomorrow Tonight Now Later Meanwhile Once Each Every The
Both That Will Would Suppose Altogether Last Next What Where Why Although Though Thus Therefore
Hence Let Monday Tuesday Wednesday Thursday Friday Saturday Sunday
"""
# Other capital words beside a name make it part of something longer: a surname, a title, a place.
_STARTS = frozenset(_WORDS.split())


def found(text: str) -> list[str]:
    """The known first names in a text, each once, in their order."""
    return list(dict.fromkeys(_NAME.findall(text)))


def other_names(problem: SolvedProblem, source: Random) -> ProblemVariant | None:
    """Every known name replaced by another one with the same pronoun, the same one everywhere.

    Not admitted are problems without a known name, with a name beside another capital word (a
    surname, a title or a place), and about letters or the alphabet.
    """
    both = f"{problem.question}\n{problem.solution}"
    if re.search(r"\b(?:letters?|alphabet\w*|initials?|spell\w*)\b", both, re.IGNORECASE):
        return None
    names = found(problem.question)
    if not names or any(_is_part(both, match) for match in _NAME.finditer(both)):
        return None
    names = found(both)
    replaced = {}
    taken = {*names, *_CAPITAL.findall(both)}
    for name in names:
        replaced[name] = source.choice([other for other in _KNOWN[name] if other not in taken])
        taken.add(replaced[name])

    def other(match: re.Match[str]) -> str:
        name, apostrophe = replaced[match[1]], match[2] or ""
        owns = apostrophe and match[1].endswith("s") and not name.endswith("s")
        return f"{name}{apostrophe}{'s' if owns else ''}"

    question, solution = (_USE.sub(other, text) for text in (problem.question, problem.solution))
    return ProblemVariant("names", question, solution, problem.answer)


def _is_part(text: str, match: re.Match[str]) -> bool:
    before = re.search(r"([A-Z][\w.]*)(['\u2019]s)?[ -]$", text[: match.start()])
    if before and not before[2] and before[1] not in _STARTS:
        return True
    if re.search(r"\b[Tt]he $", text[: match.start()]):  # a family
        return True
    return bool(re.match(r"[ -][A-Z][a-z]|-", text[match.end() :]))
