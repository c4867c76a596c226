"""Tables are aligned, and have no empty column."""

from tinymathreason.tables import markdown_table, text_table

HEAD = ["name", "empty", "n", "range"]
ROWS = [["1", None, "1,234", "1 to 2"], ["b", "", "7", "x"]]


def test_a_markdown_table() -> None:
    assert markdown_table(HEAD, ROWS) == (
        "| name   |     n | range   |\n"
        "|:-------|------:|:--------|\n"
        "| 1      | 1,234 | 1 to 2  |\n"
        "| b      |     7 | x       |"
    )


def test_a_table_for_a_terminal() -> None:
    assert text_table(HEAD, ROWS) == (
        "name        n  range\n1       1,234  1 to 2\nb           7  x"
    )


def test_a_table_without_rows_is_empty() -> None:
    for made in (markdown_table, text_table):
        assert made(["a"], []) == made(["a"], [[None]]) == ""
