"""The folder of a pipeline's run in; everything its stages recorded out, as one dictionary."""

import json
from pathlib import Path
from typing import Any

from pretrain.history import HELD_OUT, LOSS, WEIGHTS, History
from tinymathreason import provenance
from tinymathreason.cli import InputError
from tinymathreason.files import read_json

Curve = list[tuple[int, float]]
"""Pairs of a step and a loss in nats a token."""


def collect(run: Path) -> dict[str, Any]:
    """What the report shows, read from the stages' own records; nothing is measured here.

    Raises `InputError` naming the record that is missing.
    """
    stages = {path.stem: read_json(path) for path in sorted((run / "stages").glob("*.json"))}
    if not stages:
        raise InputError(f"{run}: no stage was run there; run a pipeline first")
    for name, stage in stages.items():
        if not stage["finished"]:
            raise InputError(f"{run}: stage {name} is not finished; run the pipeline again")
    manifest = read_json(run / "mixture" / "manifest.json")
    conversion = read_json(run / "base" / "conversion.json")
    if "parity" not in conversion:
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
        "samples": _samples(run, 3),
        **provenance.record(),
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


def _accuracies(run: Path) -> dict[str, dict[str, Any]]:
    """By model: task, value, low, high and n."""
    keys = ("task", "value", "low", "high", "n")
    found = {}
    for path in sorted((run / "evaluation").glob("*/results.json")):
        result = read_json(path)
        found[path.parent.name] = {key: result[key] for key in keys}
    return found


def _samples(run: Path, count: int) -> list[dict[str, Any]]:
    """The tuned model's answers to the first problems of its evaluation."""
    path = run / "evaluation" / "sft" / "samples.jsonl"
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:count]]
