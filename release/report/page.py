"""The report's page: one HTML file that runs no script and loads nothing.

The template is ``templates/report.html.jinja``; jinja2 escapes every text in it. This module
computes what the template shows.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from release.breakdown import breakdowns, of_report
from release.markdown import TEMPLATES, visible
from release.recipes import sentences
from release.report import LABELS, charts
from release.report.phases import amounts, data_by_phase
from release.typeset import STYLE, typeset
from tinymathreason import processor, units
from tinymathreason.records.report import Report, ReportAccuracy, SourceSummary

MODELS = {"base": "Base model", "sft": "Tuned model"}


def page(record: Report) -> str:
    """The whole page of a report.

    A part of which the run has no record is one line that says so.
    """
    environment = jinja2.Environment(
        autoescape=True,
        finalize=_shown,
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "model": _model,
        "duration": _unbroken(units.duration),
        "memory": _unbroken(units.memory),
        "percent": percent,
        "typeset": _typeset,
    }
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return environment.get_template("report.html.jinja").render(
        record=record,
        name=Path(record.run).name,
        css=Markup(css + STYLE),  # noqa: S704 (ours)
        recipes=sentences(record.recipes),
        stages=list(_stages(record)),
        sets=list(_sets(record)),
        trainings=list(_trainings(record)),
        accuracy=_accuracy(record.accuracy),
        breakdowns=list(breakdowns(of_report(record, _model), percent)),
        processor=processor.describe(record.provenance.processor),
    )


def percent(share: float) -> str:
    """A share of 1 in percent, one decimal."""
    return f"{100 * share:.1f}\u00a0%"


def _shown(value: Any) -> Any:
    """What the template prints: a text without hidden characters, anything else as it is."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _typeset(text: str) -> Markup:
    return Markup(typeset(text))  # noqa: S704 (it is escaped)


def _unbroken(words: Callable[[float], str]) -> Callable[[float], str]:
    """The words of a quantity, in which a line does not break."""
    return lambda value: words(value).replace(" ", "\u00a0")


def _stage(name: str) -> str:
    return LABELS[name].capitalize() if name in LABELS else name.replace("_", " ")


def _model(name: str) -> str:
    return MODELS.get(name, name.replace("_", " "))


def _stages(record: Report) -> Iterator[dict[str, Any]]:
    """Each stage with its result in a few words, and its share of the longest stage's time."""
    results = {
        "data": amounts(record),
        "conversion": f"logits within {record.parity.max_abs_diff:.1e}",
    }
    for name, split in record.loss.items():
        results[name] = f"held-out loss {split.eval.first:.3g} to {split.eval.last:.3g}"
    for model, result in record.accuracy.items():
        results[f"evaluate_{model}"] = f"{percent(result.value)} of {result.task}"
    longest = max(record.seconds.values()) or 1
    for name, stage in record.stages.items():
        yield {
            **dict(stage),
            "title": _stage(name),
            "result": results.get(name, ""),
            "share": stage.seconds / longest,
        }


def _sets(record: Report) -> Iterator[tuple[str, str, str, dict[str, Any] | None]]:
    """Each set of data: its name in ids, its title, what it consists of, and `_sources`."""
    *earlier, (title, last) = data_by_phase(record).items()
    for number, (phase, sources) in enumerate(earlier):
        yield f"earlier-{number}", phase, "documents", _sources(sources)
    yield "pretraining", title, "documents", _sources(last)
    yield "tuning", "Fine-tuning", "examples", _sources(record.sft_data)


def _sources(sources: dict[str, SourceSummary] | None) -> dict[str, Any] | None:
    """The sources of a set with their shares of its tokens, and a table of their documents."""
    if not sources:
        return None
    total = sum(source.tokens for source in sources.values())
    reasons = sorted({why for source in sources.values() for why in source.documents.rejected})
    weighted = any(source.weight is not None for source in sources.values())
    columns = ["source", "tokens kept", "share", *(["weight"] if weighted else []), "read", "kept"]
    parts, rows, start = [], [], 0.0
    for number, (name, source) in enumerate(sources.items()):
        share = source.tokens / (total or 1)
        parts.append({"name": name, "share": share, "start": start})
        start += share
        key = Markup('<span class="source"><span class="key s{}"></span>{}</span>').format(
            number % 6, visible(name)
        )
        cells = [key, f"{source.tokens:,}", percent(share)]
        if weighted:
            cells.append("" if source.weight is None else f"{source.weight:g}")
        documents = source.documents
        rejected = (documents.rejected.get(reason, 0) for reason in reasons)
        cells += [f"{n:,}" for n in (documents.read, documents.kept, *rejected)]
        rows.append(cells)
    return {
        "total": total,
        "sources": parts,
        "rejected": sum(sum(s.documents.rejected.values()) for s in sources.values()),
        "columns": [*columns, *(reason.replace("_", " ") for reason in reasons)],
        "rows": rows,
    }


def _trainings(record: Report) -> Iterator[dict[str, Any]]:
    for name, splits in record.curves.items():
        (first, last), (held_out, end) = (
            (f"{curve[0][1]:.3g}", f"{curve[-1][1]:.3g}") for curve in (splits.train, splits.eval)
        )
        chart = charts.losses(
            f"loss-{name}",
            f"{_stage(name)}: loss by step",
            f"Training loss from {first} to {last}, held-out loss from {held_out} to {end}, on a "
            "logarithmic axis.",
            {"training": splits.train, "held out": splits.eval},
        )
        yield {"title": _stage(name), "last": end, "chart": Markup(chart)}  # noqa: S704 (ours)


def _accuracy(results: dict[str, ReportAccuracy]) -> dict[str, Any] | None:
    if not results:
        return None
    rows, bars = [], []
    for model, result in results.items():
        label = f"{_model(model)}, {result.task}"
        bars.append((visible(label), result.value, result.low, result.high))
        for metric, figures in (result.metrics or {result.metric: result}).items():
            interval = f"{percent(figures.low)} to {percent(figures.high)}, {result.interval}"
            cells = (_model(model), result.task, metric, result.form, result.shots)
            rows.append([*cells, percent(figures.value), interval, f"{figures.n:,}"])
    description = "; ".join(
        f"{label}: {percent(value)}, {percent(low)} to {percent(high)}"
        for label, value, low, high in bars
    )
    chart = charts.accuracies("accuracies", "Accuracy with 95 % intervals", description, bars)
    kinds = sorted({result.interval for result in results.values()})
    return {"rows": rows, "chart": Markup(chart), "intervals": " or ".join(kinds)}  # noqa: S704
