"""The records of a model's trainings in; its sizes and how it was trained, as phrases, out."""

import re
from pathlib import Path
from typing import Any

from release.cards.facts import METHODS, Facts, Places, Record, bullets, last_start, listed, say
from release.cards.metadata import HUB_ID
from tinymathreason.cli import InputError


def architecture(facts: Facts, places: Places) -> dict[str, Any]:
    """Sizes by the model's configuration, parameters and hash by its weights."""
    from release.checks.weights import Tensors
    from tinymathreason.provenance import asking_hash, model_hash

    take = facts.record(places.model / "config.json").take
    tied = take("tying of the embeddings", "tie_word_embeddings", kind=bool)
    kinds = take("architecture", "architectures", kind=list) or [None]
    context = take("context", "max_position_embeddings")
    tensors, digest = Tensors(places.model), model_hash(places.model)
    shape = listed(
        say("layers {:,}", take("layers", "num_hidden_layers")),
        say("hidden size {:,}", take("hidden size", "hidden_size")),
        say("attention heads {:,}", take("heads", "num_attention_heads")),
        say("key-value heads {:,}", take("key-value heads", "num_key_value_heads")),
        say("head size {:,}", take("head size", "head_dim")),
        say("SwiGLU of width {:,}", take("SwiGLU width", "intermediate_size")),
        say("vocabulary of {:,}", take("vocabulary", "vocab_size")),
        None if tied is None else f"embeddings {'tied' if tied else 'not tied'} to the output",
    )
    return {
        "parameters": tensors.parameters,
        "context": context,
        "sha256": digest,
        "asking": asking_hash(places.model),
        "description": bullets(
            Model_type=say("decoder-only transformer ({})", kinds[0]),
            Architecture=shape,
            Parameters=say("{:,}, counted in the weights", tensors.parameters),
            Context=say("{:,} tokens", context),
            Weights=say(
                "{}, SHA-256 of configuration and weights {}",
                ", ".join(sorted(tensors.dtypes)),
                digest,
            ),
        ),
    }


def pretraining(facts: Facts, places: Places) -> dict[str, Any]:
    """Tokens, losses, optimiser, schedule, batch and hardware."""
    config = facts.record(places.pretrain / "config.json")
    take = config.take
    last = last_start(facts, places)
    converted = facts.record(places.base / "conversion.json").maybe("checkpoint")
    match = re.search(r"/(\d+)/?$", str(converted))
    trained = _trained(facts, places.pretrain, int(match[1]) if match else None)
    devices = last.take("number of devices", "devices")
    context = take("length of a sequence", "max_target_length")
    parts = [
        take("batch of pretraining", key)
        for key in ("per_device_batch_size", "gradient_accumulation_steps")
    ]
    sequences = None
    if devices is not None and None not in parts:
        sequences = int(parts[0] * parts[1] * devices)
    rate = take("peak learning rate", "learning_rate")
    final = take("final learning rate", "learning_rate_final_fraction")
    warmup = take("warm-up", "warmup_steps_fraction")
    return {
        "tokens": trained["tokens"],
        "bullets": bullets(
            Tokens=say("{:,}, without padding", trained["tokens"]),
            Steps=say("{:,}", trained["steps"]),
            Batch=listed(
                say("{:,} sequences", sequences),
                say("of {:,} tokens", context),
                between=" ",
            ),
            Optimiser=listed(
                say("{}", take("optimiser", "opt_type", kind=str)),
                say("β₁ = {:g}", take("β₁", "adam_b1")),
                say("β₂ = {:g}", take("β₂", "adam_b2")),
                say("ε = {:g}", take("ε", "adam_eps")),
                say("weight decay {:g}", take("weight decay", "adam_weight_decay")),
                say("gradients clipped at {:g}", take("clip", "gradient_clipping_threshold")),
            ),
            Learning_rate=listed(
                say("peak {:g}", rate),
                say("{} schedule", take("schedule", "lr_schedule_type", kind=str)),
                say("warm-up over {:.3g} % of the steps", warmup and 100 * warmup),
                None if rate is None or final is None else f"at the end {rate * final:.3g}",
            ),
            Precision=listed(
                say("{} arithmetic", take("precision", "dtype", kind=str)),
                say("{} weights", take("precision of the weights", "weight_dtype", kind=str)),
            ),
            Hardware=listed(
                say("{}", last.take("device", "device", kind=str)),
                say("devices {:,}", devices),
                say("hosts {:,}", last.take("hosts", "hosts")),
            ),
            Loss=trained["loss"],
        ),
    }


