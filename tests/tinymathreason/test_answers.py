"""The final line is written, recognised in the datasets' own endings, and compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymathreason.answers import (
    LONGEST,
    MOST,
    TAIL,
    ContradictionError,
    bare,
    boxes,
    canonical,
    final_line,
    read_final,
    same_number,
)


@given(st.integers(), st.text())
def test_a_written_answer_is_read_back(answer: int, steps: str) -> None:
    if read_final(steps) is None:
        assert read_final(f"{steps}\n{final_line(answer)}") == str(answer)


@pytest.mark.parametrize(
    ("solution", "expected"),
    [
        ("48/2 = <<48/2=24>>24 clips.\n#### 72", "48/2 = 24 clips.\n#### 72"),
        ("A = 24.\n#### 72\nThe answer is: 72", "A = 24.\n#### 72"),
        ("She earned 0.2 x 50 = $10. The answer is 10", "She earned 0.2 x 50 = $10.\n#### 10"),
        ("So x = 1/2.\nThe answer is: \\frac{1}{2}.", "So x = 1/2.\n#### \\frac{1}{2}"),
        (
            "So $x$ is $\\boxed{\\frac{1}{2}}$.",
            "So $x$ is $\\boxed{\\frac{1}{2}}$.\n#### \\frac{1}{2}",
        ),
        ("It is $\\boxed{5}$. The answer is $\\boxed{5}$.", "It is $\\boxed{5}$.\n#### 5"),
        ("Both fit.\nThe answer is: $1,2$", "Both fit.\n#### 1,2"),
        ("It costs\n#### $1,250.", "It costs\n#### 1250"),
        ("The answer is B", "#### B"),
        ("The answer is near. The answer is 3", "The answer is near.\n#### 3"),
        ("x\n#### 5 apples\nThe answer is: 5", "x\n#### 5"),
        ("x\n#### 50\nThe answer is: 50%", "x\n#### 50"),
        ("So \\boxed{5}. The answer is: five", "So \\boxed{5}.\n#### 5"),
        ("x\n#### 6\nSo he has 6.\nThe answer is: 6", "x\nSo he has 6.\n#### 6"),
        ("#### Step 1\nAdd.\nThe answer is: 4", "Step 1\nAdd.\n#### 4"),
        ("Add. Thus, the answer is 5.", "Add.\n#### 5"),
        ("The final answer is $5$. I hope it is correct.", "#### 5"),
        ("Tom has 3. #### 3", "Tom has 3.\n#### 3"),
        ("It is \\fbox{12}", "It is \\fbox{12}\n#### 12"),
        ("It is $\\boxed 2$.", "It is $\\boxed 2$.\n#### 2"),
        ("x\nThe answer is: 60 miles/hour", "x\n#### 60"),
        ("x\nThe answer is: 1\u202f234 \u20ac", "x\n#### 1234"),
        ("x\nThe answer is: \u20133", "x\n#### -3"),
        ("x\nThe answer is: 2\u221a3", "x\n#### 2\\sqrt{3}"),
        ("x\nThe answer is: 3 halves", "x\n#### 3 halves"),
        ("x\n#### 0.5\nThe answer is: \u00bd", "x\n#### 0.5"),
        ("x\n#### 1000\nThe answer is: 10^3", "x\n#### 1000"),
        ("#### #### 5\nThe answer is: 5", "#### 5"),
        ("The answer is:\n5", "#### 5"),
        ("The answer is 5 because 2+3=5", None),
        ("The answer is 5. That was easy", None),
        ("No ending here.", None),
        ("", None),
    ],
)
def test_endings_of_the_datasets(solution: str, expected: str | None) -> None:
    assert canonical(solution) == expected


@pytest.mark.parametrize(
    "solution",
    [
        "A = 24.\n#### 72\nThe answer is: 71",
        "#### 72\n#### 71",
        "So it is \\boxed{71}. The answer is 72",
        "So it is $71. The answer is 71. The answer is 72.",
        "x\n#### 5 apples\nThe answer is: 6",
        "x\n#### 5 miles/hour\nThe answer is: 6",
        "x\n#### 0.5\nThe answer is: \\frac13",
        "x\n#### 5\nThe answer is: 5 thousand",
        "x\n#### 5\nSo he has 6 in all.\nThe answer is: 6",
    ],
)
def test_two_different_answers_contradict(solution: str) -> None:
    with pytest.raises(ContradictionError):
        canonical(solution)


@pytest.mark.parametrize(
    "solution",
    [
        "\\boxed{71} is wrong.\nIt is 72.\n#### 72",
        "7\n#### 0.5\nThe answer is: \\frac12",
        "x\n#### 0.5\nThe answer is: 1 half",
    ],
)
def test_what_is_no_other_number_does_not_contradict(solution: str) -> None:
    assert canonical(solution) is not None


def test_what_states_too_much_states_nothing() -> None:
    assert canonical("x\n" + "#### 5\n" * MOST) == "x\n#### 5"
    assert canonical("x\n" + "#### 5\n" * (MOST + 1)) is None
    assert canonical("x. " + "The answer is 5. " * (MOST + 1)) is None
    assert canonical("#### a heading\nx\n" * (MOST + 1) + "#### 5") is None
    assert canonical("x\n#### " + "5" * (LONGEST + 1)) is None


parts = [
    "The answer is: ",
    "#### ",
    "\n",
    " ",
    "5",
    "6.",
    "\\boxed{",
    "}",
    "$",
    "<<1+4=5>>",
    "is x",
]


@given(st.lists(st.sampled_from(parts), max_size=12).map("".join))
def test_canonical_solutions_stay_as_they_are(text: str) -> None:
    try:
        once = canonical(text)
    except ContradictionError:
        return
    if once is not None:
        assert canonical(once) == once
        marked = [line for line in once.splitlines() if line.startswith("####")]
        assert marked == once.splitlines()[-1:]
        last = bare(marked[0].removeprefix("#### "))
        assert read_final(once) == (last if read_final(marked[0]) else None)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("\\boxed{a} and \\boxed{\\frac{1}{2}}", ["a", "\\frac{1}{2}"]),
        ("\\boxed{open", []),
        ("\\boxed{" * 20_000 + "}", [""]),
        ("\\boxed{a \\boxed{b}}", ["a \\boxed{b}", "b"]),
        ("\\boxed{}", [""]),
        ("\\boxed 5, \\boxed-1,234.5. \\boxed  x \\boxed xy \\boxedx", ["5", "-1,234.5", "x"]),
        ("\\boxed{" + "5" * LONGEST + "}", ["5" * LONGEST]),
        ("\\boxed{" + "5" * (LONGEST + 1) + "}", []),
        ("\\boxed{5}" + "." * TAIL, []),
    ],
)
def test_boxes(text: str, result: list[str]) -> None:
    assert boxes(text) == result


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("$$5$$.", "5"),
        ("\\$5", "5"),
        ("$5", "5"),
        ("1,234.5", "1234.5"),
        ("(1,2)", "(1,2)"),
        ("$", "$"),
        ("-$5", "-5"),
        ("10{,}000", "10000"),
        ("\u22125", "-5"),
        ("+5", "5"),
        ("7 apples", "7"),
        ("7 km/h", "7"),
        ("7 squared", "7 squared"),
        ("\\boxed 7", "7"),
        ("$\\boxed{\\boxed{7}}$", "\\boxed{\\boxed{7}}"),
        ("\u00bd", "\\frac{1}{2}"),
        ("50 percent", "50 percent"),
        ("2 x", "2 x"),
        ("50\\%", "50\\%"),
    ],
)
def test_answers_are_bared(answer: str, result: str) -> None:
    assert bare(answer) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("#### 1,234", "1234"),
        ("Then 3.\n#### -5\n", "-5"),
        ("#### 18.00.", "18.00"),
        ("#### 1\n#### 2", "1"),
        ("the answer is 5", None),
        ("##### 5", None),
        ("#### five", None),
        ("#### 1,2", None),
        ("#### \u0665", None),
        ("#### .5", ".5"),
        ("#### \u22125", "-5"),
        ("#### \u20131\u202f234", "-1234"),
        ("#### 1 234", None),
        ("", None),
    ],
)
def test_final_line_is_read(text: str, result: str | None) -> None:
    assert read_final(text) == result


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("18", "18.00", True),
        ("-3", "3", False),
        (None, None, False),
        ("Infinity", "Infinity", False),
        ("1e1", "10", False),
        ("1_0", "10", False),
        ("\u0664\u0662", "42", False),
        ("\\frac12", "\\frac12", False),
        ("9" * 400, "9" * 400, True),
        ("9" * 400, "9" * 399 + "8", False),
    ],
)
def test_numbers_compare_by_value(left: str | None, right: str | None, same: bool) -> None:
    assert same_number(left, right) is same
