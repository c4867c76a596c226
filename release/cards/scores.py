"""The evaluations of a run in; their table, and the results for a card's metadata, out."""

from typing import TYPE_CHECKING, Any

from release.cards.facts import Facts, Places, Record, listed, say, share
from release.cards.metadata import HUB_ID
from release.cards.sources import hub_dataset, name_of
from release.markdown import escape, one_line
from tinymathreason.files import whole
from tinymathreason.provenance import asking_hash
from tinymathreason.tables import markdown_table

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

HUB_METRICS = {"strict": "exact_match", "flexible": "exact_match", "acc": "accuracy"}
"""The hub's names of our metrics; others keep theirs."""
HEAD = ["model", "task", "metric", "value", "95 % interval", "n", "shots", "form", "decoding"]


def scores(facts: Facts, places: Places, sha256: str) -> dict[str, Any]:
    """Every evaluation of the model whose weights have this hash, and of its base.

    Those of other weights, or asked otherwise than the model is now, are left out and named.
    """
    rows: list[list[str | None]] = []
    measured: list[str] = []
    results: list[EvalResult] = []
    commands: list[list[str]] = []
    paths = whole(places.evaluation, "*/results.json")
    if not paths:
        facts.lack("accuracy", f"{places.evaluation}: no evaluation there")
    base = _base_hash(places)
    for path in paths:
        record = facts.record(path)
        name = path.parent.name
        weights = record.take(f"evaluation {name}", "model_sha256", kind=str)
        if weights not in (sha256, base):
            if weights is not None:
                facts.lack(f"evaluation {name}", f"{path} is of other weights")
            continue
        mine = weights == sha256
        asking = record.take(f"tokenizer of evaluation {name}", "asking_sha256", kind=str)
        folder = places.model if mine else places.base
        if asking is None:
            continue
        if folder.is_dir() and asking != asking_hash(folder):
            facts.lack(
                f"evaluation {name}",
                f"{path} is of another tokenizer, template or generation configuration",
            )
            continue
        commands.append(record.maybe("command", kind=list) or [])
        figures = list(_metrics(record, name))
        for metric, part in figures:
            rows.append(["this model" if mine else "its base", *_row(record, name, metric, part)])
        if not mine:
            continue
        measured += [text] if (text := _how(record, name)) else []
        results += [r for metric, part in figures if (r := _result(record, name, metric, part))]
    return {
        "table": markdown_table(HEAD, rows),
        "measured": measured,
        "results": results,
        "commands": commands,
    }


def _base_hash(places: Places) -> str | None:
    """Of the weights that the model was tuned from."""
    if places.tuning is None:
        return None
    found = Facts().record(places.model / places.tuning).maybe("base")
    return str(found) if found else None


def _metrics(record: Record, name: str) -> list[tuple[str, Record]]:
    """Each metric with its part of the record, the primary one first."""
    primary = record.take(f"metric of evaluation {name}", "metric", kind=str)
    every = record.maybe("metrics")
    others = every if isinstance(every, dict) else {}
    found = [] if primary is None else [(primary, record)]
    return found + [(m, record.under("metrics", m)) for m in others if m != primary]


def _row(record: Record, name: str, metric: str, part: Record) -> list[str | None]:
    of = f"of evaluation {name}"
    value, low, high = (
        part.take(f"{figure} {of}", key)
        for figure, key in (("value", "value"), ("interval", "low"), ("interval", "high"))
    )
    return [
        say("{}", record.take(f"task {of}", "task", kind=str)),
        escape(metric),
        share(value),
        None if low is None or high is None else f"{share(low)} to {share(high)}",
        say("{:,}", part.take(f"number of problems {of}", "n")),
        say("{:,}", record.take(f"shots {of}", "shots")),
        say("{}", record.take(f"form {of}", "form", kind=str)),
        _decoding(record, of),
    ]


def _decoding(record: Record, of: str) -> str | None:
    if record.take(f"decoding {of}", "decoding", kind=dict) is None:
        return None
    part = record.under("decoding")
    if by := part.maybe("by", kind=str):
        return listed(
            say("by {}", by),
            say("{}", part.maybe("dtype", kind=str)),
            say("{}", part.maybe("backend", kind=str)),
        )
    sampled = part.take(f"decoding {of}", "do_sample", kind=bool)
    samples = part.maybe("samples", kind=int)
    words = None
    if sampled is not None:
        words = "greedy"
        if sampled:
            temperature = part.take(f"temperature {of}", "temperature")
            words = say("sampled at temperature {:g}", temperature) or "sampled"
    return listed(
        words,
        say("up to {:,} tokens", part.take(f"longest answer {of}", "max_gen_toks")),
        say("{:,} samples a problem", samples) if samples not in (None, 1) else None,
        say("seed {}", part.maybe("seed", kind=int)) if sampled else None,
        say("{}", part.maybe("dtype", kind=str)),
        say("{}", part.maybe("backend", kind=str)),
    )


def _how(record: Record, name: str) -> str | None:
    """How the model of the card was asked, on one line."""
    of = f"of evaluation {name}"
    data = record.maybe("dataset", "path", kind=str) or record.maybe("data", kind=str)
    rows = record.take(f"hash of the data {of}", "dataset", "sha256", kind=str)
    limit = record.maybe("limit", kind=int)
    template = None
    if record.maybe("form") == "chat":
        template = record.take(f"hash of the template {of}", "template_sha256", kind=str)
    found = listed(
        say("data {}", name_of(data)) if data else None,
        say("its rows of SHA-256 {}", rows and rows[:16]),
        say("its first {:,} problems", limit),
        say("prompt {}", record.take(f"version of the prompt {of}", "prompt_version", kind=str)),
        say("chat template of SHA-256 {}", template and template[:16]),
        say("prompts cut to the context: {:,}", record.maybe("cut_prompts", kind=int) or None),
        say("commit {}", record.maybe("commit", kind=str)),
    )
    return f"{escape(name)}: {found}." if found else None


def _dataset(record: Record) -> tuple[str, str | None] | None:
    """The hub's name of the data and its commit; None for files of this machine."""
    data = record.maybe("data", kind=str) or record.maybe("request", "data", kind=str)
    path = str(data or record.maybe("dataset", "path"))
    # A folder that was named may look like a name on the hub.
    named = data is None and "/" in path and HUB_ID.fullmatch(path)
    return hub_dataset(path) or ((path, None) if named else None)


def _result(record: Record, name: str, metric: str, part: Record) -> "EvalResult | None":
    """A row of the model-index; None without a task or a value, which are named before."""
    from huggingface_hub import EvalResult

    value = part.take(f"value of evaluation {name}", "value")
    task, metric = one_line(record.maybe("task", kind=str) or ""), one_line(metric)
    if value is None or not task or not metric:
        return None
    dataset, commit = _dataset(record) or (task, None)
    shots, form = record.maybe("shots"), record.maybe("form")
    asked = ", ".join(
        words
        for words in (
            one_line(form) if isinstance(form, str) else "",
            f"{shots}-shot" if isinstance(shots, int) else "",
        )
        if words
    )
    interval = {key: part.maybe(key) for key in ("low", "high", "n")}
    return EvalResult(
        task_type="text-generation",
        dataset_type=dataset,
        dataset_name=task,
        dataset_revision=commit,
        metric_type=HUB_METRICS.get(metric, metric),
        metric_value=value,
        metric_name=f"{metric} ({asked})" if asked else metric,
        metric_args={k: v for k, v in interval.items() if isinstance(v, (int, float))} or None,
    )
