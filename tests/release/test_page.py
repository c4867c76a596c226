"""The page shows what the record holds, asks nobody for anything and runs nothing."""

import re
from html.parser import HTMLParser

import pytest

from release.report import charts
from release.report.page import page
from tests.support import browser, records
from tinymathreason.records.evaluation import MetricEstimate
from tinymathreason.records.mixture import Documents
from tinymathreason.records.report import (
    Ends,
    Report,
    ReportAccuracy,
    ReportAnswer,
    SourceSummary,
    SplitCurves,
    SplitEnds,
    StageSummary,
    Tokens,
)

COMMIT = "f54ebb8e801b177f9439543f1a013f752027fb85-dirty"
HOSTILE = '<script>alert("1")</script>&\u202e'


WRONG = ReportAnswer(question="Q?", completions=["A"], expected="2", correct=False)
STAGES = ("data", "pretrain", "conversion", "sft", "evaluate_base", "evaluate_sft")


@pytest.fixture
def record():
    documents = Documents(read=1200, kept=1000, rejected={"exact_duplicate": 150, "length": 50})
    source = SourceSummary(tokens=7000, weight=0.7, documents=documents)
    figures = {"low": 0.9, "high": 0.98, "n": 200}
    metrics = {
        "exact_match": MetricEstimate(value=0.95, **figures),
        "majority": MetricEstimate(value=0.96, **figures),
    }
    asked = {"task": "gsm8k", "metric": "exact_match", "shots": 8, "form": "chat"}
    base = ReportAccuracy(
        **asked, value=0.12, low=0.08, high=0.17, n=200, interval="Wilson", metrics={}
    )
    tuned = ReportAccuracy(**asked, value=0.95, **figures, interval="bootstrap", metrics=metrics)
    curves = SplitCurves(train=[(0, 5.0), (1, 3.0), (2, 0.0)], eval=[(0, 5.5), (2, 2.5)])
    ends = SplitEnds(train=Ends(first=5.0, last=0.0), eval=Ends(first=5.5, last=2.5))
    sample = {"question": "Is $x^2$ = $4?", "expected": "2"}
    return records.report(
        stages={name: stage(f"python -m {name}") for name in STAGES},
        seconds=dict.fromkeys(STAGES, 75.0),
        peak_bytes=dict.fromkeys(STAGES, 2**30),
        data={"facts": source, "problems": records.change(source, tokens=3000)},
        sft_data={"gsm8k": records.change(source, weight=None)},
        tokens=Tokens(data=10_000, pretrain=12_345, sft=777),
        parameters=820_352,
        parity=records.parity(
            max_abs_diff=2.5e-5, argmax_agreement=0.99996, positions=508, scale=13.9, mean_kl=2e-12
        ),
        curves={"pretrain": curves, "sft": curves},
        loss={"pretrain": ends, "sft": ends},
        accuracy={"base": base, "sft": tuned},
        samples=[
            ReportAnswer(
                **sample, completions=["So $\\frac{4}{2}$ = 2.\n#### 2", "x"], correct=True
            ),
            ReportAnswer(**sample, completions=["word " * 2000], correct=False),
        ],
        provenance=records.provenance(
            commit=COMMIT,
            versions={"python": "3.12.1", "torch": "2.15.0"},
            time="2026-11-23T04:10:41+00:00",
        ),
    )


def stage(command: str) -> StageSummary:
    return StageSummary(command=command, commit=COMMIT, seconds=75.0, peak_bytes=2**30)


