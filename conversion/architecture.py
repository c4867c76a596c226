"""Reads a Llama model from MaxText's or Hugging Face's configuration, and writes either."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tinymathreason.cli import InputError
from tinymathreason.llama import HF_KEYS, MAXTEXT_KEYS, LlamaSizes, hf_sizes, maxtext_sizes

# MaxText's keys, with the values for which transformers' Llama computes the same.
MAXTEXT: dict[str, tuple[Any, ...]] = {
    "model_name": ("default",),
    "decoder_block": ("llama2",),
    "quantization": ("",),
    "use_untrainable_positional_embedding": (False,),
    "trainable_position_size": (-1,),
    "mlp_activations": (["silu", "linear"],),
    "attention_type": ("global",),
    "sliding_window_size": (0,),
    "rope_type": ("default", "llama3.1"),
    "rope_linear_scaling_factor": (1.0,),
    "rope_min_timescale": (1,),
    "global_parameter_scale": (1,),
    "num_experts": (1,),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "use_qk_norm": (False,),
    "use_post_attn_norm": (False,),
    "use_post_ffw_norm": (False,),
    "fused_qkv": (False,),
    "fused_mlp": (False,),
    "attn_logits_soft_cap": (0.0,),
    "final_logits_soft_cap": (0.0,),
    "param_scan_axis": (1,),
}
# The same for Hugging Face's keys; the first value is the default of an absent key.
HUGGING_FACE: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
}
LLAMA3_ROPE: dict[str, Any] = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
"""Llama 3.1's scaling of the rotary frequencies, as MaxText has it in its code."""


