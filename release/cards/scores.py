"""The evaluations of a card: their table, and the results for its metadata."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from release.breakdown import Evaluation, as_markdown, breakdowns
from release.cards.left_out import LeftOut
from release.cards.metadata import HUB_ID
from release.cards.sources import dataset_name, hub_dataset
from release.markdown import escape, one_line
from release.records import RunRecords
from tinymathreason.provenance import asking_hash, model_hash
from tinymathreason.records.evaluation import Decoding, MetricEstimate, Results
from tinymathreason.tables import markdown_table

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

HUB_METRICS = {"strict": "exact_match", "flexible": "exact_match", "acc": "accuracy"}
"""The hub's names of our metrics; others keep theirs."""
HEAD = ["model", "task", "metric", "value", "95 % interval", "n", "shots", "form", "decoding"]


@dataclass
class Scores:
    """The evaluations of a model, of the one that it was tuned from, and of the first of them."""

    table: str = ""
    measured: list[str] = field(default_factory=list)
    """How each evaluation of this model was made."""
    results: list["EvalResult"] = field(default_factory=list)
    """Rows of the metadata."""
    commands: list[list[str]] = field(default_factory=list)
    breakdowns: list[dict[str, str]] = field(default_factory=list)
    """Further tables of this model's and its base's evaluations: ``title``, ``table``, ``note``."""


def scores(records: RunRecords, sha256: str, began: Path | None, left_out: LeftOut) -> Scores:
    """The evaluations of the model whose weights have this hash, and of those it comes from.

    These are its base, and the model in the folder ``began``. Evaluations of other weights, or of
    another tokenizer or template than the model has now, are left out.
    """
    folders, tuned = records.folders, records.tuned
    models = {model_hash(began): ("the open model it began with", began)} if began else {}
    if tuned:
        models[tuned.base] = ("its base", folders.base)
    models[sha256] = ("this model", folders.model)
    scores, rows, evaluations = Scores(), [], []
    for path, results in records.results.items():
        label, folder = models.get(results.model_sha256, ("", None))
        if reason := _not_of(path, results, folder):
            left_out.add(f"evaluation {path.parent.name}", reason)
            continue
        mine = results.model_sha256 == sha256
        scores.commands.append(results.provenance.command)
        searched = records.contamination.get(path)
        evaluations.append(Evaluation(path.parent.name, results, searched))
        for metric, estimate in _metrics(results):
            rows.append([label, *_row(results, metric, estimate)])
            if mine:
                scores.results += _hub_results(results, metric, estimate)
        if mine:
            scores.measured.append(f"{path.parent.name}: {_how(results)}.")
    scores.table = markdown_table(HEAD, rows)
    scores.breakdowns = [
        {"title": part.title, "table": as_markdown(part), "note": part.note}
        for part in breakdowns(evaluations, _percent)
    ]
    return scores


def _not_of(path: Path, results: Results, folder: Path | None) -> str | None:
    """Why an evaluation is not of the model in a folder; None when it is."""
    if folder is None:
        return f"{path} is of other weights"
    if folder.is_dir() and results.asking_sha256 != asking_hash(folder):
        return f"{path} is of another tokenizer, template or generation configuration"
    return None


def _metrics(results: Results) -> list[tuple[str, MetricEstimate]]:
    """Every metric, the first one of the benchmark at the head."""
    first = MetricEstimate(**{name: getattr(results, name) for name in MetricEstimate.model_fields})
    others = [(name, e) for name, e in results.metrics.items() if name != results.metric]
    return [(results.metric, first), *others]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _row(results: Results, metric: str, estimate: MetricEstimate) -> list[str]:
    return [
        escape(results.task),
        escape(metric),
        _percent(estimate.value),
        f"{_percent(estimate.low)} to {_percent(estimate.high)}",
        f"{estimate.n:,}",
        f"{results.shots:,}",
        results.form,
        escape(_decoding(results.decoding)),
    ]


def _decoding(decoding: Decoding) -> str:
    words = [f"by {decoding.by}"]
    if decoding.by == "generation":
        words = ["greedy"]
        if decoding.do_sample:
            words = [f"sampled at temperature {decoding.temperature or 1:g}"]
        if decoding.max_gen_toks:
            words.append(f"up to {decoding.max_gen_toks:,} tokens")
        if decoding.samples > 1:
            words.append(f"{decoding.samples:,} samples a problem")
        if decoding.do_sample:
            words.append(f"seed {decoding.seed}")
    return ", ".join([*words, decoding.dtype, decoding.backend])


def _how(results: Results) -> str:
    """How the evaluation was made."""
    data, limit = results.dataset.path or results.request.data, results.request.limit
    words = {
        "data": dataset_name(data) if data else None,
        "its rows of SHA-256": results.dataset.sha256[:16],
        "its first": f"{limit:,} problems" if limit else None,
        "prompt": results.prompt_version,
        "chat template of SHA-256": results.template_sha256 and results.template_sha256[:16],
        "prompts cut to the context:": results.cut_prompts and f"{results.cut_prompts:,}",
        "commit": results.provenance.commit,
    }
    return ", ".join(f"{name} {value}" for name, value in words.items() if value)


def _dataset(results: Results) -> tuple[str, str | None] | None:
    """The hub's name of the data and its commit; None for files of this machine."""
    path = results.request.data or results.dataset.path or ""
    # A folder that the user named may look like a name on the hub.
    named = results.request.data is None and "/" in path and HUB_ID.fullmatch(path)
    return hub_dataset(path) or ((path, None) if named else None)


def _hub_results(results: Results, metric: str, estimate: MetricEstimate) -> list["EvalResult"]:
    """The row of the model-index; none for a task or a metric without a visible name."""
    from huggingface_hub import EvalResult

    task, metric = one_line(results.task), one_line(metric)
    if not task or not metric:
        return []
    dataset, commit = _dataset(results) or (task, None)
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=dataset,
            dataset_name=task,
            dataset_revision=commit,
            metric_type=HUB_METRICS.get(metric, metric),
            metric_value=estimate.value,
            metric_name=f"{metric} ({results.form}, {results.shots}-shot)",
            metric_args={"low": estimate.low, "high": estimate.high, "n": estimate.n},
        )
    ]
