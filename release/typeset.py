"""Turns a model's answer into inert HTML: escaped text, and mathematics as MathML.

The text is whatever a model wrote, so no markup of its own survives: what is not mathematics or the
lightest Markdown is escaped, and MathML keeps known elements and harmless attributes only.

CommonMark is not used here. Its emphasis would take ``2*3*4`` for italics, an unclosed fence, as in
an answer that is still being written, would swallow the rest, and deep nesting would drop text. The
MathML must stay XML whose every element has its number of children, which a sanitiser of HTML does
not check; a test holds one against the result.
"""

import functools
import html
import itertools
import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element

from release.markdown import visible

MAX_CHARACTERS = 100_000
"""A longer text is shown without paragraphs and mathematics."""
MAX_FORMULA = 2_000
"""Characters of the longest formula that is typeset; a longer one is shown as its source."""
MAX_MATHEMATICS = 10_000
"""Most characters of all typeset formulas of a text: latex2mathml takes some 10 µs for each."""
_FORMULA = 10
"""The fixed cost of a formula, as a number of characters."""
_MAX_DEPTH = 30

STYLE = """
.typeset{overflow-wrap:anywhere}
.typeset p,.typeset ul,.typeset ol{overflow-x:auto;overflow-y:hidden}
.typeset p,.typeset pre,.typeset ul,.typeset ol{margin:0 0 .6em}
.typeset>:last-child{margin-bottom:0}
.typeset pre{overflow-x:auto;padding:.6em .8em;border-radius:.4em;
border:1px solid color-mix(in srgb,currentColor 25%,transparent)}
.typeset pre.plain{white-space:pre-wrap;padding:0;border:0}
.typeset code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.92em}
.typeset .display{display:block;overflow-x:auto;overflow-y:hidden;padding:.3em 0}
.typeset .final{font-weight:600;padding:.15em .7em;border-left:.2em solid;width:fit-content;
max-width:100%;box-sizing:border-box}
.typeset .final::before{content:"Answer\\00a0 ";font-weight:400;opacity:.8}
.typeset menclose[notation=box]{border:1px solid;padding:.2em .35em}
.typeset menclose:not([notation=box]){text-decoration:line-through}
.typeset mtd[columnalign=left]{text-align:left}
.typeset mtd[columnalign=right]{text-align:right}
.typeset mtd[columnalign=right]+mtd{padding-left:0}
.typeset [mathvariant|=bold]{font-weight:bold}
.typeset [mathvariant=monospace]{font-family:monospace}
"""
"""CSS for what `typeset` returns; colours are those of the text around it."""

_BRACED = r"(?:[^{}\\]++|\\.)"
for _ in range(3):
    _BRACED = rf"(?:[^{{}}\\]++|\\.|\{{{_BRACED}*+\}})"
# Every alternative stops where it could begin again, so that the whole is read in linear time.
_ATOM = re.compile(
    r"^```[^\n`]*\n(?P<fence>(?:(?!```)[^\n]*\n)*+)```[^\S\n]*$"
    r"|`(?P<code>[^`\n]+)`"
    r"|\\(?P<literal>[\\$])"
    r"|\$\$(?P<dollars>(?:\\.|[^\\$\n]|\n(?![^\S\n]*\n))++)\$\$"
    r"|\\\[(?P<square>(?:\\[^\[\]]|[^\\\n]|\n(?![^\S\n]*\n))++)\\\]"
    r"|\\\((?P<round>(?:\\[^()]|[^\\\n]|\n(?![^\S\n]*\n))++)\\\)"
    r"|\$(?![\s$])(?P<dollar>(?:\\.|[^\\$\n])++)(?<!\s)\$(?!\d)"
    rf"|(?P<boxed>\\(?:boxed|fbox)\{{{_BRACED}*+\}})",
    re.MULTILINE,
)
_WORD = re.compile(r"\s[A-Za-z]{2,}\b(?!\s*[=<>+*/^_-])")
_PLACE = re.compile("[\x01\x02](\\d+)\x03")
_BLANK = re.compile(r"\n(?:[^\S\n]*\n)+")
_BOLD = re.compile(r"\*\*(?=\S)([^*]++)(?<=\S)\*\*")
_BULLET = re.compile(r"\s*[-*•]\s+(?=\S)")
_NUMBERED = re.compile(r"\s*(\d{1,3})[.)]\s+(?=\S)")
# A heading of the fourth level without a number is no answer.
_FINAL = re.compile(r"####\s+(?=[-+$.]*\d|\x02)")