def _trained(facts: Facts, pretrain: Path, until: int | None) -> dict[str, Any]:
    """What TensorBoard's events tell of the steps up to the one that was converted."""
    from pretrain.watch.history import HELD_OUT, LOSS, WEIGHTS, History

    found: dict[str, Any] = {"tokens": None, "steps": None, "loss": None}
    figures = {WEIGHTS: "tokens of pretraining", LOSS: "loss", HELD_OUT: "held-out loss"}
    try:
        history = History(str(pretrain))
        history.update()
    except InputError:
        for figure in figures.values():
            facts.lack(figure, f"{pretrain}: no such folder")
        return found
    values = {}
    for tag, figure in figures.items():
        series = history.series(tag)
        counted = series.values[
            series.steps <= (series.steps.max(initial=0) if until is None else until)
        ]
        if len(counted):
            values[tag] = counted
        else:
            facts.lack(figure, f"{pretrain}/tensorboard: no events of {tag}")
    if WEIGHTS in values:
        found.update(tokens=int(values[WEIGHTS].sum()), steps=len(values[WEIGHTS]))
    found["loss"] = listed(
        *(
            f"{words} {values[tag][0]:.3f} to {values[tag][-1]:.3f}"
            for tag, words in ((LOSS, "training"), (HELD_OUT, "held out"))
            if tag in values
        ),
    )
    return found


def tuning(facts: Facts, places: Places) -> dict[str, Any]:
    """Examples, epochs, rate, batch and hardware of the fine-tuning."""
    assert places.tuning
    record = facts.record(places.model / places.tuning)
    arguments = record.under("arguments")
    take = arguments.take
    counts = record.take("examples of fine-tuning", "counts", kind=dict) or {}
    parts = [Record(facts, f"{record.name} counts.{name}", counts[name]) for name in counts]
    examples = [part.take("examples of fine-tuning", "train") for part in parts]
    number = sum(examples) if examples and None not in examples else None
    batch = [
        arguments.take("batch of fine-tuning", "per_device_train_batch_size"),
        arguments.take("batch of fine-tuning", "gradient_accumulation_steps"),
        record.take("batch of fine-tuning", "processes"),
    ]
    history = record.take("losses of fine-tuning", "history", kind=list) or []
    entries = [entry for entry in history if isinstance(entry, dict)]
    epochs = [entry["epoch"] for entry in entries if "epoch" in entry]
    losses = [entry["eval_loss"] for entry in entries if "eval_loss" in entry]
    for name, values in (("epochs", epochs), ("held-out loss of fine-tuning", losses)):
        if not values:
            facts.lack(name, f"{record.name} has none in its history")
    warmup = take("warm-up of fine-tuning", "warmup_steps")
    if not take("hardware of fine-tuning", "use_cpu", kind=bool):
        facts.lack("hardware of fine-tuning", f"{record.name} does not tell it")
    return {
        "examples": number,
        "method": METHODS[places.tuning],
        "bullets": bullets(
            Method=METHODS[places.tuning],
            Examples=say("{:,} to train on", number),
            Tokens=say("{:,}", record.take("tokens of fine-tuning", "tokens")),
            Epochs=say("{:.3g}", epochs[-1] if epochs else None),
            Steps=say("{:,}", record.take("steps of fine-tuning", "steps")),
            Batch=say("{:,} examples", None if None in batch else batch[0] * batch[1] * batch[2]),
            Optimiser=say("{}", take("optimiser of fine-tuning", "optim", kind=str)),
            Learning_rate=listed(
                say("peak {:g}", take("learning rate of fine-tuning", "learning_rate")),
                say("{} schedule", take("its schedule", "lr_scheduler_type", kind=str)),
                say(
                    "warm-up over {:g} % of the steps",
                    100 * warmup if warmup and warmup < 1 else None,
                )
                or say("warm-up over {:,} steps", warmup),
            ),
            Hardware="CPU" if arguments.maybe("use_cpu") else None,
            Held_out_loss=say("{:.4f}", losses[-1] if losses else None),
        ),
    }


def hub_base(places: Places) -> str | None:
    """The hub's name of the model that the tuning began with; None for a folder of ours."""
    if places.tuning is None:
        return None
    record = Facts().record(places.model / places.tuning)
    start, base = (record.maybe(key, kind=str) for key in ("model_name_or_path", "base"))
    # The record holds the weights' hash for a folder, and the revision for a model of the hub.
    ours = base is None or re.fullmatch("[0-9a-f]{64}", base)
    return None if ours or start is None or not HUB_ID.fullmatch(start) else str(start)


def check_same_model(facts: Facts, places: Places) -> None:
    """Raise `InputError` when the records are of several models.

    Where the base model's weights are still there, they must be those that the tuning began with.
    """
    from release.lineage import lineage
    from tinymathreason.provenance import model_hash

    if places.tuning and (places.base / "config.json").is_file():
        begun = facts.record(places.model / places.tuning).maybe("base")
        if begun not in (None, model_hash(places.base)) and (
            places.base not in lineage(places.model)
        ):
            raise InputError(
                f"{places.base}: {places.model} was not tuned from it; name its base by --base"
            )
    trained = facts.record(places.pretrain / "config.json")
    model = facts.record(places.model / "config.json")
    for theirs, ours in (
        ("base_emb_dim", "hidden_size"),
        ("base_num_decoder_layers", "num_hidden_layers"),
    ):
        if trained.maybe(theirs) not in (None, model.maybe(ours)):
            raise InputError(
                f"{places.pretrain}: its {theirs} is {trained.maybe(theirs)}, the model's {ours} "
                f"{model.maybe(ours)}; name the run that trained it by --pretrain"
            )
