"""MaxText's training in plain PyTorch: its loss, clipping, AdamW and schedule, reimplemented.

It follows trainers/pre_train/train.py, utils/maxtext_utils.py and optimizers/optimizers.py of
MaxText 0.2.5, but trains transformers' LlamaForCausalLM. MaxText stores the query kernel divided by
sqrt(head_dim), and the length of AdamW's step does not depend on the scale of a weight. Therefore
the query weight of LlamaForCausalLM learns here at sqrt(head_dim) times the rate of other weights,
and its gradient counts sqrt(head_dim) times as much in the norm that is clipped. A plain AdamW over
LlamaForCausalLM would be a different training.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.batches import Batch
from conversion.architecture import Architecture
from conversion.mapping import stored
from tinymathreason.cli import InputError

KNOWN: dict[str, tuple[Any, ...]] = {
    "opt_type": ("adamw",),
    "adam_eps_root": (0.0,),
    "mu_dtype": ("", "float32"),
    "grad_dtype": ("float32",),
    "dtype": ("float32",),
    "weight_dtype": ("float32",),
    "gradient_accumulation_steps": (1,),
    "skip_step_on_spikes": (False,),
    "trainable_parameters_mask": ([],),
    "use_qk_clip": (False,),
    "num_vocab_tiling": (1,),
    "logits_via_embedding": (False,),
    "lr_schedule_type": ("cosine", "wsd"),
    "wsd_decay_style": ("linear", "cosine"),
}
"""Values of MaxText's keys that this loop supports; MaxText rounds a tied head to bfloat16."""
EPSILON = 1e-8
"""MaxText adds this to the number of tokens by which it divides the loss."""


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """How a training updates the weights, in MaxText's terms."""

    peak_rate: float
    """Learning rate at the end of the warm-up."""
    final_rate: float
    """Learning rate of the schedule's last step."""
    warmup_steps: int
    """Steps in which the rate rises from 0; the first has 0 and changes no weight."""
    schedule_steps: int
    """Steps after which the rate is 0."""
    decay_steps: int
    """Last steps of the schedule, in which the rate falls from the peak to its final value."""
    linear_decay: bool
    """Whether it falls linearly and not as half a cosine."""
    beta1: float
    """Decay of AdamW's first moment."""
    beta2: float
    """Decay of its second moment."""
    epsilon: float
    """Added to the root of the second moment."""
    weight_decay: float
    """Weight decay: share of a weight that a step removes, times the learning rate."""
    undecayed: tuple[str, ...]
    """Patterns searched in MaxText's path of a weight (``decoder/decoder_norm/scale``)."""
    clip: float
    """Largest norm of all gradients together; 0 means no clipping."""
    z_loss: float
    """Factor of the squared logarithm of the softmax's normaliser, part of the loss."""

    @classmethod
    def from_maxtext(cls, config: dict[str, Any]) -> "Hyperparameters":
        """Read a full MaxText configuration (`pretrain.overlay.load`).

        Raises `InputError` naming the first key whose value this loop does not support.
        """
        for key, known in KNOWN.items():
            if config[key] not in known:
                raise InputError(
                    f"{key}: {config[key]!r} is not followed by the PyTorch loop; "
                    f"expected {' or '.join(map(repr, known))}"
                )
        peak, steps = config["learning_rate"], config["learning_rate_schedule_steps"]
        if steps < 0:
            steps = config["steps"]  # base.yml's -1
        warmup = int(steps * config["warmup_steps_fraction"])
        wsd = config["lr_schedule_type"] == "wsd"
        return cls(
            peak_rate=peak,
            final_rate=peak * config["learning_rate_final_fraction"],
            warmup_steps=warmup,
            schedule_steps=steps,
            decay_steps=int(steps * config["wsd_decay_steps_fraction"]) if wsd else steps - warmup,
            linear_decay=wsd and config["wsd_decay_style"] == "linear",
            beta1=config["adam_b1"],
            beta2=config["adam_b2"],
            epsilon=config["adam_eps"],
            weight_decay=config["adam_weight_decay"],
            undecayed=tuple(config["adamw_mask"]),
            clip=config["gradient_clipping_threshold"],
            z_loss=config["z_loss_multiplier"],
        )

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.peak_rate * step / self.warmup_steps
        if step >= self.schedule_steps:
            return 0.0
        done = step - (self.schedule_steps - self.decay_steps)
        if done < 0:
            return self.peak_rate
        share = done / (self.decay_steps - 1) if self.decay_steps > 1 else 1.0
        fallen = share if self.linear_decay else (1 - math.cos(math.pi * share)) / 2
        return self.peak_rate + fallen * (self.final_rate - self.peak_rate)


