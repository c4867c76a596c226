"""Answers become HTML that shows what they say and can do nothing."""

import re
import time
from html.parser import HTMLParser
from xml.etree import ElementTree

import nh3
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from release.typeset import MAX_CHARACTERS, MAX_FORMULA, MAX_MATHEMATICS, STYLE, mathml, typeset

ALLOWED = {
    "div": {"class"}, "p": {"class"}, "pre": {"class"}, "span": {"class"}, "code": {"class"},
    "br": set(), "strong": set(), "ul": set(), "ol": set(), "li": {"value"},
}  # fmt: skip
MATHML = {
    "math", "menclose", "mfrac", "mi", "mn", "mo", "mover", "mpadded", "mphantom", "mroot", "mrow",
    "mspace", "msqrt", "mstyle", "msub", "msubsup", "msup", "mtable", "mtd", "mtext", "mtr",
    "munder", "munderover",
}  # fmt: skip
HARMLESS = {
    "accent", "accentunder", "columnalign", "depth", "display", "displaystyle", "fence", "form",
    "height", "largeop", "linethickness", "lspace", "mathvariant", "maxsize", "minsize",
    "movablelimits", "notation", "rspace", "scriptlevel", "separator", "stretchy", "voffset",
    "width",
}  # fmt: skip


def parsed(text: str) -> ElementTree.Element:
    """The answer's HTML as a tree, of which every element and attribute is checked."""
    root = ElementTree.fromstring(typeset(text))  # noqa: S314 - ours, and small
    for element in root.iter():
        allowed = HARMLESS if element.tag in MATHML else ALLOWED[element.tag]
        assert not element.attrib.keys() - allowed
        for value in element.attrib.values():
            assert re.fullmatch(r"[-+.a-z0-9 ]{0,60}", value)
    return root


def without_mathematics(element: ElementTree.Element) -> str:
    inner = "" if element.tag == "math" else element.text or ""
    for child in element:
        inner += (without_mathematics(child) if element.tag != "math" else "") + (child.tail or "")
    return inner


def formulas(text: str) -> list[str]:
    return ["".join(found.itertext()) for found in parsed(text).iter("math")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("So $x+1$.", ["x+1"]),
        (r"\(a\) and \[b\] and $$c$$", ["a", "b", "c"]),
        ("$$\na\n= b\n$$", ["a=b"]),
        (r"It is \boxed{\frac{1}{2}}!", ["12"]),
        (r"$\boxed{7}$", ["7"]),
        (r"\boxed{\{1,2\}}", ["{1,2}"]),
        ("$5x = 10$", ["5x=10"]),
        ("$18$", ["18"]),
        ("$50% = 0.5$", ["50%=0.5"]),
        (r"$\text{a \$5 coin, 5% off}$", ["a\u00a0$5\u00a0coin,\u00a05%\u00a0off"]),
        (r"$$\begin{aligned} a &= b \\[2pt] c &= d \end{aligned}$$", ["a=bc=d"]),
        ("**so $x$**", ["x"]),
        ("- $x$\n- $y$", ["x", "y"]),
        ("#### $42$", ["42"]),
    ],
)
def test_mathematics(text, found) -> None:
    assert formulas(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "It costs $18 and $20.",
        "From $18 for a to 20$ more",
        "$5-$6, $18/$20, $1,000",
        "$18 a day. So $",
        "Two $ 5 $ signs",
        "an open $x + 1",
        "an open $$x\n\ny$$",
        r"an open \[x and \(y and \boxed{z",
        "```python\nx = 1",
        "an open `code and **bold",
        "a * b * c ** d",
        "#### Step 4",
        "##### 4",
        "2.5 metres",
        "-3 degrees",
    ],
)
def test_text_stays_text(text) -> None:
    root = parsed(text)
    assert {element.tag for element in root.iter()} <= {"div", "p", "br"}
    assert not root.findall(".//p[@class]")
    assert re.sub(r"\s", "", "".join(root.itertext())) == re.sub(r"\s", "", text)


