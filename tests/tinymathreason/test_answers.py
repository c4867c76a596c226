"""One canonical final line: written, recognised in the datasets' own endings, and compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymathreason.answers import canonical, final_line, read_final, same_number


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
        ("No ending here.", None),
    ],
)
def test_endings_of_the_datasets(solution: str, expected: str | None) -> None:
    assert canonical(solution) == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("#### 1,234", "1234"),
        ("Then 3.\n#### -5\n", "-5"),
        ("#### 18.00.", "18.00"),
        ("#### 1\n#### 2", "1"),
        ("the answer is 5", None),
        ("##### 5", None),
        ("#### five", None),
        ("", None),
    ],
)
def test_final_line_is_read(text: str, found: str | None) -> None:
    assert read_final(text) == found


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("18", "18.00", True),
        ("-3", "3", False),
        (None, None, False),
        ("9" * 400, "9" * 400, True),
        ("9" * 400, "9" * 399 + "8", False),
    ],
)
def test_numbers_compare_by_value(left: str | None, right: str | None, same: bool) -> None:
    assert same_number(left, right) is same
