"""The sizes of a decoder of the Llama family, as MaxText and as Hugging Face name them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from tinymathreason.cli import InputError

LARGEST = 10_000_000
"""No size of a model is larger; a typing error must not fill the memory."""
MAXTEXT_KEYS = {
    "layers": "base_num_decoder_layers",
    "hidden": "base_emb_dim",
    "heads": "base_num_query_heads",
    "kv_heads": "base_num_kv_heads",
    "head_dim": "head_dim",
    "mlp": "base_mlp_dim",
    "vocab": "vocab_size",
    "context": "max_target_length",
    "tied": "logits_via_embedding",
}
"""MaxText's key for each field of `LlamaSizes`."""
HF_KEYS = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "mlp": "intermediate_size",
    "vocab": "vocab_size",
    "context": "max_position_embeddings",
    "tied": "tie_word_embeddings",
}
"""The key of Hugging Face's config.json for each field of `LlamaSizes`."""


@dataclass(frozen=True, kw_only=True)
class LlamaSizes:
    """Sizes of one decoder of the Llama family.

    Raises `InputError` naming the field, also one of a subclass, whose value is impossible.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocab: int
    context: int
    """Tokens of a sequence."""
    tied: bool = False
    """Whether the output head is the embedding."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is float:
                expected = "a positive number"
                right = isinstance(value, int | float) and 0 < value < math.inf
            elif field.type is bool:
                expected, right = "true or false", isinstance(value, bool)
            else:
                expected = f"1 to {LARGEST:,}"
                right = type(value) is int and 0 < value <= LARGEST
            if not right:
                raise InputError(f"{field.name}: expected {expected}, found {value!r}")

    @property
    def mlp_weights(self) -> int:
        """Weights of one layer's feed-forward block: gate, up and down."""
        return 3 * self.hidden * self.mlp

    @property
    def matrices(self) -> int:
        """Weights that multiply every token: all but the norms and the embedding that is read."""
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)
        return self.layers * (attention + self.mlp_weights) + self.vocab * self.hidden

    @property
    def parameters(self) -> int:
        """The number of trained weights, norms and embeddings included."""
        norms = (2 * self.layers + 1) * self.hidden
        return self.matrices + norms + (0 if self.tied else self.vocab * self.hidden)


def maxtext_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `LlamaSizes` in a full MaxText configuration (`pretrain.overlay.load`)."""
    return {field: config[key] for field, key in MAXTEXT_KEYS.items()}


def hf_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `LlamaSizes` in the content of a config.json of transformers 4 or 5.

    Raises `InputError` for a key that is missing and has no default.
    """
    optional = {"kv_heads", "head_dim", "tied"}
    try:
        sizes = {field: config[key] for field, key in HF_KEYS.items() if field not in optional}
        return {
            **sizes,
            "kv_heads": config.get(HF_KEYS["kv_heads"]) or sizes["heads"],
            "head_dim": config.get(HF_KEYS["head_dim"]) or sizes["hidden"] // sizes["heads"],
            "tied": config.get(HF_KEYS["tied"], False),
        }
    except KeyError as error:
        raise InputError(f"config.json: no key {error}") from None
    except (TypeError, ZeroDivisionError) as error:
        raise InputError(f"config.json: hidden_size and heads: {error}") from None