@dataclass(frozen=True, kw_only=True)
class Architecture(LlamaSizes):
    """Sizes of one model of the Llama family, with its rotary embedding and its norms."""

    rope_theta: float
    norm_epsilon: float
    logits_normalized: bool = False
    """Whether MaxText divides a tied head's logits by sqrt(hidden)."""
    rope_interleaved: bool = False
    """Whether MaxText rotates neighbours (2i, 2i + 1) of a head rather than its halves."""
    rope_llama3: bool = False
    """Whether the rotary frequencies are scaled as `LLAMA3_ROPE` says."""

    @classmethod
    def from_maxtext(cls, config: dict[str, Any]) -> "Architecture":
        """Read the sizes from a full MaxText configuration (`pretrain.overlay.load`).

        Raises `InputError` naming the first key whose value cannot be converted.
        """
        for key, accepted in MAXTEXT.items():
            _check(key, config[key], accepted)
        interleaved = config["rope_type"] == "llama3.1"
        tied = config["logits_via_embedding"]
        return cls(
            **maxtext_sizes(config),
            rope_theta=float(config["rope_max_timescale"]),
            norm_epsilon=config["normalization_layer_epsilon"],
            logits_normalized=tied and config["normalize_embedding_logits"],
            rope_interleaved=interleaved,
            rope_llama3=interleaved and config["rope_use_scale"],
        )

    @classmethod
    def from_hf(cls, config: dict[str, Any]) -> "Architecture":
        """Read the sizes from the content of a config.json of transformers 4 or 5.

        Raises `InputError` naming the first key that is missing or cannot be converted.
        """
        if not isinstance(config, dict):
            raise InputError("config.json: expected a mapping of keys to values")
        _check("model_type", config.get("model_type"), ("llama", "mistral"))
        if config["model_type"] == "mistral":
            _check("sliding_window", config.get("sliding_window", 4096), (None,))
        for key, accepted in HUGGING_FACE.items():
            _check(key, config.get(key, accepted[0]), accepted)
        theta, llama3 = _rope(config)
        sizes = hf_sizes(config)
        if "rms_norm_eps" not in config:
            raise InputError("config.json: no key 'rms_norm_eps'")
        return cls(
            **sizes,
            rope_theta=theta,
            norm_epsilon=config["rms_norm_eps"],
            rope_interleaved=llama3,
            rope_llama3=llama3,
        )

    def rotary_frequencies(self) -> npt.NDArray[np.float64]:
        """float64[head_dim / 2] angles of a rotation by one position, in radians."""
        exponents = np.arange(0, self.head_dim, 2) / self.head_dim
        frequencies: npt.NDArray[np.float64] = self.rope_theta**-exponents
        if not self.rope_llama3:
            return frequencies
        low, high = LLAMA3_ROPE["low_freq_factor"], LLAMA3_ROPE["high_freq_factor"]
        turns = LLAMA3_ROPE["original_max_position_embeddings"] * frequencies / (2 * np.pi)
        kept = np.clip((turns - low) / (high - low), 0, 1)
        frequencies *= kept + (1 - kept) / LLAMA3_ROPE["factor"]
        return frequencies

    @property
    def query_scale(self) -> float:
        """Hugging Face's query weight divided by MaxText's, which has 1/sqrt(head_dim) in it."""
        return math.sqrt(self.head_dim)

    @property
    def norm_scale(self) -> float:
        """Hugging Face's last norm divided by MaxText's, which may divide a tied head's logits."""
        return 1 / math.sqrt(self.hidden) if self.logits_normalized else 1.0

    def maxtext_config(self) -> dict[str, Any]:
        """The keys of an overlay over base.yml that make MaxText build this model."""
        return {
            **{key: getattr(self, field) for field, key in MAXTEXT_KEYS.items()},
            "rope_type": "llama3.1" if self.rope_interleaved else "default",
            "rope_use_scale": self.rope_llama3,
            "rope_max_timescale": int(self.rope_theta),
            "normalization_layer_epsilon": self.norm_epsilon,
            "normalize_embedding_logits": self.logits_normalized,
        }

    @property
    def described(self) -> "Architecture":
        """The model without what only says how MaxText stores its weights."""
        return replace(self, logits_normalized=False, rope_interleaved=self.rope_llama3)

    def hf_config(
        self,
        eos_token_id: int | list[int],
        pad_token_id: int | None,
        dtype: str,
        bos_token_id: int | None = None,
    ) -> dict[str, Any]:
        """The content of config.json, with the rotary keys of transformers 4 and of 5.

        transformers 5 refuses a Llama whose heads do not divide the hidden size. Such a model is
        written as a Mistral without a window, which computes the same.
        """
        scaling = dict(LLAMA3_ROPE) if self.rope_llama3 else None
        kind = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
        if self.hidden % self.heads:
            kind = {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
        return {
            **kind,
            **{key: getattr(self, field) for field, key in HF_KEYS.items()},
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": bos_token_id,
            "dtype": dtype,
            "eos_token_id": eos_token_id,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "mlp_bias": False,
            "pad_token_id": pad_token_id,
            "rms_norm_eps": self.norm_epsilon,
            "rope_parameters": {
                "rope_theta": self.rope_theta,
                **(LLAMA3_ROPE if self.rope_llama3 else {"rope_type": "default"}),
            },
            "rope_scaling": scaling,
            "rope_theta": self.rope_theta,
            "sliding_window": None,
            "torch_dtype": dtype,
            "use_cache": True,
        }


def _rope(config: dict[str, Any]) -> tuple[float, bool]:
    """Theta, and whether the frequencies are scaled as Llama 3.1's.

    Raises `InputError` for any other form of RoPE, and when the keys of transformers 4 and of 5
    are both present and differ.
    """
    default = config.get("rope_theta", 10_000.0)
    forms = []
    for name in ("rope_parameters", "rope_scaling"):
        rope = config.get(name) or {}
        if not isinstance(rope, dict):
            raise InputError(f"{name}: expected a mapping, found {rope!r}")
        kind = rope.get("rope_type", rope.get("type", "default"))
        _check("rope_type", kind, ("default", "llama3"))
        known = LLAMA3_ROPE if kind == "llama3" else {}
        for key in (known.keys() | rope.keys()) - {"rope_type", "type", "rope_theta"}:
            _check(key, rope.get(key), (known.get(key),))
        if rope:
            forms.append((rope.get("rope_theta", default), kind == "llama3"))
    _check("partial_rotary_factor", config.get("partial_rotary_factor", 1.0), (1.0,))
    if len(set(forms)) > 1:
        raise InputError("rope_parameters and rope_scaling differ; remove the wrong one")
    theta, llama3 = forms[0] if forms else (default, False)
    if not isinstance(theta, int | float) or not float(theta).is_integer():
        raise InputError(f"rope_theta: {theta!r} cannot be converted; expected a whole number")
    return float(theta), llama3


def _check(key: str, value: Any, accepted: tuple[Any, ...]) -> None:
    if value not in accepted:
        expected = " or ".join(repr(known) for known in accepted)
        raise InputError(f"{key}: {value!r} cannot be converted; expected {expected}")