def test_an_escaped_dollar_is_a_dollar() -> None:
    assert typeset(r"\$5 + \$6 and a \\ b") == (
        r'<div class="typeset"><p>$5 + $6 and a \\ b</p></div>'
    )


def test_the_lightest_markdown() -> None:
    text = (
        "First **one** `a*b`\nline two\n\n\n1. x\n3) y\n* z\n```sh\n$a < **b**\n\n```\n#### 1,200\n"
    )
    assert typeset(text) == (
        '<div class="typeset"><p>First <strong>one</strong> <code>a*b</code><br/>line two</p>'
        '<ol><li value="1">x</li><li value="3">y</li></ol><ul><li>z</li></ul>'
        "<pre><code>$a &lt; **b**\n\n</code></pre>"
        '<p class="final">1,200</p></div>'
    )


def test_a_display_is_a_block_and_an_inline_formula_is_not() -> None:
    assert mathml("x") == '<math display="inline"><mrow><mi>x</mi></mrow></math>'
    assert mathml("x", display=True) == '<math display="block"><mrow><mi>x</mi></mrow></math>'
    root = parsed("$x$ $$y$$")
    assert [e.get("display") for e in root.iter("math")] == ["inline", "block"]
    assert len(root.findall(".//span[@class='display']/math")) == 1


@pytest.mark.parametrize(
    "tex",
    [
        r"\frac{1}",
        r"\left( x",
        "x^1^2",
        r"\begin{matrix} a",
        r"\sqrt",
        "{" * 30 + "x" + "}" * 30,
        r"\sqrt" * 60 + "x",
        "{" * 900,
        "x" * (MAX_FORMULA + 1),
        r"\newcommand{\a}{xx}\a",
        r"\def\a{xx}\a",
        r"\DeclareMathOperator{\a}{b}\a",
        r"\newenvironment{a}{b}{c}",
    ],
)
def test_what_cannot_be_typeset_stays_as_its_source(tex) -> None:
    root = parsed(f"so ${tex}$ <")
    assert [code.text for code in root.findall(".//code[@class='tex']")] == [f"${tex}$"]
    assert root.find(".//math") is None


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script><img src=x onerror=alert(1)>",
        r"$\href{javascript:alert(1)}{x}$ [x](javascript:alert(1)) <javascript:alert(1)>",
        r"$\href{a}{x}$ $\style{a}{x}$ $\class{a}{x}$",
        r"$\style{background:url(https://x.example)}{x}$ $\class{final}{x}$",
        r'$\class{a" onclick="alert(1)}{x}$',
        r"$\text{</math><script>alert(1)</script>}$",
        r"$\text{&#x3c;script&#x3e;&lt;b&gt;}$ $\unicode{3c}$",
        r"$\color{red;x}{y}$ $\colorbox{url(x)}{y}$",
        r"$\begin{<img>}x\end{<img>}$ $\operatorname{<b>}$ $\verb|<b>|$",
        r"$\hspace{99999em}\rule{1em}{99999em}\raisebox{-9999px}{x}$",
        "```<script>\n</code></pre><script>\n```",
        "`</code><script>`",
        "**<b>** \n- <li>\n#### 4<br>",
        "\x00\x01" + "0\x03\x022\x03 $x$",
        "\u202egnp.exe\u202c \u2066x\u2069 $\\unicode{202e}$ \ud800 \ufffe \x1b[31m",
    ],
)
def test_hostile_text_is_inert(text) -> None:
    root = parsed(text)
    shown = "".join(root.itertext())
    assert not re.search("[\x00-\x08\u202a-\u202e\u2066-\u2069]", shown)
    raw = typeset(text)
    assert not re.search(
        r"<(script|img|b|a|li class)\b|\bon\w+=\"|href=|style=|url\([^)]*\)\"", raw
    )
    assert "99999" not in raw


