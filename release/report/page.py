"""The report of a run in; one self-contained HTML page out, without scripts or requests."""

import html
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from release.report import charts
from release.report.charts import count, duration, gibibytes, percent
from release.typeset import STYLE, typeset
from tinymathreason import processor

STAGES = {
    "data": "Data preparation",
    "pretrain": "Pretraining",
    "conversion": "Conversion and parity",
    "sft": "Fine-tuning",
    "evaluate_base": "Evaluation, base",
    "evaluate_sft": "Evaluation, tuned",
}
MODELS = {"base": "Base model", "sft": "Tuned model"}
_CSS = Path(__file__).parent.parent / "templates" / "report.css"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(record: dict[str, Any]) -> str:
    """The whole page from what `release.records.collect` returns; every text of it is escaped.

    A part that the run has no record of is one line that says so.
    """
    name = Path(record["run"]).name
    sections = (_pipeline, _data, _training, _accuracy, _parity, _samples, _provenance)
    body = "".join(section(record) for section in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(name)}: report of a TinyMathReason run</title>\n"
        f"<style>\n{_CSS.read_text(encoding='utf-8')}{STYLE}</style>\n</head>\n<body>\n"
        f"{_header(record, name)}\n<main>\n{body}</main>\n"
        f"<footer><p>TinyMathReason, {_text(record['time'])}</p></footer>\n</body>\n</html>\n"
    )


def _header(record: dict[str, Any], name: str) -> str:
    figures = {
        "parameters": f"{record['parameters']:,}",
        "tokens of pretraining": f"{record['tokens']['pretrain']:,}",
        "all stages": duration(sum(record["seconds"].values())),
        "peak memory": gibibytes(max(record["peak_bytes"].values())),
    }
    for model, accuracy in record["accuracy"].items():
        figures[f"{_model(model).lower()}, {accuracy['task']}"] = percent(accuracy["value"])
    items = "".join(
        f"<div><dt>{_text(k)}</dt><dd>{_text(v)}</dd></div>" for k, v in figures.items()
    )
    return (
        f'<header><p class="kicker">TinyMathReason, run {_text(record["run"])}</p>'
        f'<h1>Report of {_text(name)}</h1><dl class="figures">{items}</dl></header>'
    )


def _pipeline(record: dict[str, Any]) -> str:
    results = _results(record)
    longest = max(record["seconds"].values()) or 1
    cards = []
    for name in record["stages"]:
        seconds = record["seconds"][name]
        cost = f"{duration(seconds)}, {gibibytes(record['peak_bytes'][name])}"
        bar = f'<i style="width:{100 * seconds / longest:.1f}%"></i>'
        cards.append(
            f"<li><h3>{_text(_stage(name))}</h3>"
            f'<p class="result">{_text(results.get(name, ""))}</p>'
            f'<p class="cost">{_text(cost)}<span class="share">{bar}</span></p></li>'
        )
    return _section(
        "Pipeline",
        '<p class="note">Each stage with its time and the memory of its largest process; '
        "the bar is its time beside the longest stage's.</p>"
        f'<ol class="flow">{"".join(cards)}</ol>',
    )


def _results(record: dict[str, Any]) -> dict[str, str]:
    """What each stage came to, in a few words."""
    results = {
        "data": f"{record['tokens']['data']:,} tokens from {count(record['data'], 'source')}",
        "conversion": f"logits within {record['parity']['max_abs_diff']:.1e}",
    }
    for stage, losses in record["loss"].items():
        first, last = losses["eval"]["first"], losses["eval"]["last"]
        results[stage] = f"held-out loss {first:.3g} to {last:.3g}"
    for model, accuracy in record["accuracy"].items():
        results[f"evaluate_{model}"] = f"{percent(accuracy['value'])} of {accuracy['task']}"
    return results


def _data(record: dict[str, Any]) -> str:
    sets = [
        _composition("pretraining", "Pretraining", "documents", record["data"]),
        _composition("tuning", "Fine-tuning", "examples", record["sft_data"]),
    ]
    return _section("Data", "".join(sets))


