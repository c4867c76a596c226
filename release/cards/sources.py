"""The data of a card: its sources, what was rejected, and which benchmarks were looked for."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from release.cards.left_out import LeftOut
from release.cards.metadata import HUB_ID
from release.markdown import escape
from release.mixtures import earlier_mixtures, last_mixture, titled
from release.records import RunRecords
from tinymathreason.provenance import file_hash
from tinymathreason.records.mixture import BenchmarkRecord, Mixture, RecipeSource
from tinymathreason.records.tuning import SftRecord
from tinymathreason.tables import markdown_table

_DATASET = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?/")
_COMMIT = 10
"""Characters of a commit that are shown."""


def pretraining(records: RunRecords, left_out: LeftOut) -> dict[str, dict[str, Any] | None]:
    """The sources of each phase of pretraining, by a title; None without a record of the last one.

    `InputError` for a mixture that the records do not name as that of an earlier phase.
    """
    mixtures = titled(earlier_mixtures(records, left_out), last_mixture(records, left_out))
    *earlier, (title, last) = mixtures.items()
    parts = {phase: _mixture(mixture) for phase, mixture in earlier if mixture}
    return {**parts, title: _mixture(last) if last else None}


def _mixture(mixture: Mixture) -> dict[str, Any]:
    recipe = mixture.recipe.sources
    total = sum(source.weight for source in recipe.values())
    rows = []
    for name, source in mixture.sources.items():
        planned, passes = recipe.get(name), mixture.epochs.get(name)
        rows.append(
            [
                escape(name),
                origin(planned),
                *_terms(planned),
                f"{100 * planned.weight / total:.3g} %" if planned else None,
                f"{source.documents.read:,}",
                f"{source.documents.kept:,}",
                f"{source.tokens:,}",
                None if passes is None else f"{passes:.3g}",
            ]
        )
    head = [
        "source",
        "from",
        "licence",
        "text by",
        "weight",
        "documents read",
        "kept",
        "tokens",
        "passes planned",
    ]
    rejected = {name: source.documents.rejected for name, source in mixture.sources.items()}
    return {
        "table": markdown_table(head, rows),
        "rejected": _rejected(rejected, "documents"),
        "contamination": contamination(
            "Pretraining", mixture.recipe.decontaminate, rejected, "documents"
        ),
        "datasets": datasets(recipe.values()),
        "generators": generators(recipe.values()),
    }


def tuning(records: RunRecords, left_out: LeftOut) -> dict[str, Any] | None:
    """The sources of supervised fine-tuning; None for another fine-tuning."""
    tuned, examples, path = records.tuned, records.examples, records.examples_path
    if not isinstance(tuned, SftRecord):
        left_out.add("sources of fine-tuning", "only the record of supervised fine-tuning has them")
        return None
    if examples and tuned.manifest != file_hash(path):
        left_out.add(
            "origin of the examples", f"{path} is not of the examples that were trained on"
        )
        examples = None
    configured = examples.inputs.data.sources if examples else {}
    rows = []
    for name, counts in tuned.counts.items():
        numbers = (counts.read, counts.kept, counts.train, counts.eval, counts.tokens)
        planned = configured.get(name)
        words = (escape(name), origin(planned), *_terms(planned))
        rows.append([*words, *(f"{n:,}" for n in numbers)])
    head = [
        "source",
        "from",
        "licence",
        "text by",
        "examples read",
        "kept",
        "to train on",
        "held out",
        "tokens",
    ]
    rejected = {name: counts.rejected for name, counts in tuned.counts.items()}
    benchmarks = examples.inputs.data.decontaminate if examples else None
    return {
        "table": markdown_table(head, rows),
        "rejected": _rejected(rejected, "examples"),
        "contamination": contamination("Fine-tuning", benchmarks, rejected, "examples"),
        "datasets": datasets(configured.values()),
        "generators": generators(configured.values()),
    }


def _terms(source: RecipeSource | None) -> tuple[str | None, str | None]:
    """The licence of a source, and the models that wrote its text."""
    if source is None:
        return None, None
    licence = escape(source.license) if source.license else None
    return licence, ", ".join(map(escape, source.generated_by)) or None


def _rejected(rejected: Mapping[str, Mapping[str, int]], unit: str) -> str:
    """A table of what was rejected, by source and reason."""
    rows = [
        [escape(name), escape(reason.replace("_", " ")), f"{count:,}"]
        for name, counts in rejected.items()
        for reason, count in counts.items()
    ]
    return markdown_table(["source", "reason", unit], rows)


def contamination(
    stage: str,
    benchmarks: Iterable[BenchmarkRecord] | None,
    rejected: Mapping[str, Mapping[str, int]],
    unit: str,
) -> str | None:
    """Which benchmarks' questions were looked for, and how many documents contained one."""
    if benchmarks is None:
        return None
    names = sorted({dataset_name(benchmark.path) for benchmark in benchmarks})
    if not names:
        return f"{stage}: no benchmark's questions were looked for."
    number = sum(counts.get("contaminated", 0) for counts in rejected.values())
    return (
        f"{stage}: the questions of {', '.join(names)} were looked for; {number:,} {unit} held one "
        "and were rejected."
    )


def datasets(sources: Iterable[RecipeSource]) -> list[str]:
    """The hub's names of the datasets among the sources of a recipe."""
    names: dict[str, None] = {}
    for source in sources:
        path = source.path or ""
        if dataset := hub_dataset(path):
            names[dataset[0]] = None
        elif source.format == "hf" and re.fullmatch(r"[\w-]+/[\w.-]+", path):
            names[path] = None
    return [name for name in names if HUB_ID.fullmatch(name)]


def generators(sources: Iterable[RecipeSource]) -> list[str]:
    """The models that wrote text of the sources, each once."""
    return list(dict.fromkeys(name for source in sources for name in source.generated_by))


def text_terms(generators: Iterable[str], name: str) -> str | None:
    """What the licences of models that wrote the training text may ask of a model of this name.

    Llama's, from 3.1 on (section 1.b.i), wants "Llama" at the beginning of the name of a published
    model that was trained on a Llama's text.
    """
    models = list(dict.fromkeys(generators))
    if not models:
        return None
    words = f"{', '.join(map(escape, models))}; their licences may set terms for this model"
    is_llama = any(re.match(r"(?i)(.*/)?llama", model) for model in models)
    if is_llama and not name.lower().startswith("llama"):
        words += ", and Llama's wants its name to begin with Llama"
    return words


def hub_dataset(path: str) -> tuple[str, str | None] | None:
    """The hub's name of the dataset in a path, and the commit; None for another path."""
    match = _DATASET.match(path)
    return (match[1], match[2]) if match else None


def origin(source: RecipeSource | None) -> str | None:
    """Where a source comes from, in Markdown."""
    if source is None:
        return None
    if source.format == "arithmetic":
        return "made by data\\_prep.arithmetic"
    name = escape(dataset_name(source.path or ""))
    return f"made by the generator {name}" if source.format == "generator" else name


def dataset_name(path: str) -> str:
    """A dataset by its name and commit; a file of this machine without the folders above it."""
    if dataset := hub_dataset(path):
        name, commit = dataset
        return f"{name} at {commit[:_COMMIT]}" if commit else name
    return "/".join(Path(path).parts[-2:]) if path.startswith("/") else path
