"""The folder of a pipeline's run in; everything its stages recorded out, as one dictionary."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pretrain.watch.history import HELD_OUT, LOSS, WEIGHTS, History
from tinymathreason import provenance
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, read_json_lines, whole

SAMPLES = 3
"""Right answers that a report shows, and wrong ones."""
_ACCURACY = ("task", "metric", "value", "low", "high", "n", "shots", "form")
_SAMPLE = ("question", "completions", "expected", "correct")
_STAGE = ("command", "commit", "seconds", "peak_bytes")

Curve = list[tuple[int, float]]
"""Pairs of a step and a loss in nats a token."""


def collect(run: Path) -> dict[str, Any]:
    """What the report shows, read from the stages' own records; nothing is measured here.

    Raises `InputError` naming the record that is missing.
    """
    stages = {path.stem: read_json(path) for path in whole(run / "stages", "*.json")}
    if not stages:
        raise InputError(f"{run}: no stage was run there; run a pipeline first")
    for name, stage in stages.items():
        if not stage["finished"]:
            raise InputError(f"{run}: stage {name} is not finished; run the pipeline again")
    in_order = sorted(
        stages, key=lambda name: stages[name].get("attempts", [{}])[0].get("started", 0)
    )
    manifest = read_json(run / "mixture" / "manifest.json")
    conversion = read_json(run / "base" / "conversion.json")
    if not conversion.get("parity"):
        raise InputError(f"{run}: the conversion was not proven; convert without --skip-parity")
    sft = read_json(run / "sft" / "model" / "sft.json")
    pretrain_train, pretrain_eval, pretrain_tokens = pretrain_curves(run / "pretrain")
    curves = {
        "pretrain": {"train": pretrain_train, "eval": pretrain_eval},
        "sft": {"train": _history(sft, "loss"), "eval": _history(sft, "eval_loss")},
    }
    for stage, splits in curves.items():
        for split, curve in splits.items():
            if not curve:
                raise InputError(f"{run}: stage {stage} recorded no {split} loss")
    return {
        "run": str(run),
        "stages": {name: {key: stages[name].get(key) for key in _STAGE} for name in in_order},
        "data": _mixture(manifest),
        "sft_data": _sft_data(run / "sft"),
        "seconds": {name: stage["seconds"] for name, stage in stages.items()},
        "peak_bytes": {name: stage["peak_bytes"] for name, stage in stages.items()},
        "tokens": {
            "data": sum(source["tokens"] for source in manifest["sources"].values()),
            "pretrain": pretrain_tokens,
            "sft": sft["tokens"],
        },
        "parameters": conversion["parameters"],
        "parity": conversion["parity"],
        "loss": {
            stage: {split: {"first": c[0][1], "last": c[-1][1]} for split, c in splits.items()}
            for stage, splits in curves.items()
        },
        "curves": curves,
        "accuracy": _accuracies(run),
        "samples": _samples(run / "evaluation" / "sft" / "samples.jsonl"),
        **provenance.record().model_dump(),
    }


def pretrain_curves(run: Path) -> tuple[Curve, Curve, int]:
    """Training and held-out loss by step, and the tokens trained on, from TensorBoard events.

    ``run`` is the folder of a pretraining run. After a resume a step may have been written twice;
    the later value is the one that counted.
    """
    history = History(str(run))
    history.update()
    found = {tag: history.series(tag) for tag in (LOSS, HELD_OUT, WEIGHTS)}
    missing = [tag for tag, series in found.items() if not len(series.steps)]
    if missing:
        raise InputError(f"{run}: no TensorBoard events of {', '.join(missing)}")
    train, held_out = (
        list(zip(found[tag].steps.tolist(), found[tag].values.tolist(), strict=True))
        for tag in (LOSS, HELD_OUT)
    )
    return train, held_out, int(found[WEIGHTS].values.sum())


def _history(sft: dict[str, Any], key: str) -> Curve:
    return [(entry["step"], entry[key]) for entry in sft["history"] if key in entry]


def _mixture(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By source of pretraining: tokens, the weight in training and documents by their fate."""
    planned = manifest.get("recipe", {}).get("sources", {})
    return {
        name: {
            "tokens": source["tokens"],
            "weight": planned.get(name, {}).get("weight"),
            "documents": source.get("documents"),
        }
        for name, source in manifest["sources"].items()
    }


def flat(value: Any) -> Any:
    """A record with the fields of its provenance beside its own."""
    if isinstance(value, dict) and isinstance(value.get("provenance"), dict):
        return {**value["provenance"], **value}
    return value


def examples_folder(run: Path) -> Path:
    """Where the examples of a run of fine-tuning are: in its ``data``, or where it was told."""
    inputs = read_json(run / "inputs.json") if (run / "inputs.json").is_file() else {}
    chosen = inputs.get("values", {}).get("data_dir")
    return Path(chosen) if chosen else run / "data"


def _sft_data(run: Path) -> dict[str, dict[str, Any]] | None:
    """By source of fine-tuning: tokens, examples by their fate; None when nothing tells of them."""
    path = examples_folder(run) / "manifest.json"
    if not path.is_file():
        return None
    keys = ("read", "kept", "rejected")
    return {
        name: {
            "tokens": source["tokens"],
            "weight": None,
            "documents": {key: source[key] for key in keys},
        }
        for name, source in read_json(path)["sources"].items()
    }


def _accuracies(run: Path) -> dict[str, dict[str, Any]]:
    """By model: its primary metric with the interval and how it was asked, and all metrics."""
    found = {}
    for path in whole(run / "evaluation", "*/results.json"):
        result = read_json(path)
        found[path.parent.name] = {
            **_only(result, _ACCURACY, path),
            "interval": result.get("interval", "Wilson"),
            "metrics": result.get("metrics", {}),
        }
    return found


def _samples(path: Path) -> list[dict[str, Any]]:
    """The tuned model's first right answers, then its first wrong ones."""
    right: list[dict[str, Any]] = []
    wrong: list[dict[str, Any]] = []
    for line in read_json_lines(path):
        sample = _only(line, _SAMPLE, path)
        (right if sample["correct"] else wrong).append(sample)
    return right[:SAMPLES] + wrong[:SAMPLES]


def _only(record: dict[str, Any], keys: Sequence[str], path: Path) -> dict[str, Any]:
    """Those ``keys`` of a record; `InputError` when an older evaluation has left one out."""
    if missing := [key for key in keys if key not in record]:
        raise InputError(f"{path}: has no {', '.join(missing)}; remove its folder, evaluate again")
    return {key: record[key] for key in keys}
