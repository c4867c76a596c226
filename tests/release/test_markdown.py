"""Whatever a text holds, Markdown shows it as text."""

import re

import pytest
from hypothesis import example, given

from release.markdown import escape, fenced, one_line, visible
from tests.support.markdown import ANY_ARGUMENT, shown
from tinymathreason.tables import markdown_table


@given(ANY_ARGUMENT)
@example("1. x")
@example("12)")
@example("- x")
@example("--")
@example("-")
@example("a_b _c_")
@example("&amp; \\& \\")
def test_any_text_is_shown_as_it_is(text) -> None:
    line = one_line(text)
    assert shown(f"# {escape(text)} x") == [f"{line} x".strip()]
    assert shown(f"- **Label:** {escape(text)}.") == [f"Label: {line}."]
    if line:
        assert shown(f"- {escape(text)}") == [line]
        assert shown(f"x\n\n**{escape(text)}**") == ["x", line]


@given(ANY_ARGUMENT)
def test_any_text_fits_into_a_cell(text) -> None:
    made = markdown_table(["a", "b", "c"], [["x", escape(text), "y"], ["z", "u", None]])
    assert shown(made) == ["a", "b", "c", "x", one_line(text), "y", "z", "u", ""]


@given(ANY_ARGUMENT)
def test_any_text_fits_into_a_block_of_code(text) -> None:
    assert shown(f"x\n\n{fenced(text, 'bash')}\n\ny") == ["x", f"{visible(text)}\n", "y"]


@given(ANY_ARGUMENT)
def test_any_text_can_be_written(text) -> None:
    for made in (escape(text), fenced(text), one_line(text)):
        made.encode()
        assert not re.search("[\x00-\x08\u202a-\u202e]", made)


def test_words_of_markdown() -> None:
    assert escape("a_b _c_ *d*\n|") == "a_b \\_c\\_ \\*d\\* \\|"
    assert escape("<a> & 1. b") == "&lt;a&gt; &amp; 1. b"
    assert fenced("x\n````\ny", "bash") == "`````bash\nx\n````\ny\n`````"


@pytest.mark.parametrize("text", ["", "\u200b", "\n"])
def test_what_has_no_visible_character_is_empty(text) -> None:
    assert escape(text) == ""
