"""The numbers that a training computes with: float32 on a CPU, elsewhere what TRL is told.

Most processors have no bfloat16 and emulate it, at 2.6 times the time of float32. One that has it
gains nothing at the sizes that a CPU trains, so there is one rule and every CPU computes alike.
"""

from typing import Any

FLOAT32 = {
    "bf16": False,
    "fp16": False,
    "bf16_full_eval": False,
    "fp16_full_eval": False,
}
"""What a CPU's training sets of TRL's keys, whatever a configuration says.

``dtype``, the type of the weights, is float32 unless the user asks for another, to save memory say.
"""


def on_cpu(use_cpu: bool) -> bool:
    """Whether a training runs on a CPU: it was told to, or there is nothing else."""
    import torch

    return use_cpu or not torch.accelerator.is_available()


def describe(training: Any, model: Any) -> dict[str, str]:
    """Device, arithmetic and type of the weights of TRL's configuration, for a record."""
    weights = model.dtype or "float32"
    return {
        "device": training.device.type,
        "arithmetic": "bfloat16" if training.bf16 else "float16" if training.fp16 else weights,
        "weights": weights,
    }
