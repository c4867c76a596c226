"""The arithmetic of a training: float32 on a CPU, elsewhere what TRL's options say.

Most processors emulate bfloat16, which takes 2.6 times as long as float32. Those that have it gain
nothing at the sizes that are trained on a CPU. So one rule holds for all, and every CPU computes
the same.
"""

from typing import Any

FLOAT32 = {
    "bf16": False,
    "fp16": False,
    "bf16_full_eval": False,
    "fp16_full_eval": False,
}
"""TRL's keys that are set for training on a CPU, whatever the configuration says.

``dtype``, the type of the weights, is not among them: it is float32 unless the user chooses another
type, for example to save memory.
"""

ACCELERATED = {
    # The loss stays on the device until it is logged, and one that is not finite is logged as such.
    "logging_nan_inf_filter": False,
    "accelerator_config": {"non_blocking": True},
    "dataloader_num_workers": 2,
}
"""TRL's keys for training elsewhere that a configuration does not have: the device waits for
nothing. TRL's own default of ``optim`` is the fused AdamW."""


def on_cpu(use_cpu: bool) -> bool:
    """Whether training runs on a CPU, because of ``use_cpu`` or for lack of an accelerator."""
    import torch

    return use_cpu or not torch.accelerator.is_available()


def describe(training: Any, model: Any) -> dict[str, str]:
    """Device, arithmetic and type of the weights, for a record.

    ``training`` and ``model`` are TRL's configurations.
    """
    weights = model.dtype or "float32"
    return {
        "device": training.device.type,
        "arithmetic": "bfloat16" if training.bf16 else "float16" if training.fp16 else weights,
        "weights": weights,
    }
