"""What a ladder foretells of a run's quality, beside its days and dollars."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretrain import mixture, run
from pretrain.ladder import forecast
from pretrain.ladder.forecast import Target
from pretrain.model import Model
from tinymathreason import provenance
from tinymathreason.records.ladder import LadderReport
from tinymathreason.records.mixture import Draws, Mixture

PADDING = 256
"""Most entries by which ``vocab_size`` is above the tokenizer's, for a tokenizer that is absent."""
SAME_SHARE = 1e-6
"""Difference of two shares that are the same."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quality:
    """The printed part of a forecast of loss and accuracy."""

    rows: list[tuple[str, str]]
    """Of the table: what, and the estimate."""
    notes: list[str]
    """Lines below it: why the estimates may be wrong."""
    numbers: dict[str, Any]
    """For JSON."""


def quality(report: LadderReport, config: Mapping[str, Any], tokens_per_step: int) -> Quality:
    """The forecast of an overlay, resolved to ``config``, whose step has so many tokens."""
    model = Model.from_config(config)
    tokens = (run.last_step(dict(config)) + 1) * tokens_per_step
    target = Target(weights=model.matrices, tokens=tokens, flops=tokens * model.flops_per_token)
    notes = [_start(config), _vocabulary(report, config), _mixture(report, config)]
    if reasons := forecast.doubts(report, target):
        notes.insert(0, f"the ladder is too small to believe these estimates: {'; '.join(reasons)}")
    return Quality(
        rows=forecast.rows(report, target),
        notes=[note for note in notes if note],
        numbers=forecast.numbers(report, target),
    )


def _start(config: Mapping[str, Any]) -> str:
    if not config["load_parameters_path"]:
        return ""
    return (
        "the run starts from trained weights (load_parameters_path), and the ladder's runs from "
        "random ones: these estimates are not of this run"
    )


def _vocabulary(report: LadderReport, config: Mapping[str, Any]) -> str:
    """A line when the ladder's vocabulary is not the run's, or may not be; else empty."""
    entries, given = report.vocab_size, int(config["vocab_size"])
    if entries is None:
        return "the ladder's report names no vocabulary, so it cannot be compared with the run's"
    words = f"{entries:,} entries, the run's vocab_size is {given:,}"
    tokenizer = Path(str(config["tokenizer_path"])) / "tokenizer.json"
    if report.tokenizer_sha256 and tokenizer.is_file():
        if provenance.file_hash(tokenizer) == report.tokenizer_sha256:
            return ""
        return f"the ladder's vocabulary is not the run's ({words}): a loss a token differs"
    if not entries <= given < entries + PADDING:
        return f"the ladder's vocabulary is not the run's ({words}): a loss a token differs"
    return (
        f"{tokenizer.parent} is not here, so that the ladder's vocabulary could only be compared "
        f"by its size ({words})"
    )


def _mixture(report: LadderReport, config: Mapping[str, Any]) -> str:
    """A line when the ladder's mixture is not the run's, or may not be; else empty."""
    path = Path(str(config[mixture.MIXTURE] or ""))
    if report.mixture is None:
        return "the ladder's report names no mixture, so it cannot be compared with the run's"
    if not path.is_file():
        return (
            f"the run's mixture {path} is not here, so it could not be compared with the ladder's"
            if config[mixture.MIXTURE]
            else "the run names no mixture, so it could not be compared with the ladder's"
        )
    found = mixture.record(dict(config))
    if found and found.content_sha256 == report.mixture.content_sha256:
        return ""
    shares = _shares(path)
    if shares.keys() == report.shares.keys() and all(
        abs(share - report.shares[name]) < SAME_SHARE for name, share in shares.items()
    ):
        return "the ladder's mixture has the run's sources and weights, but other documents"
    return (
        f"the ladder's mixture ({', '.join(report.shares)}) is not the run's "
        f"({', '.join(shares)}): other sources or weights"
    )


def _shares(path: Path) -> dict[str, float]:
    """The shares of the tokens of a mixture.json; of the records where it has no manifest."""
    manifest = path.with_name("manifest.json")
    if path.name == "mixture.json" and manifest.is_file():
        return Mixture.load(manifest).recipe.shares
    draws = Draws.load(path).root
    total = sum(draw.weight for draw in draws.values())
    return {name: draw.weight / total for name, draw in draws.items()}