class Reader(HTMLParser):
    """What a page is made of; an element that is not closed in its order is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(attrs)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_every_figure_is_on_the_page(record) -> None:
    text = Reader(page(record)).text
    for words in (
        "Report of quickstart", "820,352", "12,345", "7 min 30 s", "1.00 GiB", "1 min 15 s",
        "10,000 tokens from 2 sources", "70.0 %", "1,200", "1,000", "exact duplicate", "150",
        "held-out loss 5.5 to 2.5", "logits within 2.5e-05", "12.0 %", "8.0 % to 17.0 %, Wilson",
        "90.0 % to 98.0 %, bootstrap", "95 % Wilson or bootstrap interval", "its largest process",
        "majority", "96.0 %", "99.996 %", "2e-12", "1e-09", "1e-04 of the largest logit", "508",
        "right answers of the tuned model, then", "Wrong, expected 2", "1 more answer to it",
        "python -m conversion", COMMIT, "torch 2.15.0",
        "2026-11-23T04:10:41+00:00",
    ):  # fmt: skip
        assert words in text, words


def test_the_page_is_inert_and_alone(record) -> None:
    found = Reader(page(record))
    assert not {"script", "link", "img", "iframe", "object", "a", "base"} & set(found.tags)
    assert not {"src", "href", "srcset"} & {name for name, _ in found.attributes}
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in (
        found.attributes
    )
    assert not re.search(r"url\(|@import|https?:", page(record))


def test_a_picture_says_what_it_shows(record) -> None:
    text = page(record)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    pictures = re.findall(r"<svg.*?</svg>", text)
    assert len(pictures) == 5
    for picture in pictures:
        named = re.search(r'role="img"[^>]*aria-labelledby="(\S+) (\S+)"', picture)
        assert named
        assert re.search(rf'<title id="{named[1]}">\S', picture)
        assert re.search(rf'<desc id="{named[2]}">\S', picture)


def test_whatever_a_record_says_is_text(record) -> None:
    def spoilt(value, key=""):
        if isinstance(value, dict):
            return {HOSTILE if name in ("facts", "torch", "exact_duplicate", "majority") else name:
                    spoilt(inner, name) for name, inner in value.items()}  # fmt: skip
        if isinstance(value, list):
            return [spoilt(inner) for inner in value]
        kept = ("kind", "time", "form")  # of which a record accepts no other text
        return HOSTILE if isinstance(value, str) and key not in kept else value

    text = page(Report.model_validate(spoilt(record.as_json())))
    assert "<script" not in text
    assert Reader(text).text.count("<script>") > 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sft_data": None}, "The run holds no record of these examples."),
        ({"accuracy": {}}, "The run holds no evaluation."),
        ({"samples": []}, "The run holds no answer."),
        ({"samples": [WRONG]}, "first wrong answers of the tuned model; none was right"),
        ({"data": {"none": SourceSummary(
            tokens=0, weight=1.0, documents=Documents(read=0, kept=0, rejected={})
        )}}, "0 tokens kept"),
        ({"provenance": records.provenance(commit=None)}, "not in a checkout"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(record, change, words) -> None:
    assert words in Reader(page(records.change(record, **change))).text


def test_a_stage_of_another_name_is_shown(record) -> None:
    stages = {**record.stages, "evaluate_half_way": stage("x")}
    assert "evaluate half way" in Reader(page(records.change(record, stages=stages))).text


def labels(chart: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", chart)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.001, 1.2, "0.1"), (0.6, 7, "1 2 5"), (2.7, 11, "5 10"), (3.1, 6.2, "4 5 6")],
)
def test_an_axis_has_round_numbers(low, high, ticks) -> None:
    chart = charts.losses("a", "t", "d", {"line": [(0, high), (250, low)]})
    assert set(ticks.split()) <= set(labels(chart))
    assert {"0", "250", "step", "line"} <= set(labels(chart))


def test_a_curve_is_thinned_and_drops_what_has_no_logarithm() -> None:
    nan = float("nan")
    points = [(0, nan), (1, 0.0), (2, -1.0), *((step, 5.0) for step in range(3, 100_003))]
    chart = charts.losses("a", "t", "d", {"l": points})
    pairs = max(re.findall(r'd="M ([^"]*)"', chart), key=len).split(" L ")
    assert 300 < len(pairs) <= 601
    across = [float(pair.split()[0]) for pair in pairs]
    assert across == sorted(across)
    assert across[0] < 80
    assert across[-1] > 360
    assert charts.losses("a", "t", "d", {"l": [(0, nan)]}) == ""


def test_a_lower_loss_is_drawn_lower() -> None:
    chart = charts.losses("a", "t", "d", {"l": [(step, 5 - step / 50) for step in range(200)]})
    pairs = max(re.findall(r'd="M ([^"]*)"', chart), key=len).split(" L ")
    assert float(pairs[0].split()[1]) < float(pairs[-1].split()[1])


def test_a_chart_is_the_same_each_time_and_shows_any_label() -> None:
    label = "$x_1$ <b> \u4e2d"
    chart, again = (charts.accuracies("a", "t", "d", [(label, 0.5, 0.4, 0.6)]) for _ in range(2))
    assert chart == again
    assert "$x_1$ &lt;b&gt; \u4e2d" in labels(chart)


CONTRAST = """
const light = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
    .map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
const behind = e => { for (; e; e = e.parentElement) {
  const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } };
return [...document.querySelectorAll('h1, h2, h3, p, td, th, dt, dd, figcaption, pre, .answer p')]
  .map(e => { const a = light(getComputedStyle(e).color), b = light(behind(e));
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); })
"""


@browser.needed
@pytest.mark.xdist_group("browser")
def test_in_a_browser(record, tmp_path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(record), encoding="utf-8")
    with browser.opened(tmp_path / "profile") as driver:
        backgrounds = set()
        for size in (browser.DESKTOP, browser.PHONE):
            browser.resize(driver, size)
            for scheme in ("light", "dark"):
                feature = {"name": "prefers-color-scheme", "value": scheme}
                driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
                driver.get(path.as_uri())
                assert browser.overflow(driver) == 0
                assert browser.complaints(driver) == []
                contrasts = driver.execute_script(CONTRAST)
                assert len(contrasts) > 50
                assert min(contrasts) >= 4.5
                script = "return getComputedStyle(document.body).backgroundColor"
                backgrounds.add(driver.execute_script(script))
                script = "return performance.getEntriesByType('resource').map(e => e.name)"
                assert driver.execute_script(script) == []
                boxes = driver.execute_script(
                    "return [...document.querySelectorAll('section, svg, math, mfrac, .flow li')]"
                    ".map(e => e.getBoundingClientRect()).map(r => Math.min(r.width, r.height))"
                )
                assert len(boxes) == 7 + 5 + 3 + 1 + 6
                assert min(boxes) > 3
        assert len(backgrounds) == 2
