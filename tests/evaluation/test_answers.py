"""Answers are extracted from any text and compared by their meaning."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import answers
from evaluation.answers import LONGEST, Checker, final, flexible, strict
from tinymathreason.cli import InputError

MEGABYTE = 1_000_000
TIMEOUT = 60.0
"""Seconds for a comparison that must end, however busy the machine is."""


@pytest.fixture(scope="module")
def checker():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "TIMEOUT", TIMEOUT)
        checker = Checker()
    with checker:
        yield checker


@pytest.fixture(scope="module")
def warm():
    """A checker as the evaluation has it, whose child has imported what it needs."""
    with Checker() as checker:
        checker.correct("x", "y")
        yield checker


@pytest.mark.parametrize(
    ("completion", "result"),
    [
        ("3 + 4 = 7\n#### 7", "7"),
        ("#### 1,234", "1234"),
        ("####  $18.00. ", "18.00"),
        ("#### 18 dollars", "18"),
        ("#### -5\n", "-5"),
        (r"#### \frac{1}{2}", r"\frac{1}{2}"),
        (r"#### $\boxed{(0,1]}$.", "(0,1]"),
        ("#### 50%", "50%"),
        ("#### Monday", "Monday"),
        ("#### 1\n#### 2", "1"),
        ("#### x\n#### 2", "x"),
        ("#### Step 1: add 5\n#### 7", "7"),
        ("#### **Step 1**\n#### Final answer\n#### \\text{two words}", r"\text{two words}"),
        ("#### Step 1: add 5", "Step 1: add 5"),
        ("#### \n#### 5", "5"),
        ("#### .", None),
        ("##### 5", None),
        ("####5", None),
        ("so #### 5", None),
        (r"\boxed{5}", None),
        ("The answer is 5", None),
        ("", None),
    ],
)
def test_strict(completion: str, result: str | None) -> None:
    assert strict(completion) == result


@pytest.mark.parametrize(
    ("completion", "result"),
    [
        ("It is 1,234.", "1234"),
        ("He pays $18", "18"),
        ("He pays -$18,", "-18"),
        ("x = -5", "-5"),
        ("x = \u22125", "-5"),
        ("3.", "3"),
        ("18.00", "18.00"),
        (".5", ".5"),
        ("so...5", "5"),
        ("3-5", "5"),
        ("pages 3\u22125", "5"),
        ("10 - 7", "7"),
        ("5 and 6.", "6"),
        ("1,2", "2"),
        ("1,2345", "2345"),
        ("1,234,567.5 dollars", "1234567.5"),
        ("1\u202f234 dollars", "1234"),
        ("18 cm\u00b3", "18"),
        ("x = \u20135", "-5"),
        ("10{,}000", "10000"),
        (r"\boxed{\frac{1}{2}}", "2"),
        ("50%", "50"),
        ("Answer: $.", None),
        ("\u0665", None),
        ("five", None),
        ("", None),
    ],
)
def test_flexible(completion: str, result: str | None) -> None:
    assert flexible(completion) == result


@pytest.mark.parametrize(
    ("completion", "result"),
    [
        (r"So \boxed{4}, the answer is 6." + "\n#### 5", "5"),
        (r"\boxed{4} or rather $\boxed{\frac{1}{2}}$. The answer is 6.", r"\frac{1}{2}"),
        (r"\fbox{12}", "12"),
        (r"so it is $\boxed 5$.", "5"),
        (r"so it is $\boxed 1,250.$", "1250"),
        ("so it is $\\boxed\n  B$.", "B"),
        (r"so it is $\boxed  x^2$.", "x"),
        (r"\boxedness 5", None),
        ("so it is \\boxed{2\u221a3}", r"2\sqrt{3}"),
        (r"\boxed{open. The answer is 6", "6"),
        ("The answer is 4. Then the final answer is $x+1$. I hope it is correct.", "x+1"),
        ("the answer is: 3.5 because it is", "3.5"),
        ("The answer is 5!", "5"),
        ("The answer is\n5", None),
        ("The answer isn't 5", None),
        ("Then 5", None),
        (r"\boxed{}", None),
        ("", None),
    ],
)
def test_final(completion: str, result: str | None) -> None:
    assert final(completion) == result


def test_a_box_far_from_the_end_is_not_looked_for() -> None:
    assert final(r"\boxed{5}" + "." * (answers.TAIL - 9)) == "5"
    assert final(r"\boxed{5}" + "." * answers.TAIL) is None


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        # Separators, money, zeros.
        ("1,234", "1234"),
        ("1{,}234", "1234"),
        (r"1\,234", "1234"),
        (r"1,\!234", "1234"),
        ("$18", "18"),
        (r"\$18.50", "18.5"),
        ("\u20ac5", "5"),
        ("18.00", "18"),
        ("18.", "18"),
        ("+5", "5"),
        ("007", "7"),
        ("1.8e1", "18"),
        ("9" * LONGEST, "9" * (LONGEST - 2) + "99"),
        # Negative.
        ("-5.0", "-5"),
        ("\u22125", "-5"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("- 5", "-5"),
        # Fractions.
        ("1/2", "0.5"),
        (r"\frac{1}{2}", ".5"),
        (r"\frac12", "1/2"),
        (r"\dfrac{1}{2}", r"\tfrac 1 2"),
        (r"\frac{-1}{2}", "-0.5"),
        (r"-\frac{2}{4}", "-1/2"),
        (r"-\$\frac12", "-0.5"),
        (r"\frac{1,000}{2}", "500"),
        (r"3\frac{1}{2}", "3.5"),
        ("3 1/2", "7/2"),
        (r"-3\frac12", "-3.5"),
        (r"\frac{\frac{1}{2}}{3}", r"\frac16"),
        # Per cent, degrees, units.
        (r"50\%", "50%"),
        ("50 %", r"50\%"),
        ("50%", "50"),
        (r"16\frac{2}{3}\%", r"\frac{50}{3}"),
        (r"90^\circ", "90"),
        (r"90^{\circ}", "90\u00b0"),
        (r"\frac{\pi}{2}^\circ", r"\pi/2"),
        (r"\sqrt{2}\%", r"\sqrt{2}"),
        ("18 dollars", "18"),
        ("**18**", "18"),
        ("18,", "18"),
        ("1.5 million dollars", "1,500,000"),
        ("2 dozen", "24"),
        ("= \\frac12", "0.5"),
        (r"18\text{ cm}^2", "18"),
        ("18 cm^2", r"18\mbox{ cm}^{2}"),
        ("1/2 cup", r"\frac{1}{2}\text{ cups}"),
        (r"\frac{3}{4} cups", "0.75"),
        ("5 apples.", "5"),
        # Words.
        (r"\text{Monday}", "monday"),
        (r"\text{two words}", "Two words."),
        ("(B)", r"\text{B}"),
        (r"\textbf{(E)}", "E"),
        # What math-verify knows.
        (r"\sqrt{8}", r"2\sqrt{2}"),
        (r"\frac{\pi}{2}", r"\pi/2"),
        (r"\left[2, 5\right)", "[2,5)"),
        (r"(\frac12, 3)", "(0.5,3)"),
        (r"\{1,2\}", "2,1"),
        (r"(-\infty,0)\cup(1,\infty)", r"(1,\infty)\cup(-\infty,0)"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        # Unicode, units and powers of ten.
        ("60 miles/hour", "60"),
        ("$18/hr", "18"),
        ("18 km/h", "18"),
        ("20\u00b0C", "20"),
        ("18 cm\u00b3", "18"),
        ("5 \u20ac", "5"),
        ("1\u202f234", "1234"),
        ("1 234", "1234"),
        ("\u20133", "-3"),
        ("2\u221a3", r"2\sqrt{3}"),
        ("2\u221a3", r"\sqrt{12}"),
        ("\u00bd", "0.5"),
        ("1e3", "10^3"),
        ("1e3", "2^{10}-24"),
        (r"18\pi\text{ cubic inches}", r"18\pi"),
        ("18\u03c0 cubic inches", r"18\pi"),
        ("x\u00b2+1", "1+x^2"),
        ("x \u2264 2", r"x \le 2"),
        ("5 percent", r"5\%"),
        ("3 p.m.", "3 PM"),
        ("3 : 1", "3:1"),
        ("5 Squared", "5 squared"),
        # Formulas.
        ("x=5", "5"),
        ("2x+1", "1+2x"),
        ("2^{10}", "1024"),
        (r"$\boxed{x^2}$", "x^{2}"),
    ],
)
def test_what_is_correct(checker, result: str, expected: str) -> None:
    assert checker.correct(result, expected)
    assert checker.correct(expected, result)
    assert not checker.failures


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("5", "-5"),
        ("18.01", "18"),
        ("0.333333333", r"\frac{1}{3}"),
        ("9" * 400, "9" * 399 + "8"),
        ("1,2", "12"),
        ("5 6", "56"),
        ("1.2.3", "1.23"),
        (r"3\frac12", "1.5"),
        ("31/2", "3.5"),
        ("-3 -1/2", "-2.5"),
        (r"\frac{1}{2}3", "1/23"),
        ("1/0", "5"),
        ("50%", "0.5"),
        (r"50\%", r"\frac{1}{2}"),
        ("1e400", "1e401"),
        ("1e1", "27.182818"),
        ("five", "5"),
        ("east", r"\text{seat}"),  # not a product
        ("north", "south"),
        ("A", "B"),
        ("5 or 6", "5"),
        ("5, 6", "5"),
        ("(2,1)", "(1,2)"),
        ("[0,1]", "(0,1)"),
        ("2^{10}", "210"),
        ("5 thousand", "5"),
        ("18 hundred", "18"),
        ("3 halves", "3"),
        ("5 hundredths", "5"),
        ("5 ten thousandths", "5"),
        ("3:1", "3"),
        ("5 less than twelve", "5"),
        ("5 squared", "5"),
        (r"5\text{ squared}", "5"),
        (r"\sqrt{2} thousand", r"\sqrt{2}"),
        ("3 p.m.", "3 a.m."),
        ("3 p.m.", "3"),
        ("5th", "5"),
        (r"5^{\text{th}}", "5"),
        ("101_2", "101"),
        ("5'", "5"),
        ("3.5 squared", "35 squared"),
        ("3\u20135", "-2"),
        ("5m", "5"),
        ("5h", "5"),
        (r"\sqrt{3}s", r"\sqrt{3}"),
        ("three", "3"),
        ("a half", "0.5"),
        (r"\sqrt{2}", "2"),
        ("x", "y"),
        ("inf", "5"),
        ("", "5"),
        ("", ""),
        (".", "."),
        ("$$", "$$"),
        (r"\text{}", r"\text{}"),
    ],
)
def test_what_is_wrong(checker, result: str, expected: str) -> None:
    assert not checker.correct(result, expected)
    assert not checker.correct(expected, result)
    assert not checker.failures


def test_no_answer_is_wrong(checker) -> None:
    assert not checker.correct(None, "5")


numbers = st.fractions(max_denominator=10_000) | st.integers(-(10**40), 10**40)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3))
def test_a_number_equals_itself_in_any_dress(number) -> None:
    plain = f"{number:f}"
    sign, size = ("-", plain[1:]) if plain.startswith("-") else ("", plain)
    dressed = (
        f"{number:,f}",
        f"{plain}00",
        f"0{size}" if not sign else plain,
        f"{sign}${size}",
        f"${plain}$",
        f"{plain}\\%",
        f"{plain} apples",
        rf"\boxed{{{plain}}}",
        rf"\frac{{{plain}}}{{1}}",
        plain.replace("-", "\u2212"),
    )
    checker = Checker()  # needs no child for numbers
    for text in dressed:
        assert checker.correct(text, plain), text
        assert not checker.correct(text, f"{number + 1:f}"), text
    assert checker._child is None
    assert strict(f"#### {number:,f}\n") == flexible(f"is {number:,f}.") == plain


@given(numbers, numbers)
def test_numbers_are_equal_when_their_values_are(left, right) -> None:
    checker = Checker()
    assert checker.correct(str(left), str(right)) is (left == right)
    assert checker.correct(str(left), rf"\frac{{{left.numerator}}}{{{left.denominator}}}")
    assert checker.correct(str(left).replace("-", "\u2212"), str(left))
    assert checker._child is None


marks = ["#### ", "\\boxed{", "}", "the answer is ", "\n", "$", ".", ",", "-", "5", "\\text{", " "]
texts = st.text(st.characters(), max_size=40) | st.lists(st.sampled_from(marks)).map("".join)


@given(texts)
def test_any_text_is_read_and_judged(warm, text: str) -> None:
    for result in (strict(text), flexible(text), final(text), text):
        assert result != "" or result is text
        assert warm.correct(result, "5") in (True, False)
        assert warm.correct("5", result or "") in (True, False)
    assert flexible(text) is None or warm.correct(flexible(text), flexible(text))


@given(texts)
def test_what_is_found_can_be_stored(text: str) -> None:
    for result in (strict(text), flexible(text), final(text)):
        assert json.loads(json.dumps(result)) == result


ENDLESS = [
    "9^{9^{9}}",
    "9^9^9",
    "10^{10^{10}}",
    "999999!",
    "9!!!!!!",
    "2^{-999999999}",
    r"\sum_{n=1}^{10^{9}} n^{n}",
    "(" * 1999,
    "{" * 1999,
]
HOSTILE = [
    *ENDLESS,
    "1e999999999",
    "1e-999999999",
    "9" * LONGEST,
    "1," * 999,
    "9" * MEGABYTE,
    " " * MEGABYTE + "5",
    r"\boxed{" * 250 + "}" * 250,
    r"\frac{" * 300 + "1" + "}{2}" * 300,
    "5" + " abc" * 450 + "!",
    "$" * LONGEST,
    r"\%" * 999 + "!",
    "\x00\x1b[2J" * 300,
    "\ud800" * LONGEST,
    "\U0001f600" * LONGEST,
]


def compared(child: int) -> float:
    """Seconds of processor time that a process's ended children have taken."""
    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.clock
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_answers_are_wrong_within_a_second(warm, text: str) -> None:
    # Of processors' time, the comparisons of the child included: the clock tells of others, too.
    started = time.process_time() + compared(warm._child.pid)
    assert not warm.correct(text, r"\frac{\sqrt{2}}{3}")
    child = warm._child
    assert time.process_time() + compared(child.pid) - started < 1
    assert child.poll() is None
    warm.correct("x+1", "1+x")
    assert warm._child is child  # and the next one waits for no import


