"""The sentences of a question in another order."""

import re
from random import Random

from tinymathreason.variants.first_names import HE, SHE
from tinymathreason.variants.names import found
from tinymathreason.variants.problem import ProblemVariant, SolvedProblem

_THING = (
    r"it|its|itself|they|them|their|theirs|this|that|these|those|there|then|next|after|afterwards?|"
    r"another|others?|rest|remaining|remainder|left|same|such|both|former|latter"
)
_REFERENCE = re.compile(
    rf"\b(?:{_THING}|before|later|now|finally|first|second|third|last|again|also|too|however|but|"
    r"so|instead|final|different|when|while|until|still|yet|already|end|total|altogether|together|"
    r"more(?! than)|less(?! than)|fewer(?! than)|half|thirds?|quarters?|doubl\w+|tripl\w+|ones?|"
    r"suppose|percent)\b|%"
    # A number without its noun, as in "3 are red." and "She sells 3."
    r"|^\W*\d+ (?:is|are|was|were|of|more|less|fewer)\b|^[^\d]*[^\d$.,/]\d[\d,.]*\d? ?"
    r"(?:[.,;]|(?:to|for|on|in|at|with|away|from|by|every|each)\b)",
    re.IGNORECASE,
)
_FOLLOWING = re.compile(rf"\b(?:{_THING})\b", re.IGNORECASE)
_PERSON = re.compile(
    r"\b(?:he|she|him|her|hers|his|himself|herself|I|we|you|my|our)\b", re.IGNORECASE
)
_OTHERS = re.compile(
    r"\b(?:mother|mom|father|dad|parents?|brothers?|sisters?|siblings?|friends?|wife|husband|son|"
    r"sons|daughters?|uncle|aunt|cousins?|grand\w+|boys?|girls?|m[ae]n|wom[ae]n|teacher|boss|"
    r"neighbou?r|twin|kids?|child|children|Mrs?|Ms|Dr|Miss)\b"
)
_DEFINITE = re.compile(r"\b(?:the|each|every|all) (\w+(?: \w+)?)", re.IGNORECASE)
_WORD = re.compile(r"[a-z]{3,}")


def reordered(problem: SolvedProblem, source: Random) -> ProblemVariant | None:
    """The question with one or more pairs of neighbouring sentences exchanged.

    Two sentences may change places if neither has a pronoun, a word of order or time, a share of
    something, or another word that refers back; if the second one does not say *the* or *each* with
    a noun that the first one has introduced; and if the sentence after them has no such pronoun.
    *He* and *she* are allowed where the question names only one person; the exchanged sentences
    then say the name instead. The last sentence, and all questions, stay.
    """
    texts = problem.sentences
    person = _only_person(problem.question)
    if person:
        texts = [_named(text, person) for text in texts]
    triples = list(zip(texts, texts[1:], texts[2:], strict=False))
    pairs = [k for k, triple in enumerate(triples) if _exchangeable(*triple, person)]
    if not pairs:
        return None
    exchanged = {source.choice(pairs)}
    for k in pairs:
        if all(abs(k - other) > 2 for other in exchanged):
            exchanged.add(k)
    named = {place for k in exchanged for place in (k, k + 1)}
    texts = [texts[k] if k in named else text for k, text in enumerate(problem.sentences)]
    for k in exchanged:
        texts[k], texts[k + 1] = texts[k + 1], texts[k]
    question = "".join(text + space for text, (_, space) in zip(texts, problem.spaced, strict=True))
    return None if question == problem.question else problem.same("reordered", question)


def _only_person(question: str) -> str | None:
    """The one person whom the question names, if *he* or *she* can mean nobody else."""
    names = found(question)
    if len(names) != 1 or _OTHERS.search(question) or names[0] not in (*HE, *SHE):
        return None
    others = r"\b(?:she|her|hers)\b" if names[0] in HE else r"\b(?:he|him|his)\b"
    return None if re.search(others, question, re.IGNORECASE) else names[0]


def _named(sentence: str, person: str) -> str:
    """A sentence that says the name where it began with the pronoun."""
    if person in sentence:
        return sentence
    sentence = re.sub(r"^(?:He|She)\b(?!')", person, sentence)
    return re.sub(r"^(?:His|Her)\b", f"{person}'s", sentence)


def _exchangeable(first: str, second: str, following: str, person: str | None) -> bool:
    if "?" in first + second or _REFERENCE.search(first) or _REFERENCE.search(second):
        return False
    if any(_PERSON.search(text) and (not person or person not in text) for text in (first, second)):
        return False
    known = {_stem(word) for word in _WORD.findall(first.lower())}
    definite = _WORD.findall(" ".join(_DEFINITE.findall(second.lower())))
    if any(_stem(word) in known for word in definite) or _FOLLOWING.search(following):
        return False
    if not _PERSON.search(following) or person:
        return True
    return set(found(first)) == set(found(second)) != set()


def _stem(word: str) -> str:
    return word.removesuffix("s").removesuffix("e")
