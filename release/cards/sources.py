"""The manifests of the data in; what was read, kept and rejected, and why, out."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release.cards.facts import Facts, Places, Record, last_start, say
from release.cards.metadata import HUB_ID
from release.markdown import escape
from tinymathreason.provenance import file_hash
from tinymathreason.tables import markdown_table

_DATASET = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?/")
_COMMIT = 10


def mixture(facts: Facts, places: Places) -> dict[str, Any]:
    """The sources of pretraining: counts, what was rejected and why, benchmarks looked for."""
    path = places.mixture / "manifest.json"
    record = facts.record(path)
    trained_on = last_start(facts, places).maybe("mixture", "manifest_sha256")
    if record.value is not None and trained_on not in (None, file_hash(path)):
        facts.lack("the data of pretraining", f"{path} is not of the mixture that was trained on")
        return {"table": None}
    sources = record.take("sources of pretraining", "sources", kind=dict) or {}
    recipe = record.under("recipe")
    weights = {name: recipe.maybe("sources", name, "weight") for name in sources}
    total = sum(w for w in weights.values() if isinstance(w, (int, float)))
    rows, rejected = [], []
    for name in sources:
        one = record.under("sources", name)
        weight = recipe.take("weights of the sources", "sources", name, "weight")
        rows.append(
            [
                escape(name),
                origin(recipe.maybe("sources", name)),
                say("{:.3g} %", weight and 100 * weight / total),
                say("{:,}", one.take("documents read", "documents", "read")),
                say("{:,}", one.take("documents kept", "documents", "kept")),
                say("{:,}", one.take("tokens of a source", "tokens")),
                say("{:.3g}", record.take("passes over the sources", "epochs", name)),
            ]
        )
        reasons = one.take("documents rejected", "documents", "rejected", kind=dict)
        rejected += reasons_rows(name, reasons)
    head = ["source", "from", "weight", "documents read", "kept", "tokens", "passes planned"]
    return {
        "table": markdown_table(head, rows),
        "rejected": markdown_table(["source", "reason", "documents"], rejected),
        "contamination": contamination(
            facts, recipe, "pretraining", sources and rejected, "documents"
        ),
        "datasets": datasets(recipe.maybe("sources")),
    }


def examples(facts: Facts, places: Places) -> dict[str, Any]:
    """The fine-tuning set: counts, what was rejected and why, benchmarks looked for."""
    assert places.tuning
    tuned = facts.record(places.model / places.tuning)
    path = places.examples / "manifest.json"
    record = facts.record(path)
    if record.value is not None and tuned.maybe("manifest") not in (None, file_hash(path)):
        facts.lack("origin of the examples", f"{path} is not of the examples that were trained on")
        record = Record(facts, str(path), {})
    data = record.under("inputs", "data")
    counts = tuned.take("examples of fine-tuning", "counts", kind=dict) or {}
    rows, rejected = [], []
    for name in counts:
        one = tuned.under("counts", name)
        rows.append(
            [
                escape(name),
                origin(data.maybe("sources", name)),
                *(
                    say("{:,}", one.take(f"examples: {label}", key))
                    for label, key in (
                        ("read", "read"),
                        ("kept", "kept"),
                        ("to train on", "train"),
                        ("held out", "eval"),
                        ("tokens", "tokens"),
                    )
                ),
            ]
        )
        rejected += reasons_rows(name, one.take("examples rejected", "rejected", kind=dict))
    head = ["source", "from", "examples read", "kept", "to train on", "held out", "tokens"]
    return {
        "table": markdown_table(head, rows),
        "rejected": markdown_table(["source", "reason", "examples"], rejected),
        "contamination": contamination(facts, data, "fine-tuning", counts and rejected, "examples"),
        "datasets": datasets(data.maybe("sources")),
    }


def reasons_rows(name: str, reasons: Mapping[str, int] | None) -> list[list[str | None]]:
    """Rows of a table of what was rejected."""
    return [
        [escape(name), escape(why.replace("_", " ")), f"{n:,}"]
        for why, n in (reasons or {}).items()
    ]


def contamination(facts: Facts, recipe: Record, stage: str, rejected: Any, what: str) -> str | None:
    """Which benchmarks' questions were looked for, and how many documents held one."""
    asked = recipe.take(f"benchmarks looked for in {stage}", "decontaminate", kind=list)
    if asked is None:
        return None
    if not asked:
        return f"{stage.capitalize()}: no benchmark's questions were looked for."
    names = ", ".join(sorted({escape(name_of(str(one.get("path")))) for one in asked}))
    number = sum(int(row[2].replace(",", "")) for row in rejected or [] if row[1] == "contaminated")
    return (
        f"{stage.capitalize()}: the questions of {names} were looked for; {number:,} {what} held "
        "one and were rejected."
    )


def datasets(sources: Any) -> list[str]:
    """The hub's names of the datasets among a recipe's sources."""
    found: dict[str, None] = {}
    for source in (sources or {}).values() if isinstance(sources, dict) else ():
        path = str(source.get("path"))
        if match := _DATASET.match(path):
            found[match[1]] = None
        elif source.get("format") == "hf" and re.fullmatch(r"[\w-]+/[\w.-]+", path):
            found[path] = None
    return [name for name in found if HUB_ID.fullmatch(name)]


def hub_dataset(path: str) -> tuple[str, str | None] | None:
    """The hub's name of the dataset in a path, and the commit; None for another path."""
    match = _DATASET.match(path)
    return (match[1], match[2]) if match else None


def origin(source: Any) -> str | None:
    """Where a recipe's source comes from."""
    if not isinstance(source, dict):
        return None
    if source.get("format") == "arithmetic":
        return "made by data\\_prep.arithmetic"
    if source.get("format") == "generator":
        return say("made by the generator {}", source.get("path"))
    return say("{}", name_of(str(source.get("path"))))


def name_of(path: str) -> str:
    """A dataset by its name and commit; a file of this machine without the folders above it."""
    if match := _DATASET.match(path):
        return match[1] + (f" at {match[2][:_COMMIT]}" if match[2] else "")
    return "/".join(Path(path).parts[-2:]) if path.startswith("/") else path