@dataclass(frozen=True)
class StepResult:
    """The measurements of one training step."""

    loss: float
    """Mean over the tokens that have a target, in nats, of the weights before the step."""
    tokens: int
    """The number of these tokens."""
    gradient_norm: float
    """Norm of all gradients before clipping, of the weights as MaxText keeps them."""
    rate: float
    """Learning rate."""


def train(
    model: Any, batches: Iterable[Batch], settings: Hyperparameters, sizes: Architecture
) -> Iterator[StepResult]:
    """Train a float32 LlamaForCausalLM of these sizes in place, a step for each batch."""
    groups = parameter_groups(model, settings, sizes)
    optimiser = torch.optim.AdamW(groups, betas=(settings.beta1, settings.beta2))
    for number, batch in enumerate(batches):
        loss, tokens = batch_loss(model, batch, settings.z_loss)
        loss.backward()
        norm = clip(optimiser.param_groups, settings.clip)
        for group in optimiser.param_groups:
            group["lr"] = settings.rate(number) * group["factor"]
        optimiser.step()
        optimiser.zero_grad()
        yield StepResult(loss.item(), tokens, norm, settings.rate(number))


def parameter_groups(
    model: Any, settings: Hyperparameters, sizes: Architecture
) -> list[dict[str, Any]]:
    """AdamW's parameter groups: one for each ratio to MaxText's weights and each kind of decay.

    With w' = f w, g' = g / f, an update of w' that is f times w's takes f times the rate, and a
    decay and an epsilon divided by f.
    """
    parameters = dict(model.named_parameters())
    members: dict[tuple[float, bool], list[Any]] = defaultdict(list)
    for path, array in stored(sizes, scanned=True).items():
        name = path.replace(".", "/")
        decayed = not any(re.search(pattern, name) for pattern in settings.undecayed)
        factor = float(array.weight.factor(sizes))
        members[factor, decayed] += [parameters.pop(name) for name in array.names]
    assert not parameters, f"not in the map: {list(parameters)}"
    return [
        {
            "params": params,
            "factor": factor,
            "weight_decay": settings.weight_decay / factor if decayed else 0.0,
            "eps": settings.epsilon / factor,
        }
        for (factor, decayed), params in members.items()
    ]


def batch_loss(model: Any, batch: Batch, z_loss: float) -> tuple[Any, int]:
    """The loss of a batch, a scalar with its graph, and the number of tokens with a target."""
    tensors = {key: torch.from_numpy(value).long() for key, value in batch.items()}
    segments, length = tensors["inputs_segmentation"], tensors["inputs"].shape[1]
    same = segments[:, None, :, None] == segments[:, None, None, :]
    logits = model(
        input_ids=tensors["inputs"],
        attention_mask=same & torch.ones(length, length, dtype=torch.bool).tril(),
        position_ids=tensors["inputs_position"],
        use_cache=False,
    ).logits
    normaliser = torch.logsumexp(logits, dim=-1)
    chosen = logits.gather(-1, tensors["targets"][..., None])[..., 0]
    losses = normaliser - chosen + z_loss * normaliser**2
    counted = tensors["targets_segmentation"] != 0
    tokens = int(counted.sum())
    return (losses * counted).sum() / (tokens + EPSILON), tokens


def clip(groups: list[dict[str, Any]], largest: float) -> float:
    """Scale all gradients in place so that their norm, as MaxText sees it, is at most ``largest``.

    Returns the norm before.
    """
    squares = [
        (group["factor"] * parameter.grad).square().sum()
        for group in groups
        for parameter in group["params"]
    ]
    norm = float(torch.stack(squares).sum().sqrt())
    if 0 < largest < norm:
        for group in groups:
            for parameter in group["params"]:
                parameter.grad.mul_(largest / norm)
    return norm
