"""Proofs and sentences are told from answers that can be checked."""

import pytest

from sft.checkable import obstacle


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("What is 3 x 4?", "12", None),
        ("Solve for x.", r"\frac{\pi}{2}", None),
        ("Which one?", "C", None),
        ("How long?", "10 meters per second", None),
        ("The dough takes 2 hours to proof. When is it done?", "9", None),
        ("The records show that 3 of 4 came. How many of 40?", "30", None),
        ("His report needs to show that he got 80. What more?", "5", None),
        ("She watched a show that was 30 minutes long. For how long?", "30", None),
        ("Is it even?", r"\text{no solutions}", None),
        ("Find all square roots.", r"\sqrt{2}", None),
        ("Prove that there are infinitely many primes.", "2", "proof"),
        (r"Show that \(a<b\).", "a<b", "proof"),
        ("Let x be even. Prove the following.", "4", "proof"),
        ("Find x and show that it is unique.", "4", "proof"),
        ("You have to prove it.", "4", "proof"),
        ("When is it true?", r"\blacksquare", "proof"),
        ("When is it true?", r"\text{Proven}", "proof"),
        ("When is it true?", "It holds for all of them", "not_checkable"),
    ],
)
def test_obstacle(question: str, answer: str, reason: str | None) -> None:
    assert obstacle(question, answer) == reason