def _composition(name: str, title: str, unit: str, sources: dict[str, Any] | None) -> str:
    if not sources:
        return f'<h3>{title}</h3><p class="note">The run holds no record of these {unit}.</p>'
    tokens = {source: figures["tokens"] for source, figures in sources.items()}
    total = sum(tokens.values())
    shares = ", ".join(f"{source} {percent(n / (total or 1))}" for source, n in tokens.items())
    bar = charts.stacked(name, f"{title}: tokens kept by source", shares, tokens)
    counted = {s: figures["documents"] for s, figures in sources.items() if figures["documents"]}
    reasons = sorted({reason for counts in counted.values() for reason in counts["rejected"]})
    weighted = any(figures["weight"] is not None for figures in sources.values())
    columns = ["source", "tokens kept", "share", *(["weight"] if weighted else [])]
    columns += ["read", "kept", *(reason.replace("_", " ") for reason in reasons)]
    rows = []
    for number, (source, figures) in enumerate(sources.items()):
        counts = counted.get(source)
        cells = [f"{tokens[source]:,}", percent(tokens[source] / (total or 1))]
        if weighted:
            cells.append("" if figures["weight"] is None else f"{figures['weight']:g}")
        if counts:
            rejected = (counts["rejected"].get(reason, 0) for reason in reasons)
            cells += [f"{n:,}" for n in (counts["read"], counts["kept"], *rejected)]
        else:
            cells += ["not recorded"] * (2 + len(reasons))
        key = f'<span class="key s{number % 6}"></span>'
        rows.append((f'<span class="source">{key}{_text(source)}</span>', *map(_text, cells)))
    lost = sum(n for counts in counted.values() for n in counts["rejected"].values())
    said = f"Rejected, for the reasons in the last columns: {lost:,} {unit}."
    if not reasons:
        said = f"None of the {unit} was rejected."
    return (
        f"<h3>{title}</h3><figure><figcaption>{total:,} tokens kept, by source. "
        f"{said if counted else ''}</figcaption>{bar}</figure>"
        + _table(f"{title}: sources, tokens and {unit}", columns, rows)
    )


def _training(record: dict[str, Any]) -> str:
    pictures = []
    for stage, splits in record["curves"].items():
        last = record["loss"][stage]["eval"]["last"]
        picture = charts.curves(
            f"loss-{stage}",
            f"{_stage(stage)}: loss by step",
            f"Training loss from {splits['train'][0][1]:.3g} to {splits['train'][-1][1]:.3g}, "
            f"held-out loss from {splits['eval'][0][1]:.3g} to {last:.3g}, on a logarithmic axis.",
            {"training": splits["train"], "held out": splits["eval"]},
        )
        pictures.append(
            f"<figure><figcaption><strong>{_text(_stage(stage))}</strong>, "
            f"held-out loss at the end {last:.3g}</figcaption>{picture}</figure>"
        )
    return _section("Training", f'<div class="pair">{"".join(pictures)}</div>')


def _accuracy(record: dict[str, Any]) -> str:
    if not record["accuracy"]:
        return _section("Accuracy", '<p class="note">The run holds no evaluation.</p>')
    dots, rows = [], []
    for model, result in record["accuracy"].items():
        label = f"{_model(model)}, {result['task']}"
        dots.append((label, result["value"], result["low"], result["high"]))
        metrics = result["metrics"] or {result["metric"]: result}
        for metric, found in metrics.items():
            kind = found.get("interval", "Wilson")  # older records do not tell it
            interval = f"{percent(found['low'])} to {percent(found['high'])}, {kind}"
            cells = (_model(model), result["task"], metric, result["form"], result["shots"])
            measured = (percent(found["value"]), interval, f"{found['n']:,}")
            rows.append(tuple(map(_text, (*cells, *measured))))
    said = "; ".join(
        f"{label}: {percent(v)}, {percent(a)} to {percent(b)}" for label, v, a, b in dots
    )
    picture = charts.intervals("accuracy", "Accuracy with 95 % intervals", said, dots)
    kinds = sorted({result.get("interval", "Wilson") for result in record["accuracy"].values()})
    columns = ["model", "task", "metric", "form", "shots", "value", "95 % interval", "problems"]
    return _section(
        "Accuracy",
        '<figure class="narrow"><figcaption>The dot is what was measured; the whiskers are the '
        f"95 % {_text(' or '.join(kinds))} interval.</figcaption>{picture}</figure>"
        + _table("Accuracy by model and metric", columns, rows, left=range(4)),
    )