# A definition could be used to grow without bound.
_DEFINITION = re.compile(r"\\(?:(?:re)?new|def|let|DeclareMathOperator)")
# Environments and spacing that latex2mathml does not know, and the nearest that it does.
_ENVIRONMENT = re.compile(r"(\\(?:begin|end)\{)(aligned|gathered|gather\*?|equation\*?|dcases)\}")
_NEAREST = {"aligned": "split", "dcases": "cases"}
_ROW_SPACE = re.compile(r"(\\\\)\[[-\w. ]{0,20}\]")
_ESCAPED = re.compile(r"\\([$%&#_{}])")
_PERCENT = re.compile(r"(\\.)|%", re.DOTALL)
_ENTITY = re.compile(r"&#x[0-9A-Fa-f]{1,8};")
_CHILDREN = dict.fromkeys(("mfrac", "mover", "mroot", "msub", "msup", "munder"), 2)
_CHILDREN |= {"msubsup": 3, "munderover": 3}
_TAGS = _CHILDREN.keys() | {
    "math", "menclose", "mi", "mn", "mo", "mpadded", "mphantom", "mrow", "mspace", "msqrt",
    "mstyle", "mtable", "mtd", "mtext", "mtr",
}  # fmt: skip
_ATTRIBUTES = {
    "accent", "accentunder", "columnalign", "depth", "display", "displaystyle", "fence", "form",
    "height", "largeop", "linethickness", "lspace", "mathvariant", "maxsize", "minsize",
    "movablelimits", "notation", "rspace", "scriptlevel", "separator", "stretchy", "voffset",
    "width",
}  # fmt: skip
# Two digits at most, and little to the left: no formula covers what stands around it.
_VALUE = re.compile(r"[a-z]+(?:[- ][a-z]+)*|(?:[-+]?0?|\d{1,2})(?:\.\d{1,4})?(?:[a-z]{2})?")


def typeset(text: str) -> str:
    """A plain text with mathematics as well-formed, inert HTML: one ``<div class="typeset">``.

    Mathematics is what stands in ``$..$``, ``$$..$$``, ``\\(..\\)``, ``\\[..\\]`` and
    ``\\boxed{}``; sums of money are not. What latex2mathml cannot read stays as its source. Blank
    lines part paragraphs; ``**bold**``, code, fences, lists and a final line ``#### 42`` are
    marked. What is not closed, as in an answer that is still being written, is text. Control
    characters, and those that change the direction of writing, become U+FFFD. Never raises; takes
    time linear in the text. `STYLE` is the CSS for it.
    """
    text = visible(text)
    if len(text) > MAX_CHARACTERS:
        return f'<div class="typeset"><pre class="plain">{html.escape(text)}</pre></div>'
    atoms = _Atoms()
    marked = html.escape(_ATOM.sub(atoms.put, text))
    blocks = (_block(block) for block in _BLANK.split(marked.strip("\n")))
    placed = _PLACE.sub(lambda match: atoms.made[int(match[1])], "".join(blocks))
    return f'<div class="typeset">{placed}</div>'


