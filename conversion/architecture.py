"""Reads a model from MaxText's or Hugging Face's configuration, and writes either.

Models are of the Llama family, in a wide sense: Llama, Mistral without a window, Qwen2 (Llama with
biases of q, k and v) and dense Qwen3 (Llama with norms of q and k).
"""

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
    "decoder_block": ("llama2", "qwen2", "qwen3"),
    "quantization": ("",),
    "use_untrainable_positional_embedding": (False,),
    "trainable_position_size": (-1,),
    "mlp_activations": (["silu", "linear"],),
    "attention_type": ("global",),
    "sliding_window_size": (0,),
    "rope_type": ("default", "llama3.1"),
    "rope_min_timescale": (1,),
    "global_parameter_scale": (1,),
    "num_experts": (1,),
    "mlp_bias": (False,),
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
    "hidden_act": ("silu", "swish"),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "partial_rotary_factor": (1.0, None),
    "use_sliding_window": (False, None),
    "quantization_config": (None,),
}
FAMILIES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
"""Hugging Face's model_type of each supported family, with its class."""
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
    rope_linear: float = 1.0
    """What all rotary frequencies are divided by."""
    qk_norm: bool = False
    """Whether the heads of q and k are normalised, as in Qwen3."""
    qkv_bias: bool = False
    """Whether q, k and v have biases, as in Qwen2."""
    query_scaled: bool = True
    """Whether MaxText's query weights have 1/sqrt(head_dim) in them. Its qwen blocks divide in the
    forward pass, as Hugging Face does, and without norms and biases they compute a Llama."""

    @classmethod
    def from_maxtext(cls, config: dict[str, Any]) -> "Architecture":
        """Read the sizes from a full MaxText configuration (`pretrain.overlay.load`).

        Raises `InputError` naming the first key whose value cannot be converted.
        """
        for key, accepted in MAXTEXT.items():
            _check(key, config[key], accepted)
        block = config["decoder_block"]
        _check("use_qk_norm", config["use_qk_norm"], (block == "qwen3",))
        _check("attention_bias", config["attention_bias"], (False, block == "qwen2"))
        interleaved = config["rope_type"] == "llama3.1"
        tied = config["logits_via_embedding"]
        return cls(
            **maxtext_sizes(config),
            rope_theta=float(config["rope_max_timescale"]),
            norm_epsilon=config["normalization_layer_epsilon"],
            logits_normalized=tied and config["normalize_embedding_logits"],
            rope_interleaved=interleaved,
            rope_llama3=interleaved and config["rope_use_scale"],
            rope_linear=1.0 if interleaved else config["rope_linear_scaling_factor"],
            qk_norm=config["use_qk_norm"],
            qkv_bias=config["attention_bias"],
            query_scaled=block == "llama2",
        )

    @classmethod
    def from_hf(cls, config: dict[str, Any]) -> "Architecture":
        """Read the sizes from the content of a config.json of transformers 4 or 5.

        Raises `InputError` naming the first key that is missing or cannot be converted.
        """
        if not isinstance(config, dict):
            raise InputError("config.json: expected a mapping of keys to values")
        family = config.get("model_type")
        _check("model_type", family, tuple(FAMILIES))
        for key, accepted in HUGGING_FACE.items():
            _check(key, config.get(key, accepted[0]), accepted)
        sizes = hf_sizes(config)
        window = config.get("sliding_window", 4096) if family == "mistral" else None
        # A window as long as the context hides nothing.
        if not isinstance(window, int) or window < sizes["context"]:
            _check("sliding_window", window, (None,))
        for kind in config.get("layer_types") or ():
            _check("layer_types", kind, ("full_attention",))
        theta, linear, llama3 = _rope(config)
        if "rms_norm_eps" not in config:
            raise InputError("config.json: no key 'rms_norm_eps'")
        return cls(
            **sizes,
            rope_theta=theta,
            norm_epsilon=config["rms_norm_eps"],
            rope_interleaved=llama3,
            rope_llama3=llama3,
            rope_linear=linear,
            qk_norm=family == "qwen3",
            qkv_bias=family == "qwen2",
            query_scaled=family in ("llama", "mistral"),
        )

    @property
    def parameters(self) -> int:
        """The number of trained weights, norms, biases and embeddings included."""
        norms = 2 * self.head_dim if self.qk_norm else 0
        biases = (self.heads + 2 * self.kv_heads) * self.head_dim if self.qkv_bias else 0
        return super().parameters + self.layers * (norms + biases)

    def rotary_frequencies(self) -> npt.NDArray[np.float64]:
        """float64[head_dim / 2] angles of a rotation by one position, in radians."""
        exponents = np.arange(0, self.head_dim, 2) / self.head_dim
        frequencies: npt.NDArray[np.float64] = self.rope_theta**-exponents / self.rope_linear
        if not self.rope_llama3:
            return frequencies
        low, high = LLAMA3_ROPE["low_freq_factor"], LLAMA3_ROPE["high_freq_factor"]
        turns = LLAMA3_ROPE["original_max_position_embeddings"] * frequencies / (2 * np.pi)
        kept = np.clip((turns - low) / (high - low), 0, 1)
        frequencies *= kept + (1 - kept) / LLAMA3_ROPE["factor"]
        return frequencies

    @property
    def query_scale(self) -> float:
        """Hugging Face's query weight divided by MaxText's, which may hold 1/sqrt(head_dim)."""
        return math.sqrt(self.head_dim) if self.query_scaled else 1.0

    @property
    def norm_scale(self) -> float:
        """Hugging Face's last norm divided by MaxText's, which may divide a tied head's logits."""
        return 1 / math.sqrt(self.hidden) if self.logits_normalized else 1.0

    def maxtext_config(self) -> dict[str, Any]:
        """The keys of an overlay over base.yml that make MaxText build this model."""
        return {
            **{key: getattr(self, field) for field, key in MAXTEXT_KEYS.items()},
            "decoder_block": self._block,
            "attention_bias": self.qkv_bias,
            "use_qk_norm": self.qk_norm,
            "rope_linear_scaling_factor": self.rope_linear,
            "rope_type": "llama3.1" if self.rope_interleaved else "default",
            "rope_use_scale": self.rope_llama3,
            "rope_max_timescale": int(self.rope_theta),
            "normalization_layer_epsilon": self.norm_epsilon,
            "normalize_embedding_logits": self.logits_normalized,
        }

    @property
    def _block(self) -> str:
        """MaxText's decoder_block."""
        if self.qk_norm:
            return "qwen3"
        return "llama2" if self.query_scaled else "qwen2"

    @property
    def described(self) -> "Architecture":
        """The model without what only says how MaxText stores its weights."""
        return replace(
            self,
            logits_normalized=False,
            rope_interleaved=self.rope_llama3,
            query_scaled=not (self.qk_norm or self.qkv_bias),
        )

    @property
    def _family(self) -> str:
        """Hugging Face's model_type.

        transformers 5 refuses a Llama whose heads do not divide the hidden size. Such a model is
        written as a Mistral without a window, which computes the same.
        """
        if self.qk_norm or self.qkv_bias:
            return "qwen3" if self.qk_norm else "qwen2"
        return "mistral" if self.hidden % self.heads else "llama"

    def hf_config(
        self,
        eos_token_id: int | list[int],
        pad_token_id: int | None,
        dtype: str,
        bos_token_id: int | None = None,
    ) -> dict[str, Any]:
        """The content of config.json, with the rotary keys of transformers 4 and of 5."""
        scaling = dict(LLAMA3_ROPE) if self.rope_llama3 else None
        if self.rope_linear != 1:
            scaling = {"rope_type": "linear", "factor": self.rope_linear}
        return {
            "architectures": [FAMILIES[self._family]],
            "model_type": self._family,
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
                **(scaling or {"rope_type": "default"}),
            },
            "rope_scaling": scaling,
            "rope_theta": self.rope_theta,
            "sliding_window": None,
            "torch_dtype": dtype,
            "use_cache": True,
        }


