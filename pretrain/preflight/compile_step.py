"""Command: compile MaxText's train step for a slice without having one, and save XLA's result.

python -m pretrain.preflight.compile_step OVERLAY.yml FOLDER key=value ...

It runs in a process of its own, because libtpu and MaxText's flags are set once per process. It
writes two files into FOLDER: ``step.hlo.gz``, the optimised program of one device, and
``step.json``, its sizes. When the step does not fit into memory, there is only ``step.json``, with
XLA's message. Without ``compile_topology`` it compiles for the first device of this machine.
"""

import argparse
import gzip
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from tinymathreason import cli
from tinymathreason.files import write_json


def largest(text: str, count: int = 3) -> list[tuple[str, int]]:
    """The ``count`` largest arrays of a program and their sizes in bytes, over all devices.

    ``text`` is StableHLO, before partitioning. XLA names no buffers of a program that does not fit.
    """
    sizes: dict[str, int] = {}
    for dimensions, kind, bits in re.findall(r"tensor<((?:\d+x)+)(bf|f|i|ui)(\d+)>", text):
        shape = dimensions.rstrip("x")
        elements = math.prod(int(size) for size in shape.split("x"))
        sizes[f"{kind}{bits}[{shape}]"] = elements * int(bits) // 8
    return sorted(sizes.items(), key=lambda item: -item[1])[:count]


def main(argv: Sequence[str]) -> None:
    """Compile as MaxText's ``train_compile`` does, with the same public functions."""
    parser = argparse.ArgumentParser(
        prog="pretrain.preflight.compile_step",
        description="Compile a train step for pretrain.preflight.",
    )
    parser.add_argument("overlay", type=Path)
    parser.add_argument("folder", type=Path, help="existing folder for the result")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args(argv)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # not on a TPU host: no metadata server
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
    import jax
    from flax.core.spmd import logical_axis_rules
    from maxtext.configs import pyconfig
    from maxtext.trainers.pre_train import train, train_compile
    from maxtext.utils import maxtext_utils, sharding

    # As in MaxText's main: another random number generator would be another program.
    jax.config.update("jax_default_prng_impl", "unsafe_rbg")
    os.environ["LIBTPU_INIT_ARGS"] = "--xla_tpu_spmd_rng_bit_generator_unsafe=true"
    config = pyconfig.initialize(["compile", str(options.overlay), *options.overrides])
    if config.compile_topology:
        mesh = train_compile.get_topology_mesh(config)
    else:
        mesh = maxtext_utils.get_mesh_from_config(config, jax.devices()[:1])
    arguments, keywords, state_shardings, _, model = train_compile.get_shaped_inputs(mesh, config)
    params, state_shardings = sharding.maybe_update_params_sharding_with_opt(
        config, state_shardings
    )
    step, inputs, outputs, static, donated = maxtext_utils.get_functional_train_with_signature(
        train.train_step,
        sharding.get_input_data_sharding(config, mesh),
        sharding.build_zero1_input_state_mesh_shardings(config, state_shardings, params),
        model,
        config,
        params,
    )
    state = jax.tree.leaves(arguments[0])
    summary = {
        "devices": mesh.size,
        "tokens": config.global_batch_size_to_train_on * config.max_target_length,
        "state_bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in state),
        "model": {
            "layers": config.num_decoder_layers,
            "hidden": config.emb_dim,
            "heads": config.num_query_heads,
            "kv_heads": config.num_kv_heads,
            "head_dim": config.head_dim,
            "mlp": config.mlp_dim,
            "mlp_matrices": len(config.mlp_activations) + 1,
            "vocab": config.vocab_size,
            "context": config.max_target_length,
            "tied": config.logits_via_embedding,
        },
    }
    try:
        compiled = train_compile.jit_and_compile(
            step, arguments, keywords, mesh, inputs, outputs, static, donated, config,
            logical_axis_rules(config.logical_axis_rules),
        )  # fmt: skip
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        with jax.set_mesh(mesh), logical_axis_rules(config.logical_axis_rules):
            jitted = jax.jit(
                step, in_shardings=inputs, out_shardings=outputs, static_argnums=static
            )
            text = jitted.lower(*arguments, **keywords).as_text()
        summary |= {"out_of_memory": str(error), "largest": largest(text)}
        write_json(options.folder / "step.json", summary)
        return
    memory = compiled.memory_analysis()
    with gzip.open(options.folder / "step.hlo.gz", "wb", compresslevel=1) as file:
        file.write(compiled.as_text().encode())
    summary["memory"] = {
        "arguments": memory.argument_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "host": memory.host_temp_size_in_bytes + memory.host_argument_size_in_bytes,
    }
    write_json(options.folder / "step.json", summary)


if __name__ == "__main__":
    cli.run(main)
