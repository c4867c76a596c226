"""A MaxText configuration in, the sizes of a Llama model and its config.json out."""

from dataclasses import dataclass
from typing import Any

from tinymathreason.cli import InputError

# What makes the model a Llama that transformers can hold, by MaxText's key.
REQUIRED: dict[str, Any] = {
    "decoder_block": "llama2",
    "mlp_activations": ["silu", "linear"],
    "attention_type": "global",
    "sliding_window_size": 0,
    "rope_type": "default",
    "rope_linear_scaling_factor": 1.0,
    "global_parameter_scale": 1,
    "num_experts": 1,
    "attention_bias": False,
    "mlp_bias": False,
    "use_qk_norm": False,
    "use_post_attn_norm": False,
    "use_post_ffw_norm": False,
    "fused_qkv": False,
    "fused_mlp": False,
    "logits_via_embedding": False,
    "attn_logits_soft_cap": 0.0,
    "final_logits_soft_cap": 0.0,
    "param_scan_axis": 1,
}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Sizes of one model of the Llama family with untied embeddings."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocab: int
    context: int
    rope_theta: float
    norm_epsilon: float

    @classmethod
    def from_maxtext(cls, config: dict[str, Any]) -> "Architecture":
        """Read the sizes from a full MaxText configuration (`pretrain.overlay.load`).

        Raises `InputError` naming the key whose value this conversion does not know.
        """
        for key, value in REQUIRED.items():
            if config[key] != value:
                raise InputError(f"{key}: {config[key]!r} cannot be converted; expected {value!r}")
        return cls(
            layers=config["base_num_decoder_layers"],
            hidden=config["base_emb_dim"],
            heads=config["base_num_query_heads"],
            kv_heads=config["base_num_kv_heads"],
            head_dim=config["head_dim"],
            mlp=config["base_mlp_dim"],
            vocab=config["vocab_size"],
            context=config["max_target_length"],
            rope_theta=float(config["rope_max_timescale"]),
            norm_epsilon=config["normalization_layer_epsilon"],
        )

    def parameters(self) -> int:
        """The number of trained weights."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        layer = attention + 3 * self.hidden * self.mlp + 2 * self.hidden
        return self.layers * layer + self.hidden + 2 * self.vocab * self.hidden

    def hf_config(self, eos_token_id: int, pad_token_id: int, dtype: str) -> dict[str, Any]:
        """The content of config.json, with the rotary keys of transformers 4 and of 5."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": None,
            "dtype": dtype,
            "eos_token_id": eos_token_id,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "intermediate_size": self.mlp,
            "max_position_embeddings": self.context,
            "mlp_bias": False,
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "pad_token_id": pad_token_id,
            "rms_norm_eps": self.norm_epsilon,
            "rope_parameters": {"rope_theta": self.rope_theta, "rope_type": "default"},
            "rope_scaling": None,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": False,
            "torch_dtype": dtype,
            "use_cache": True,
            "vocab_size": self.vocab,
        }
