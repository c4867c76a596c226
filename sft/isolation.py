"""Checks on the model and the device themselves that packed conversations do not mix."""

import copy
import itertools
from typing import Any

from sft import attention
from tinymathreason.cli import InputError

TOLERANCE = 0.05
"""Largest relative difference to the logits with sdpa; bfloat16's rounding makes 0.01 to 0.02."""
LENGTH = 8
"""Tokens of the conversations that are tried."""


def check_isolation(trainer: Any) -> None:
    """Raise `InputError` if a packed conversation changes the logits of the next one.

    Nor may the loss of the next one have a gradient in the first. Both depend on the implementation
    of attention and on the class of the model, so the model itself is run, as it is compiled. No
    random number is drawn. The logits with `attention.VARLEN` must also be those with sdpa.
    """
    import torch

    model, device = trainer.model, trainer.accelerator.device
    if model.device.type != device.type:
        model = _small(model, device)  # sharded weights are on the device only in a step
    name = model.config._attn_implementation
    second = list(range(3, 3 + LENGTH))
    training = model.training
    model.eval()
    if trainer.args.activation_checkpointing and model is trainer.model:
        _compute_again(model, trainer.args)
    try:
        logits = [_run(trainer, model, [[first] * LENGTH, second])[0].detach() for first in (1, 2)]
        found, embedded = _run(trainer, model, [[1] * LENGTH, second], gradient=True)
        (gradient,) = torch.autograd.grad(found.float().square().sum(), embedded)
        leaks = gradient[0, :LENGTH].any() or not gradient[0, LENGTH : 2 * LENGTH].any()
        if leaks or not torch.equal(*logits):
            raise InputError(
                f"attn_implementation {name}: packed conversations would see one another in this "
                f"{type(model).__name__}; use sdpa or flash_attention_2, or packing: false"
            )
        if name == attention.VARLEN:
            with attention.plain(model):
                expected = _run(trainer, model, [second])[0].detach().float()
            error = float((logits[0].float() - expected).norm() / expected.norm())
            if not error < TOLERANCE:
                raise InputError(
                    f"attn_implementation {name}: logits differ from those with sdpa by "
                    f"{error:.2g} of their size in this {type(model).__name__}; use sdpa"
                )
    finally:
        model.train(training)


def _run(
    trainer: Any, model: Any, conversations: list[list[int]], gradient: bool = False
) -> tuple[Any, Any]:
    """The logits of the last conversation of a packed row, and all embeddings before the layers.

    The row may be filled up to a whole batch, whose logits would take gigabytes: only those of the
    last conversation are computed.
    """
    import torch

    ids = list(itertools.chain(*conversations))
    lengths = [len(conversation) for conversation in conversations]
    last = torch.arange(len(ids) - lengths[-1], len(ids), device=model.device)
    batch = trainer.data_collator([{"input_ids": ids, "labels": ids, "seq_lengths": lengths}])
    del batch["labels"]
    batch = {
        key: value.to(model.device) if isinstance(value, torch.Tensor) else value
        for key, value in batch.items()
    }
    embedded = []

    def cut(module: Any, inputs: Any, output: Any) -> Any:
        embedded.append(output.detach().requires_grad_(gradient))
        return embedded[0]

    hook = model.get_input_embeddings().register_forward_hook(cut)
    try:
        with torch.set_grad_enabled(gradient), trainer.accelerator.autocast():
            logits = model(**batch, use_cache=False, logits_to_keep=last).logits
    finally:
        hook.remove()
    return logits[0], embedded[0]


def _compute_again(model: Any, training: Any) -> None:
    """Turn on what the trainer turns on when the training begins; ``training`` is its options.

    A batch of compiled layers is as long as a step's, whose activations need not fit otherwise.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    options = dict(training.activation_checkpointing_kwargs or {})
    if options.get("use_reentrant"):
        return  # it has no gradient of single tensors
    model.activation_checkpointing_enable(
        every_n_layers=options.pop("every_n_layers", 1),
        offload=options.pop("offload", False),
        activation_checkpointing_kwargs=options or None,
    )
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True  # of the layer alone: the modules in it have no dropout


def _small(model: Any, device: Any) -> Any:
    """A model of the same class with one layer and random weights on the device."""
    import torch
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(model.config)
    config.num_hidden_layers = 1
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:1]
    with torch.random.fork_rng():
        small = AutoModelForCausalLM.from_config(
            config, dtype=model.dtype, attn_implementation=model.config._attn_implementation
        )
    return small.to(device)
