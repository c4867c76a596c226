"""The size of a model in training, and the arithmetic of one of its steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tinymathreason.llama import LlamaSizes, maxtext_sizes


def step_tokens(config: Mapping[str, Any], devices: int = 1) -> float:
    """Tokens of a step on so many devices; a batch below 1 may make it a fraction."""
    sequences = config["per_device_batch_size"] * config["gradient_accumulation_steps"]
    return float(devices * sequences * config["max_target_length"])


@dataclass(frozen=True, kw_only=True)
class Model(LlamaSizes):
    """A decoder of the Llama family, whose feed-forward block may have no gate."""

    mlp_matrices: int
    """3 with SwiGLU (gate, up, down), 2 without a gate."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Model":
        """Read MaxText's keys, as `pretrain.overlay.load` gives them."""
        return cls(**maxtext_sizes(config), mlp_matrices=len(config["mlp_activations"]) + 1)

    @property
    def mlp_weights(self) -> int:
        """Weights of one layer's feed-forward block."""
        return self.mlp_matrices * self.hidden * self.mlp

    @property
    def matmul_flops_per_token(self) -> int:
        """Operations of the matrix products in a step: 2 forward and 4 backward per weight.

        Kaplan et al. 2020, https://arxiv.org/abs/2001.08361, section 2.1.
        """
        return 6 * self.matrices

    @property
    def attention_flops_per_token(self) -> int:
        """Operations of causal attention in a step: on average a token attends to half the context.

        Two products forward and four backward, as in PaLM's appendix B
        (https://arxiv.org/abs/2204.02311), halved for the mask.
        """
        return 6 * self.layers * self.heads * self.head_dim * self.context

    @property
    def flops_per_token(self) -> int:
        """The operations that the MFU counts: no recomputation and no masked half of attention."""
        return self.matmul_flops_per_token + self.attention_flops_per_token
