"""Compares the logits of MaxText's forward pass with those of LlamaForCausalLM.

MaxText restores the checkpoint with its own loader, so this also checks how we read it.
"""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion.environment import on_cpu
from tinymathreason import vocabulary
from tinymathreason.cli import InputError
from tinymathreason.records import conversion as records

TOLERANCE = 1e-4
"""Accepted difference between two float32 logits, as a share of the largest logit."""
KL_TOLERANCE = 1e-9
"""Accepted mean divergence of the next-token distributions, in nats."""
BATCH, LENGTH = 4, 128
"""Shape of the compared rows of either kind; the length is cut to the model's context."""
TEXT = Path(__file__).with_suffix(".txt")
"""Prose, LaTeX, code, a table and a chat, which the model's own tokenizer encodes."""


@dataclass(frozen=True)
class Parity:
    """How far two models' logits are apart, over all positions but the first.

    The first position attends only to itself, so it agrees even when q and k are wrong.
    """

    max_abs_diff: float
    scale: float
    """The largest absolute logit."""
    mean_kl: float
    """Mean Kullback-Leibler divergence of the next-token distributions, in nats."""
    argmax_agreement: float
    """Share of positions whose most likely token is the same. Two tokens whose logits are closer
    than the accepted difference count as the same, since the processor decides which is ahead."""
    positions: int

    @classmethod
    def of(cls, expected: npt.NDArray[Any], found: npt.NDArray[Any]) -> "Parity":
        """Compare float32[batch, length, vocab] logits."""
        p, q = expected[:, 1:].astype(np.float64), found[:, 1:].astype(np.float64)
        log_p = p - np.logaddexp.reduce(p, axis=-1, keepdims=True)
        log_q = q - np.logaddexp.reduce(q, axis=-1, keepdims=True)
        scale = float(np.abs(p).max())
        behind = p.max(-1) - np.take_along_axis(p, q.argmax(-1)[..., None], -1)[..., 0]
        return cls(
            max_abs_diff=float(np.abs(p - q).max()),
            scale=scale,
            mean_kl=float((np.exp(log_p) * (log_p - log_q)).sum(-1).mean()),
            argmax_agreement=float((behind < 2 * TOLERANCE * scale).mean()),
            positions=p.shape[0] * p.shape[1],
        )

    def check(self) -> None:
        """Raise `InputError` unless the models are equal within the tolerances."""
        accepted = TOLERANCE * self.scale
        # Written so that a NaN fails.
        close = self.max_abs_diff < accepted and self.mean_kl < KL_TOLERANCE
        if not close or self.argmax_agreement != 1.0:
            raise InputError(
                f"parity failed: {self.line()}; accepted: below {accepted:.1e}, below "
                f"{KL_TOLERANCE}, 1.0"
            )

    def line(self) -> str:
        """The figures on one line."""
        return (
            f"max abs difference {self.max_abs_diff:.2e} of {self.scale:.1f}, "
            f"mean KL {self.mean_kl:.1e}, "
            f"argmax agreement {self.argmax_agreement:.4f} over {self.positions} positions"
        )

    def record(self) -> records.ParityRecord:
        """The figures with the tolerances; ValueError when one of them is not finite."""
        return records.ParityRecord(**asdict(self), tolerance=TOLERANCE, kl_tolerance=KL_TOLERANCE)


def maxtext_logits(
    step_dir: str, config: Path, scanned: bool, tokens: npt.NDArray[np.int32]
) -> npt.NDArray[np.float32]:
    """float32[batch, length, vocab] logits of int32[batch, length] tokens, by MaxText on CPU."""
    with on_cpu():
        import jax.numpy as jnp
        from maxtext.configs import pyconfig
        from maxtext.utils import model_creation_utils

    batch, length = tokens.shape
    absolute = step_dir if "://" in step_dir else Path(step_dir).resolve()
    resolved = pyconfig.initialize(
        ["", str(config)],
        load_parameters_path=f"{absolute}/items",
        base_output_directory=tempfile.gettempdir(),  # required, but nothing is written there
        run_name="parity",
        scan_layers=scanned,
        max_target_length=length,
        per_device_batch_size=batch,
        hardware="cpu",
        dtype="float32",
        weight_dtype="float32",
        attention="dot_product",
        remat_policy="full",
        enable_checkpointing=False,
        skip_jax_distributed_system=True,
        log_config=False,
    )
    model, _ = model_creation_utils.from_pretrained(resolved)
    positions = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), tokens.shape)
    segments = jnp.ones_like(positions)
    logits = model(jnp.asarray(tokens), positions, segments, enable_dropout=False)
    return np.asarray(logits, dtype=np.float32)


def hf_logits(model_dir: Path, tokens: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """float32[batch, length, vocab] logits of int32[batch, length] tokens, by LlamaForCausalLM."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        model_dir, dtype=torch.float32, use_safetensors=True
    )
    with torch.inference_mode():
        if model.config.tie_word_embeddings:
            # MaxText rounds the embedding to bfloat16 where it serves as the head, always.
            head = model.get_output_embeddings()
            head.weight = torch.nn.Parameter(head.weight.bfloat16().float(), requires_grad=False)
        logits = model(torch.from_numpy(tokens.astype(np.int64))).logits
    result: npt.NDArray[np.float32] = logits.float().numpy()
    return result


def tokens(model_dir: Path, vocab: int, context: int) -> npt.NDArray[np.int32]:
    """int32[2 * BATCH, min(LENGTH, context)] rows of uniform token ids, then of `TEXT`.

    Ids of the tokenizer beyond the ``vocab`` rows of the model are left out.
    """
    prose = TEXT.read_text(encoding="utf-8")
    file = vocabulary.file(model_dir)
    if file.name == vocabulary.FAST:
        import tokenizers

        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing narrower
            raise InputError(f"{model_dir}: tokenizer.json cannot be loaded: {error}") from error
        ids = tokenizer.encode(prose).ids
    else:
        ids = vocabulary.sentencepiece(model_dir).encode(prose)
    shape = (BATCH, min(LENGTH, context))
    text = np.resize([number for number in ids if number < vocab], shape)
    random = np.random.default_rng(0).integers(0, vocab, shape)
    return np.concatenate([random, text]).astype(np.int32)
