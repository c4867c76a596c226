"""What a reader of Markdown sees, and texts that could break it."""

from hypothesis import strategies as st
from markdown_it import MarkdownIt

_MARKDOWN = MarkdownIt("commonmark").enable("table")
_PIECES = [
    "<", ">", "&", "&lt;", "&#60;", "<script>", "</b>", "<!--", "-->", "[", "](x)", "![", "`",
    "```", "*", "**", "_", "__", "~~", "|", "\\", "\n", "\n\n", "\r", "# ", "- ", "+ ", "1. ",
    "1)", "> ", "---", "===", "    ", "\t", "$", "a", "1", " ", "http://b.example", "'", '"',
    "\u202e", "\x00", "\u200b", "\x85",
]  # fmt: skip
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.lists(
    st.sampled_from(_PIECES), max_size=12
).map("".join)
"""Texts with the markup of Markdown and HTML, and with any character that UTF-8 has."""
ANY_ARGUMENT = ANY_TEXT | st.sampled_from(["\ud800", "a\udcff"])
"""Texts of a command line, which can hold halves of characters too."""


def shown(markdown: str, links: bool = False) -> list[str]:
    """The text of each leaf of a Markdown document.

    HTML is an error, and so is a link or an image unless there may be ``links``.
    """
    leaves = []
    for token in _MARKDOWN.parse(markdown):
        assert token.type not in ("html_block", "code_block", "hr")
        if token.type == "fence":
            leaves.append(token.content)
        for child in token.children or []:
            assert child.type not in ("html_inline", "code_inline", "em_open")
            assert links or child.type not in ("link_open", "image")
        if token.type == "inline":
            leaves.append("".join(child.content for child in token.children or []))
    return leaves
