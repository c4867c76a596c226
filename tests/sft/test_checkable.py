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
        ("What is proofreading?", "1", None),
        ("Is it even?", r"\text{no solutions}", None),
        ("Find all square roots.", r"\sqrt{2}", None),
        ("Prove that there are infinitely many primes.", "2", "proof"),
        (r"Show that \(a<b\).", "a<b", "proof"),
        ("When is it true?", r"\blacksquare", "proof"),
        ("When is it true?", r"\text{Proven}", "proof"),
        ("When is it true?", "It holds for all of them", "not_checkable"),
    ],
)
def test_obstacle(question: str, answer: str, reason: str | None) -> None:
    assert obstacle(question, answer) == reason
