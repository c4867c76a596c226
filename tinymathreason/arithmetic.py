"""Generates grade-school word problems with worked steps, and sentences of number facts.

The generators are endless, depend only on a seed, and their answers are exact. A hash of its
question decides whether a problem is *held out*, so training and held-out problems are disjoint for
all seeds and counts.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tinymathreason.answers import final_line

HELD_OUT_ONE_IN = 8
"""One question out of this many belongs to the held-out split."""
LARGEST_CHANGE = 7
"""Largest number that a step adds or subtracts: two cores learn sums up to 30 in minutes. The
smallest is 2, as the sentences are in the plural."""

NAMES = ("Ada", "Ben", "Cora", "Dan", "Eva", "Finn", "Gia", "Hugo", "Ivy", "Jack", "Kim", "Leo")
ITEMS = ("apples", "books", "cards", "coins", "eggs", "kites", "pens", "rocks", "shells", "toys")
GAINS = (
    "{who} finds {n} more.",
    "{who} is given {n} more.",
    "{who} buys {n} {items}.",
    "{who} gets {n} {items} as a gift.",
)
LOSSES = (
    "{who} gives away {n}.",
    "{who} loses {n} of them.",
    "{who} sells {n} {items}.",
    "{who} throws away {n} {items}.",
)


@dataclass(frozen=True)
class WordProblem:
    """A word problem, the text of its worked steps, and its exact answer."""

    question: str
    steps: str
    answer: int

    @property
    def solution(self) -> str:
        """The worked steps followed by the canonical final line."""
        return f"{self.steps}\n{final_line(self.answer)}"

    @property
    def held_out(self) -> bool:
        """Whether the question belongs to the held-out split."""
        digest = hashlib.sha256(self.question.encode()).digest()
        return int.from_bytes(digest[:8], "big") % HELD_OUT_ONE_IN == 0


def _steps(first: str, second: str) -> str:
    return f"First {first}.\nThen {second}."


def _event(rng: random.Random, who: str, items: str, have: int) -> tuple[str, str, int]:
    """A gain or a loss: its sentence, its equation, and the new number, which is never negative."""
    if have > 1 and rng.random() < 0.5:
        n = rng.randint(2, min(LARGEST_CHANGE, have))
        sentence, equation, left = rng.choice(LOSSES), f"{have} - {n} = {have - n}", have - n
    else:
        n = rng.randint(2, LARGEST_CHANGE)
        sentence, equation, left = rng.choice(GAINS), f"{have} + {n} = {have + n}", have + n
    return sentence.format(who=who, n=n, items=items), equation, left


def _two_events(rng: random.Random) -> WordProblem:
    who, items, have = rng.choice(NAMES), rng.choice(ITEMS), rng.randint(2, 9)
    one, first, left = _event(rng, who, items, have)
    two, second, answer = _event(rng, who, items, left)
    question = f"{who} has {have} {items}. {one} {two} How many {items} does {who} have now?"
    return WordProblem(question, _steps(first, second), answer)


def _groups(rng: random.Random) -> WordProblem:
    who, items = rng.choice(NAMES), rng.choice(ITEMS)
    groups, each = rng.randint(2, 4), rng.randint(2, 4)
    product = groups * each
    event, second, answer = _event(rng, who, items, product)
    box = rng.choice(("bags", "boxes", "jars"))
    question = (
        f"{who} has {groups} {box} with {each} {items} in each. {event} "
        f"How many {items} does {who} have now?"
    )
    return WordProblem(question, _steps(f"{groups} x {each} = {product}", second), answer)


def _sharing(rng: random.Random) -> WordProblem:
    who, items = rng.choice(NAMES), rng.choice(ITEMS)
    friends, each = rng.randint(2, 5), rng.randint(2, 5)
    total = friends * each
    event, second, answer = _event(rng, "Each friend", items, each)
    question = (
        f"{who} shares {total} {items} equally among {friends} friends. {event} "
        f"How many {items} does each friend have now?"
    )
    return WordProblem(question, _steps(f"{total} / {friends} = {each}", second), answer)


def _together(rng: random.Random) -> WordProblem:
    who, other = rng.sample(NAMES, 2)
    items, have = rng.choice(ITEMS), rng.randint(2, 9)
    if rng.random() < 0.5:
        n = rng.randint(2, LARGEST_CHANGE)
        theirs, relation, first = have + n, f"{n} more", f"{have} + {n} = {have + n}"
    else:
        n = rng.randint(2, min(LARGEST_CHANGE, have))
        theirs, relation, first = have - n, f"{n} fewer", f"{have} - {n} = {have - n}"
    question = (
        f"{who} has {have} {items}. {other} has {relation} than {who}. "
        f"How many {items} do they have together?"
    )
    return WordProblem(
        question, _steps(first, f"{have} + {theirs} = {have + theirs}"), have + theirs
    )


TEMPLATES: tuple[Callable[[random.Random], WordProblem], ...] = (
    _two_events,
    _groups,
    _sharing,
    _together,
)


def problems(seed: int, held_out: bool = False) -> Iterator[WordProblem]:
    """Endless problems of one split; the same seed gives the same problems.

    Training questions may repeat. Held-out questions are all different, so that an accuracy over n
    of them is over n different problems.
    """
    rng = random.Random(f"arithmetic {seed} {held_out}")
    seen: set[str] = set()
    while True:
        problem = rng.choice(TEMPLATES)(rng)
        if problem.held_out != held_out or problem.question in seen:
            continue
        if held_out:
            seen.add(problem.question)
        yield problem


def plain_problem(question: str, solution: str) -> str:
    """A problem as plain text, for a pretraining document or for the prompt of a base model."""
    return f"Question: {question}\nAnswer:{' ' if solution else ''}{solution}"


def problem_documents(seed: int) -> Iterator[str]:
    """Endless pretraining documents, each with one worked problem of the training split."""
    for problem in problems(seed):
        yield plain_problem(problem.question, problem.solution)


def _fact(rng: random.Random) -> str:
    kind = rng.choice(("sum", "difference", "product", "quotient", "order"))
    a, b = rng.randint(1, 24), rng.randint(1, LARGEST_CHANGE)
    c, d = rng.randint(2, 5), rng.randint(2, 5)
    match kind:
        case "sum":
            sign = rng.choice(("plus", "+"))
            return f"{a} {sign} {b} {'is' if sign == 'plus' else '='} {a + b}."
        case "difference":
            sign = rng.choice(("minus", "-"))
            return f"{a + b} {sign} {b} {'is' if sign == 'minus' else '='} {a}."
        case "product":
            return f"{c} x {d} = {c * d}."
        case "quotient":
            return f"{c * d} / {d} = {c}."
    return rng.choice((f"The number after {a} is {a + 1}.", f"{a + b} is {b} more than {a}."))


def fact_documents(seed: int) -> Iterator[str]:
    """Endless pretraining documents, each with eight sentences of number facts."""
    rng = random.Random(f"facts {seed}")
    while True:
        yield " ".join(_fact(rng) for _ in range(8))


GENERATORS: dict[str, Callable[[int], Iterator[str]]] = {
    "word_problems": problem_documents,
    "number_facts": fact_documents,
}
