"""The points of a ladder: the runs that its file asks for, each with its overlay."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pretrain import overlay
from pretrain.ladder.config import Ladder, Size
from pretrain.ladder.proxies import proxies
from pretrain.model import Model, step_tokens
from tinymathreason.cli import InputError
from tinymathreason.records.mixture import Mixture

MIXTURE_FILE = "mixture.json"
"""The draws of one point, in its folder."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of the ladder."""

    name: str
    """Unique in the ladder; the name of its folder."""
    group: str
    """``law``, ``rates`` or ``mixtures``: the part of the file that asked for it first."""
    size: str
    """Name of the size in the ladder file."""
    model: Model
    """The sizes of the model."""
    keys: Mapping[str, Any]
    """The MaxText keys of the model's size."""
    batch_tokens: int
    """Tokens of a step."""
    steps: int
    """Training steps."""
    rate: float
    """Peak learning rate."""
    weight_decay: float
    """AdamW's weight decay."""
    seed: int
    """Of the initialisation and of the order of the data."""
    shares: Mapping[str, float]
    """Share of the tokens that is drawn from each source."""

    @property
    def tokens(self) -> int:
        """Tokens that the run trains on."""
        return self.steps * self.batch_tokens

    @property
    def flops(self) -> float:
        """Operations of the training, without recomputation."""
        return float(self.tokens * self.model.flops_per_token)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What decides the result; two points that agree in it are one run."""
        return (
            self.size, self.steps, self.rate, self.weight_decay, self.seed,
            tuple(sorted(self.shares.items())),
        )  # fmt: skip

    def folder(self, ladder: Ladder) -> Path:
        """Where the point is kept."""
        return ladder.run / "points" / self.name

    def overlay(self, ladder: Ladder) -> dict[str, Any]:
        """The keys of the point's overlay, which stands in its folder."""
        folder = self.folder(ladder)
        return {
            "base_config": os.path.relpath(ladder.base.resolve(), folder.resolve()),
            **self.keys,
            "steps": self.steps,
            "learning_rate_schedule_steps": self.steps,
            "learning_rate": self.rate,
            "adam_weight_decay": self.weight_decay,
            "init_weights_seed": self.seed,
            "data_shuffle_seed": self.seed,
            "grain_train_mixture_config_path": str(folder / MIXTURE_FILE),
            "tokenizer_path": str(ladder.mixture / "tokenizer"),
            "eval_interval": -1,  # the held-out loss is measured by source, on the converted model
            "base_output_directory": str(folder),
            "run_name": "pretrain",
        }


def points(ladder: Ladder) -> list[Point]:
    """All points of a ladder, the cheapest first; a run that several parts ask for occurs once.

    Raises `InputError` for a base overlay or a mixture that is missing or does not fit, and for a
    size, a rate or a number of tokens that is impossible.
    """
    base = overlay.load(ladder.base)
    manifest = _manifest(ladder)
    shares, entries = manifest.recipe.shares, manifest.vocab_size
    if base["vocab_size"] < entries:
        raise InputError(
            f"{ladder.base}: vocab_size {base['vocab_size']}, the mixture's tokenizer has {entries}"
        )
    made = {name: _of_size(ladder, base, name, size) for name, size in ladder.sizes.items()}
    known: dict[tuple[Any, ...], Point] = {}
    for point in _asked(ladder, made, shares):
        known.setdefault(point.identity, point)
    chosen = sorted(known.values(), key=lambda point: (point.flops, point.name))
    names = [point.name for point in chosen]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"two runs would have one name: {', '.join(sorted(twice))}")
    if not chosen:
        raise InputError("law: no run has a number of tokens between least_tokens and most_tokens")
    return chosen


def recipe_shares(ladder: Ladder) -> dict[str, float]:
    """The shares of the tokens by source that the mixture's own recipe has; they sum to 1."""
    return _manifest(ladder).recipe.shares


def _manifest(ladder: Ladder) -> Mixture:
    path = ladder.mixture / "manifest.json"
    if not path.is_file():
        raise InputError(
            f"mixture: {ladder.mixture} has no manifest.json; build it first: "
            "bash data_prep/build_mixture.sh RECIPE.yaml"
        )
    return Mixture.load(path)


def _of_size(ladder: Ladder, base: Mapping[str, Any], name: str, size: Size) -> Point:
    """A point of a size whose training is still open."""
    keys = {
        "base_emb_dim": size.width,
        "base_num_decoder_layers": size.layers,
        "base_num_query_heads": size.heads,
        "base_num_kv_heads": size.heads // 4,
        "head_dim": size.width // size.heads,
        "base_mlp_dim": size.width * 11 // 4,
        **size.keys,
    }
    if unknown := keys.keys() - base.keys():
        raise InputError(f"sizes.{name}.keys: MaxText has no key {', '.join(sorted(unknown))}")
    config = {**base, **keys}
    model = Model.from_config(config)
    batch = step_tokens(config, ladder.device.count)
    if batch != int(batch) or batch < 1:
        raise InputError(f"sizes.{name}: a step would have {batch:g} tokens")
    return Point(
        name=name,
        group="",
        size=name,
        model=model,
        keys=keys,
        batch_tokens=int(batch),
        steps=0,
        rate=ladder.rate.of(model.parameters),
        weight_decay=float(config["adam_weight_decay"]),
        seed=0,
        shares={},
    )


def _asked(
    ladder: Ladder, made: Mapping[str, Point], shares: Mapping[str, float]
) -> Iterator[Point]:
    """The points of every part of the file, in its order; some may be the same run."""

    def on(point: Point, tokens: float) -> Point:
        return replace(point, steps=max(1, round(tokens / point.batch_tokens)), shares=shares)

    if law := ladder.law:
        for size in law.sizes or ladder.sizes:
            repeats = not law.repeated or size in law.repeated
            for ratio in law.tokens_per_parameter:
                tokens = ratio * made[size].model.parameters
                if not law.least_tokens <= tokens <= law.most_tokens:
                    continue
                for seed in law.seeds if repeats else law.seeds[:1]:
                    name = f"law-{size}-{ratio:g}x-seed{seed}"
                    yield replace(on(made[size], tokens), name=name, group="law", seed=seed)
    if rates := ladder.rates:
        for size, peaks in rates.peaks.items():
            point = made[size]
            tokens = rates.tokens or (rates.tokens_per_parameter or 0) * point.model.parameters
            tried = [(peak, point.weight_decay) for peak in peaks]
            tried += [(point.rate, decay) for decay in rates.weight_decays]
            for rate, decay in tried:
                for seed in rates.seeds:
                    name = f"rates-{size}-{rate:g}-decay{decay:g}-seed{seed}"
                    yield replace(
                        on(point, tokens),
                        name=name,
                        group="rates",
                        rate=rate,
                        weight_decay=decay,
                        seed=seed,
                    )
    if grid := ladder.mixtures:
        for number, weights in enumerate(proxies(shares, grid.count, grid.seed)):
            yield replace(
                on(made[grid.size], grid.tokens),
                name=f"mixtures-{number:02}",
                group="mixtures",
                seed=grid.seed,
                shares=weights,
            )
