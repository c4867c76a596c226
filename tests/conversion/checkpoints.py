"""Orbax checkpoints in MaxText's layout with random weights, every one of them moved."""

from pathlib import Path

import numpy as np

from conversion.architecture import Architecture
from conversion.mapping import stored

SIZES = Architecture(
    layers=3,
    hidden=48,
    heads=6,
    kv_heads=2,
    head_dim=16,
    mlp=80,
    vocab=320,
    context=64,
    rope_theta=10_000.0,
    norm_epsilon=1e-5,
)
"""Odd on purpose: three layers, heads * head_dim above hidden, three queries to a key."""

OVERLAY = """
base_config: base.yml
base_num_decoder_layers: 3
base_emb_dim: 48
base_num_query_heads: 6
base_num_kv_heads: 2
head_dim: 16
base_mlp_dim: 80
vocab_size: 320
max_target_length: 64
"""


def random_arrays(scanned: bool, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays of a trained model's magnitude for every parameter of `SIZES`."""
    rng = np.random.default_rng(seed)
    found = {}
    for path, shape in stored(SIZES, scanned).items():
        if path.endswith("scale"):
            found[path] = (1 + 0.3 * rng.standard_normal(shape)).astype(np.float32)
        else:
            spread = 1.0 if path.endswith("embedding") else 0.15
            found[path] = (spread * rng.standard_normal(shape)).astype(np.float32)
    return found


def save(step_dir: Path, arrays: dict[str, np.ndarray], scanned: bool) -> None:
    """Write what upstream's trainer would write as the parameters of one step."""
    import jax.numpy as jnp
    import orbax.checkpoint.experimental.v1 as ocp

    tree: dict = {}
    for path, array in arrays.items():
        *parents, last = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = jnp.asarray(array)
    ocp.save_checkpointables(
        step_dir.resolve(),
        {"items": {"params": {"params": tree}}},
        custom_metadata={"scan_layers": scanned},
    )
