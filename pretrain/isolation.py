"""Command: does a value of ``attention`` keep the documents of a packed row apart, here?

python -m pretrain.isolation [--hardware cpu|gpu] [--attention VALUE ...]

It runs a small model of the 1B model's block on a row with two documents, forward, as MaxText's
trainer does. It changes a token of the first document and looks whether the logits of the second
one move, and as a control whether those of the first one do. It prints a line of JSON for each
value of ``attention``: what was found, and what `pretrain.attention` says.

``--interpret`` runs the GPU's tokamax kernel on a CPU, in Pallas's interpreter, which is slow.
"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pretrain import attention, overlay
from tinymathreason import cli

LENGTH = 256
"""Tokens of the row; the second document begins in the middle, not at a block of a kernel."""
BOUNDARY = 150
CHANGED = 40
"""The token of the first document that is changed."""
SIZES = {
    "base_emb_dim": 128,
    "base_num_query_heads": 4,
    "base_num_kv_heads": 1,
    "head_dim": 64,
    "base_mlp_dim": 128,
    "base_num_decoder_layers": 2,
    "vocab_size": 128,
    "max_target_length": LENGTH,
    "per_device_batch_size": 1,
}


def forward(value: str, hardware: str) -> Callable[[Any], Any]:
    """A small model's forward pass: int32[1, LENGTH] tokens to float32[LENGTH, vocabulary] logits.

    The weights are MaxText's initial ones, the same for every value of ``attention``.
    """
    os.environ.setdefault("DECOUPLE_GCLOUD", "TRUE")
    with contextlib.redirect_stdout(sys.stderr):  # upstream's imports print
        import jax
        import jax.numpy as jnp
        from maxtext.configs import pyconfig
        from maxtext.utils import model_creation_utils

        config = pyconfig.initialize(
            ["", str(overlay.upstream_configs() / "base.yml")],
            **SIZES,
            attention=value,
            hardware=hardware,
            decoder_block="llama2",
            dtype="float32" if hardware == "cpu" else "bfloat16",
            dataset_type="grain",
            grain_train_files="unused",
            tokenizer_path="unused",
            max_segments_per_seq=2,
            enable_checkpointing=False,
            run_name="isolation",
            base_output_directory="unused",
            skip_jax_distributed_system=True,
            log_config=False,
        )
        model, mesh = model_creation_utils.from_pretrained(config)
    columns = jnp.arange(LENGTH, dtype=jnp.int32)[None]
    segments = jnp.where(columns < BOUNDARY, 1, 2)
    positions = jnp.where(columns < BOUNDARY, columns, columns - BOUNDARY)

    def logits(tokens: Any) -> Any:
        with jax.set_mesh(mesh):
            return model(tokens, positions, segments, enable_dropout=False)[0].astype(jnp.float32)

    return logits


def moved(logits: Callable[[Any], Any]) -> tuple[float, float]:
    """The largest change of a logit in the document that was changed, and in the other one.

    Raises what MaxText, jax or a kernel raises where the attention does not run.
    """
    import jax
    import jax.numpy as jnp

    tokens = jax.random.randint(jax.random.key(0), (1, LENGTH), 0, SIZES["vocab_size"])
    other = tokens.at[0, CHANGED].set((tokens[0, CHANGED] + 1) % SIZES["vocab_size"])
    change = jnp.abs(logits(other) - logits(tokens)).max(-1)
    return float(change[:BOUNDARY].max()), float(change[BOUNDARY:].max())


def probe(value: str, hardware: str) -> dict[str, Any]:
    """What was found for a value of ``attention``, and whether it is what the table says."""
    try:
        own, other = moved(forward(value, hardware))
    except Exception as error:  # whatever MaxText, jax or a kernel raises is the finding
        found = attention.Isolation.NOT_RUN
        figures: dict[str, Any] = {"error": f"{type(error).__name__}: {error}"[:300]}
    else:
        found = attention.Isolation.MIXED if other else attention.Isolation.APART
        figures = {"own_document": own, "other_document": other}
        if not own:
            raise AssertionError(f"{value}: the changed token moved no logit of its own document")
    expected = attention.TABLE[hardware][value].documents
    return {
        "benchmark": "attention_isolation",
        "attention": value,
        "hardware": hardware,
        "documents": found.value,
        "table": expected.value,
        "as_in_table": found is expected,
        **figures,
    }


@contextlib.contextmanager
def interpreted() -> Iterator[None]:
    """Within the block, kernels for a GPU run forward on a CPU, in Pallas's slow interpreter."""
    from jax.experimental.pallas import tpu
    from tokamax import config

    # Named after TPUs, the switch holds for every kernel of Pallas; True is its plain interpreter.
    with config.cross_compile(True), tpu.force_tpu_interpret_mode(True):
        yield


def main(argv: Sequence[str]) -> None:
    """Parse the command line and print a line for each value."""
    parser = argparse.ArgumentParser(
        prog="pretrain.isolation", description="Does an attention keep documents apart?"
    )
    parser.add_argument("--hardware", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--attention", nargs="+", choices=list(attention.TABLE["gpu"]))
    parser.add_argument("--interpret", action="store_true", help="the GPU's kernel on a CPU")
    arguments = parser.parse_args(argv)
    if arguments.hardware == "cpu" or arguments.interpret:
        os.environ["JAX_PLATFORMS"] = "cpu"
    hardware = arguments.hardware
    with interpreted() if arguments.interpret else contextlib.nullcontext():
        for value in arguments.attention or attention.TABLE[hardware]:
            print(json.dumps(probe(value, hardware)), flush=True)


if __name__ == "__main__":
    cli.run(main)