def _rope(config: dict[str, Any]) -> tuple[float, float, bool]:
    """Theta, what frequencies are divided by, and whether they are scaled as Llama 3.1's.

    Raises `InputError` for any other form of RoPE, and when the keys of transformers 4 and of 5
    are both present and differ.
    """
    default = config.get("rope_theta") or 10_000.0
    forms = []
    for name in ("rope_parameters", "rope_scaling"):
        rope = config.get(name) or {}
        if not isinstance(rope, dict):
            raise InputError(f"{name}: expected a mapping, found {rope!r}")
        kind = rope.get("rope_type", rope.get("type", "default"))
        _check("rope_type", kind, ("default", "linear", "llama3"))
        linear = rope.get("factor") if kind == "linear" else 1.0
        if not isinstance(linear, int | float):
            raise InputError(f"{name}: factor: expected a number, found {linear!r}")
        known = {"factor": linear} if kind == "linear" else {}
        known |= LLAMA3_ROPE if kind == "llama3" else {}
        for key in sorted((known.keys() | rope.keys()) - {"rope_type", "type", "rope_theta"}):
            value, expected = rope.get(key), known.get(key)
            if kind == "llama3" and value != expected:
                raise InputError(
                    f"{name}: {key}: {value!r} cannot be converted; MaxText has Llama 3.1's "
                    f"{expected!r} in its code, and no key for another"
                )
            _check(key, value, (1.0, None) if key == "partial_rotary_factor" else (expected,))
        if rope:
            forms.append((rope.get("rope_theta") or default, float(linear), kind == "llama3"))
    if len(set(forms)) > 1:
        raise InputError("rope_parameters and rope_scaling differ; remove the wrong one")
    theta, linear, llama3 = forms[0] if forms else (default, 1.0, False)
    if not isinstance(theta, int | float) or not float(theta).is_integer():
        raise InputError(
            f"rope_theta: {theta!r} cannot be converted; expected a whole number, as MaxText does"
        )
    return float(theta), linear, llama3


def _check(key: str, value: Any, accepted: tuple[Any, ...]) -> None:
    if value not in accepted:
        expected = " or ".join(repr(known) for known in accepted if known is not None) or "null"
        raise InputError(f"{key}: {value!r} cannot be converted; expected {expected}")
