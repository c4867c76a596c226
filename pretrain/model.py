"""A configuration in; the model's parameters and the arithmetic of a training step out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Model:
    """Sizes of one decoder of the Llama family."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    mlp_matrices: int
    """3 with SwiGLU (gate, up, down), 2 without a gate."""

    vocab: int
    context: int
    """Tokens of a sequence."""

    tied: bool = False
    """Whether the output head is the embedding."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Model":
        """Read MaxText's keys, as `pretrain.overlay.load` gives them."""
        return cls(
            layers=config["base_num_decoder_layers"],
            hidden=config["base_emb_dim"],
            heads=config["base_num_query_heads"],
            kv_heads=config["base_num_kv_heads"],
            head_dim=config["head_dim"],
            mlp=config["base_mlp_dim"],
            mlp_matrices=len(config["mlp_activations"]) + 1,
            vocab=config["vocab_size"],
            context=config["max_target_length"],
            tied=config["logits_via_embedding"],
        )

    @property
    def matrices(self) -> int:
        """Weights that multiply every token: all but the norms and the embedding that is read."""
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)
        layer = attention + self.mlp_matrices * self.hidden * self.mlp
        return self.layers * layer + self.vocab * self.hidden

    @property
    def parameters(self) -> int:
        """All weights, norms and embeddings included."""
        norms = (2 * self.layers + 1) * self.hidden
        return self.matrices + norms + (0 if self.tied else self.vocab * self.hidden)

    @property
    def matmul_flops_per_token(self) -> int:
        """Operations of the weights' products in a step: 2 forward and 4 backward a weight.

        Kaplan et al. 2020, https://arxiv.org/abs/2001.08361, section 2.1.
        """
        return 6 * self.matrices

    @property
    def attention_flops_per_token(self) -> int:
        """Operations of causal attention in a step: a token meets half of the context on average.

        Two products forward and four backward, as in PaLM's appendix B
        (https://arxiv.org/abs/2204.02311), halved for the mask.
        """
        return 6 * self.layers * self.heads * self.head_dim * self.context

    @property
    def flops_per_token(self) -> int:
        """What model FLOP utilisation (MFU) divides by: no recomputation, no masked half."""
        return self.matmul_flops_per_token + self.attention_flops_per_token