class _Atoms:
    """Finished pieces of HTML, and the sign that replaces each until the end."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.left = MAX_MATHEMATICS

    def put(self, match: re.Match[str]) -> str:
        """The sign that replaces a match."""
        kind = str(match.lastgroup)
        if kind == "dollar" and _is_money(match["dollar"]):
            return "$" + _ATOM.sub(self.put, match[0][1:])
        if kind == "literal":
            made = "$" if match["literal"] == "$" else match[0]
        elif kind == "fence":
            made = f"<pre><code>{html.escape(match['fence'])}</code></pre>"
        elif kind == "code":
            made = f"<code>{html.escape(match['code'])}</code>"
        else:
            made = self._mathematics(match[0], match[kind], kind in ("dollars", "square"))
        self.made.append(made)
        return f"{'\x01' if kind == 'fence' else '\x02'}{len(self.made) - 1}\x03"

    def _mathematics(self, source: str, tex: str, display: bool) -> str:
        self.left -= len(tex) + _FORMULA
        made = mathml(tex, display) if self.left >= 0 else None
        if made is None:
            return f'<code class="tex">{html.escape(source)}</code>'
        return f'<span class="display">{made}</span>' if display else made


def _is_money(between: str) -> bool:
    """Whether two dollar signs enclose an amount and words, as in ``$18 or 20$``."""
    return between[0].isdigit() and "\\" not in between and bool(_WORD.search(between))


def _block(block: str) -> str:
    """The HTML of escaped lines without a blank one among them."""
    parts: list[str] = []
    for kind, lines in itertools.groupby(block.split("\n"), _kind):
        if kind == "pre":
            parts.extend(lines)
        elif kind == "final":
            parts.extend(f'<p class="final">{_bold(_FINAL.sub("", line, 1))}</p>' for line in lines)
        elif kind == "ul":
            parts.append(f"<ul>{''.join(_item(line, _BULLET) for line in lines)}</ul>")
        elif kind == "ol":
            parts.append(f"<ol>{''.join(_item(line, _NUMBERED) for line in lines)}</ol>")
        else:
            parts.append(f"<p>{_paragraph(lines)}</p>")
    return "".join(parts)


def _kind(line: str) -> str:
    if line.startswith("\x01"):
        return "pre"
    if _FINAL.match(line):
        return "final"
    if _BULLET.match(line):
        return "ul"
    return "ol" if _NUMBERED.match(line) else "p"


def _paragraph(lines: Iterable[str]) -> str:
    return "<br/>".join(_bold(line) for line in lines)


def _bold(line: str) -> str:
    return _BOLD.sub(r"<strong>\1</strong>", line)


def _item(line: str, marker: re.Pattern[str]) -> str:
    match = marker.match(line)
    assert match
    value = f' value="{match[1]}"' if marker.groups else ""
    return f"<li{value}>{_bold(line[match.end() :])}</li>"


@functools.lru_cache(maxsize=1024)
def mathml(tex: str, display: bool = False) -> str | None:
    """LaTeX as an inert ``<math>`` element; None for what cannot or must not be typeset."""
    from latex2mathml import converter, exceptions

    own = (
        kind
        for kind in vars(exceptions).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    )
    # All errors of a million random formulas; RecursionError is a RuntimeError.
    unreadable: tuple[type[Exception], ...] = (
        LookupError,
        RuntimeError,
        StopIteration,
        TypeError,
        ValueError,
        *own,
    )
    if len(tex) > MAX_FORMULA or _DEFINITION.search(tex):
        return None
    tex = _ENVIRONMENT.sub(lambda match: f"{match[1]}{_NEAREST.get(match[2], 'matrix')}}}", tex)
    tex = _ROW_SPACE.sub(r"\1", tex)
    # A percent sign is text here, and does not begin a comment of TeX.
    tex = _PERCENT.sub(lambda match: match[1] or r"\%", tex)
    try:
        root = converter.convert_to_element(tex, display="block" if display else "inline")
        return _inert(root, _MAX_DEPTH)
    except unreadable:
        return None


def _inert(element: Element, depth: int) -> str:
    """An element as text, with known attributes only; ValueError for an unknown element."""
    known = element.tag in _TAGS and len(element) == _CHILDREN.get(element.tag, len(element))
    if not depth or not known:
        raise ValueError(element.tag)
    attributes = "".join(
        f' {name}="{value}"'
        for name, value in element.attrib.items()
        if name in _ATTRIBUTES and _VALUE.fullmatch(value)
    )
    # latex2mathml writes its symbols as references, to be put into the finished XML unescaped.
    text = _ENTITY.sub(lambda match: html.unescape(match[0]), element.text or "")
    if element.tag == "mtext":
        text = _ESCAPED.sub(r"\1", text)
    inner = html.escape(visible(text)) + "".join(_inert(child, depth - 1) for child in element)
    return f"<{element.tag}{attributes}>{inner}</{element.tag}>"