def test_what_was_not_judged_is_counted(warm) -> None:
    before = warm.failures.copy()
    warm.correct(ENDLESS[0], "5")
    warm.correct("5" * (LONGEST + 1), "5" * (LONGEST + 1))
    assert warm.failures - before == {"timeout": 1, "too_long": 1}


@pytest.mark.clock
@pytest.mark.parametrize("read", [strict, flexible, final])
@pytest.mark.parametrize(
    "part",
    [
        *(
            "\\boxed{",
            "\\boxed{}",
            "}",
            "{,}",
            "1,",
            "1,234,",
            "1.",
            "-",
            "$",
            "\n",
            " ",
            "9",
            "\x00",
        ),
        *("####", "#### ", "#### a b\n", "#### \n", "the answer is ", "The answer is x. ", ". "),
        *("\ud800", " because", "I hope ", "*"),
    ],
    ids=ascii,
)
def test_a_megabyte_is_read_within_a_second(read, part: str) -> None:
    repeated = part * (MEGABYTE // len(part))
    for text in (repeated, f"#### {repeated}", f"{repeated}!", f"the answer is {repeated}!"):
        started = time.process_time()
        read(text)
        assert time.process_time() - started < 1


def test_a_checker_without_math_verify_is_one_line(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="no math-verify; pip install"):
        Checker()


def test_a_closed_checker_leaves_no_process() -> None:
    checker = Checker()
    checker.correct("x", "y")
    child = checker._child
    checker.close()
    assert child.returncode is not None