def _parity(record: dict[str, Any]) -> str:
    parity = record["parity"]
    rows = []
    words = {
        "max_abs_diff": "largest difference of two logits",
        "scale": "largest logit",
        "mean_kl": "mean divergence (KL), nats a token",
        "argmax_agreement": "same most likely token",
        "positions": "positions compared",
    }
    for key, meaning in words.items():
        if key not in parity:
            continue
        limit = parity.get({"max_abs_diff": "tolerance", "mean_kl": "kl_tolerance"}.get(key, ""))
        bound = f"{limit:.0e}" if limit is not None else ""
        if key == "max_abs_diff" and bound:
            bound += " of the largest logit"
        share = key == "argmax_agreement"
        value = f"{100 * parity[key]:.6g}\u00a0%" if share else f"{parity[key]:,.4g}"
        rows.append(tuple(map(_text, (meaning, value, bound))))
    return _section(
        "Parity",
        "<p>The same tokens went through the model that was trained and through the one that was "
        "converted, both in float32.</p>"
        + _table("Parity of both models", ["measure", "measured", "at most"], rows),
    )


def _samples(record: dict[str, Any]) -> str:
    if not record["samples"]:
        return _section("Answers", '<p class="note">The run holds no answer.</p>')
    right = [sample for sample in record["samples"] if sample["correct"]]
    wrong = [sample for sample in record["samples"] if not sample["correct"]]
    said = "The first right answers of the tuned model, then its first wrong ones."
    if not (right and wrong):
        one, other = ("right", "wrong") if right else ("wrong", "right")
        said = f"The first {one} answers of the tuned model; none was {other}."
    return _section("Answers", f"<p>{said}</p>" + "".join(map(_sample, right + wrong)))


def _sample(sample: dict[str, Any]) -> str:
    kind = "right" if sample["correct"] else "wrong"
    verdict = "Right" if sample["correct"] else f"Wrong, expected {sample['expected']}"
    more = len(sample["completions"]) - 1
    others = f'<p class="note">{count(range(more), "more answer")} to it</p>' if more > 0 else ""
    return (
        f'<article class="sample {kind}"><h3>{_text(verdict)}</h3>'
        f'<div class="question">{typeset(sample["question"])}</div>'
        f'<div class="answer" tabindex="0">{typeset(sample["completions"][0])}</div>'
        f"{others}</article>"
    )


def _provenance(record: dict[str, Any]) -> str:
    facts = {
        "Commit": record["commit"] or "not in a checkout",
        "Report made": record["time"],
        "Versions": ", ".join(" ".join(found) for found in record["versions"].items()),
        "Processor": processor.describe(record["processor"]),
    }
    items = "".join(f"<dt>{name}</dt><dd>{_text(fact)}</dd>" for name, fact in facts.items())
    commands = "".join(
        f"<h3>{_text(_stage(name))}</h3>"
        + (f"<pre>{_text(stage['command'])}</pre>" if stage["command"] else "")
        + (f'<p class="note">commit {_text(stage["commit"])}</p>' if stage["commit"] else "")
        for name, stage in record["stages"].items()
    )
    return _section("Provenance", f'<dl class="provenance">{items}</dl>{commands}')


def _section(title: str, inner: str) -> str:
    name = title.lower()
    return (
        f'<section id="{name}" aria-labelledby="{name}-heading">'
        f'<h2 id="{name}-heading">{title}</h2>{inner}</section>\n'
    )


def _table(
    label: str, columns: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)
) -> str:
    """A table of cells that are HTML already; columns not named ``left`` hold numbers."""
    kinds = ["" if number in left else ' class="n"' for number in range(len(columns))]
    heads = "".join(
        f'<th scope="col"{kind}>{_text(column)}</th>'
        for column, kind in zip(columns, kinds, strict=True)
    )
    lines = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row[1:], kinds[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(label)}">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _text(value: Any) -> str:
    return html.escape(str(value))


def _named(names: dict[str, str]) -> Callable[[str], str]:
    return lambda name: names.get(name, name.replace("_", " "))


_stage, _model = _named(STAGES), _named(MODELS)
