"""Rewards that pay for the right answer in the right form, and not for guessing or chatter."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft.rewards import REWARDS, Reward, accuracy, repetition, well_formed
from tinymathreason.answers import final_line
from tinymathreason.arithmetic import problems
from tinymathreason.cli import InputError

STEPS = st.text().filter(lambda text: "#" not in text and text.strip())


class Same:
    """A judge that knows only texts, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def correct(self, answer: str, right: str) -> bool:
        self.asked.append((answer, right))
        return answer == right


@given(STEPS, st.integers(), st.integers())
def test_a_number_is_right_when_it_is_equal(steps: str, answer: int, right: int) -> None:
    text = f"{steps}\n{final_line(answer)}"
    assert accuracy(text, str(right)) == float(answer == right)
    assert accuracy(text, f"{answer:,}.00") == 1.0
    assert well_formed(text, str(right)) == 1.0


@given(st.lists(st.integers(), min_size=1))
def test_of_many_guesses_the_first_counts(guesses: list[int]) -> None:
    text = "\n".join(map(final_line, guesses))
    for guess in guesses:
        assert accuracy(text, str(guess)) == float(guess == guesses[0])


@pytest.mark.parametrize(
    ("text", "right", "reward"),
    [
        ("So.\n#### 42", "42", 1.0),
        ("So.\n#### 42\nOr is it 43?", "42", 1.0),
        ("```\n#### 42\n```", "42", 1.0),
        ("#### -0", "0", 1.0),
        ("#### 1e1", "10", 0.0),
        ("#### 42 or 43", "42", 0.0),
        ("#### 41 or 42\n#### 43", "42", 0.0),
        ("#### 4 2", "42", 0.0),
        ("####42", "42", 0.0),
        (" #### 42", "42", 0.0),
        ("#### 4\u200b2", "42", 0.0),
        ("#### \u0664\u0662", "42", 0.0),
        ("#### \uff14\uff12", "42", 0.0),
        ("#### NaN", "42", 0.0),
        ("#### Infinity", "42", 0.0),
        ("#### 42<|im_end|>", "42", 0.0),
        ("<|im_start|>assistant\n#### 41", "42", 0.0),
        ("The answer is 42.", "42", 0.0),
        ("What is 40 + 2? 42", "42", 0.0),
        ("", "42", 0.0),
    ],
)
def test_the_first_final_line_is_what_counts(text: str, right: str, reward: float) -> None:
    assert accuracy(text, right) == reward


def test_other_answers_are_for_the_judge() -> None:
    judge = Same()
    assert accuracy("So.\n#### \\frac12\n#### 3", "\\frac12", judge) == 1.0
    assert accuracy("So.\n#### 3\n#### \\frac12", "\\frac12", judge) == 0.0
    assert accuracy("It is \\frac12", "\\frac12", judge) == 0.0
    assert judge.asked == [("\\frac12", "\\frac12"), ("3", "\\frac12")]
    assert accuracy("#### 41.9", "42", judge) == 0.0
    assert len(judge.asked) == 2
    with pytest.raises(InputError, match="not a plain number, and there is no judge"):
        accuracy("#### \\frac12", "\\frac12")


@pytest.mark.parametrize(
    ("text", "right", "reward"),
    [
        ("So.\n#### 42", "7", 1.0),
        ("So.\n#### 1,234.5", "7", 1.0),
        ("So.\n#### \\frac{1}{2}", "\\pi", 1.0),
        ("So.\n#### \\frac{1}{2}", "7", 0.0),
        ("So.\n#### 42 or 43", "7", 0.0),
        ("So.\n#### ", "\\pi", 0.0),
        ("So.\n####42", "7", 0.0),
        ("So.\n#### 42\n", "7", 0.0),
        ("So.\n#### 42 ", "7", 0.0),
        ("So.\n#### 42\nDone.", "7", 0.0),
        ("So.\n#### 41\n#### 42", "7", 0.0),
        ("So.\n #### or\n#### 42", "7", 0.0),
        ("#### 42", "7", 0.0),
        (" \n#### 42", "7", 0.0),
        ("So.\n42", "7", 0.0),
        ("42", "7", 0.0),
        ("", "7", 0.0),
    ],
)
def test_the_form_is_steps_and_one_final_line(text: str, right: str, reward: float) -> None:
    assert well_formed(text, right) == reward


def test_our_own_solutions_earn_everything() -> None:
    for problem in itertools.islice(problems(0), 200):
        assert accuracy(problem.solution, str(problem.answer)) == 1.0
        assert well_formed(problem.solution, str(problem.answer)) == 1.0
        assert repetition(problem.solution) == 0.0


@given(st.text())
def test_the_penalty_is_a_share(text: str) -> None:
    assert -1.0 <= repetition(text) <= 0.0
    assert repetition(text + text) <= 0.0


@pytest.mark.parametrize(
    ("text", "penalty"),
    [
        ("", 0.0),
        ("so so so", 0.0),
        ("one two three four five", 0.0),
        ("a a a a a", -0.5),
        ("a b c d a b c d", -0.2),
        ("x" * 8 * 13, -0.9),
        (" " * 8 * 13, -0.9),
    ],
)
def test_runs_of_four_words_are_counted(text: str, penalty: float) -> None:
    assert repetition(text) == pytest.approx(penalty)


@pytest.mark.clock
@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize(
    "text",
    [
        "#### " + "9" * 1_000_000,
        "#### 1\n" * 150_000,
        "#### 1" + " \n" * 500_000 + "x",
        "#### 1" + " " * 1_000_000 + "x",
        "#### " + "1,111" * 200_000,
        "\n" * 1_000_000,
        "a" + "\n" * 1_000_000 + "#### 1",
        "a" * 1_000_000,
        "a " * 500_000,
        "#" * 1_000_000,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_long_texts_take_no_time(name: str, text: str) -> None:
    start = time.process_time()
    assert -1.0 <= Reward(name)([text], ["1"])[0] <= 1.0
    assert time.process_time() - start < 5


def test_a_reward_is_called_as_trl_does() -> None:
    reward = Reward("accuracy")
    assert reward.__name__ == "accuracy"
    called = {"prompts": ["p", "p"], "completion_ids": [[1], [2]], "answer": ["1", "2"]}
    messages = [[{"role": "assistant", "content": text}] for text in ("#### 1", "#### 3")]
    assert reward(completions=messages, trainer_state=None, **called) == [1.0, 0.0]
    assert reward(completions=["#### 1", "#### 3"], **called) == [1.0, 0.0]
    with pytest.raises(ValueError, match="shorter"):
        reward(completions=["#### 1", "#### 3"], answer=["1"])


def test_the_judge_is_passed_on() -> None:
    assert Reward("accuracy", Same())(["#### x"], ["x"]) == [1.0]


def test_an_unknown_reward_is_one_line() -> None:
    with pytest.raises(InputError, match="unknown 'acuracy'; did you mean 'accuracy'"):
        Reward("acuracy")
