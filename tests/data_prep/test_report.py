"""A rejected document's id and question cannot put Markdown or HTML into the report."""

import pytest
from markdown_it import MarkdownIt

from data_prep.report import _rejected


@pytest.mark.parametrize(
    "text", ["a", "`", "a`<b>`c", "``x```", "<script>", "a\n\n# b", "[x](y)", "`` ` ```` `"]
)
def test_an_id_stays_text(text) -> None:
    line = _rejected({"number": 0, "id": text, "reason": "r", "question": text, "text": "t"})
    inline, code = [t for t in MarkdownIt("commonmark").parse(line) if t.content]
    kinds = [(child.type, child.content) for child in inline.children or []]
    expected = " ".join(text.split())
    assert kinds == [("code_inline", expected), ("text", ", contains "), ("code_inline", expected)]
    assert code.content == "t\n"


def test_an_empty_id_is_named() -> None:
    line = _rejected({"number": 0, "id": "", "reason": "r", "text": "t"})
    assert line.startswith("(none)\n")