def test_what_looked_like_a_tag_is_shown() -> None:
    assert "".join(parsed("<b>1 & 2</b>").itertext()) == "<b>1 & 2</b>"
    assert formulas(r"$\text{<b>}$") == ["<b>"]


PIECES = st.sampled_from(
    [
        "$", "$$", "\\(", "\\)", "\\[", "\\]", "\\boxed{", "{", "}", "`", "```", "```\n", "**",
        "\n", "\n\n", "#### ", "- ", "1. ", "\\frac", "\\text{", "\\left(", "\\href{", "\\style{",
        "\\begin{matrix}", "\\end{matrix}", "&", "\\\\", "^", "_", "<", ">", "&#x3c;", '"', "%",
        "\x00", "\x01", "\x02", "\x03", "\u202e",
    ]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=6), max_size=30).map("".join))
def test_any_text_becomes_well_formed_and_allowed_html(text) -> None:
    parsed(text)


class Elements(HTMLParser):
    """Start tags with their attributes, end tags and text, as a browser reads them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.read: list[object] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.read.append((tag, sorted(attrs)))

    def handle_endtag(self, tag):
        if tag != "br":
            self.read.append(f"/{tag}")

    def handle_data(self, data):
        self.read.append(data)


@given(st.lists(PIECES | st.text(max_size=6), max_size=30).map("".join))
@example("$\\frac{1}{2}$ `<b>` **x**\n- a\n#### 5")
def test_a_sanitiser_has_nothing_to_remove(text) -> None:
    allowed = {**ALLOWED, **dict.fromkeys(MATHML, HARMLESS)}
    made = typeset(text)
    cleaned = nh3.clean(made, tags=set(allowed), attributes=allowed, link_rel=None)
    assert Elements(cleaned).read == Elements(made).read


@given(st.text(max_size=200))
def test_no_character_is_lost(text) -> None:
    shown = without_mathematics(parsed(text))
    plain = re.sub(r"\$.*\$", "", text, flags=re.DOTALL)
    plain = re.sub(r"[^\w<>&+'\"]", "", plain.replace("\x85", ""))
    position = 0
    for character in re.sub(r"^\s*\d+[.)]|####", "", plain, flags=re.MULTILINE):
        if character.isdigit():
            continue  # may be a list's number
        position = shown.find(character, position)
        assert position >= 0, character
        position += 1


@pytest.mark.clock
@pytest.mark.parametrize(
    "unit",
    [
        "$", "$x", "$$", "$$a\n", "\\[", "\\\\[", "\\(", "\\boxed{", "\\boxed{a{b}", "`", "```x\n",
        "**a ", "\n ", "1. a\n", "- a\n", "#### 1\n", "\\", "$\\frac{1}{2}$ ",
    ],
)  # fmt: skip
def test_hostile_length_takes_no_time(unit) -> None:
    for size in (MAX_CHARACTERS, 10 * MAX_CHARACTERS):
        text = (unit * size)[:size]
        started = time.process_time()
        typeset(text)
        # Some 0.05 s; a quadratic reading would take minutes.
        assert time.process_time() - started < 2


def test_mathematics_is_bounded() -> None:
    text = " ".join(f"${i}$" for i in range(5_000))
    found = len(formulas(text))
    assert 100 < found < MAX_MATHEMATICS / 10
    assert "$4999$" in typeset(text)


def test_a_very_long_text_is_shown_plainly() -> None:
    text = "<b> $x$\n" * MAX_CHARACTERS
    root = parsed(text)
    assert [element.tag for element in root.iter()] == ["div", "pre"]
    assert "".join(root.itertext()) == text


def test_the_style_names_only_what_it_marks() -> None:
    assert "<" not in STYLE
    assert all(
        line.startswith((".typeset", "max-width", "border")) for line in STYLE.split("\n") if line
    )
