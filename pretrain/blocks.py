"""Block sizes of tokamax's attention kernel on this GPU: found once, and kept for the device.

tokamax takes a kernel's block sizes from a cache by device and shapes, else from a heuristic, and
warns of an "Autotuning cache miss". `search` measures candidates with tokamax's own autotuner, and
`chosen` lays the result over its cache. A result is kept beside jax's compiled programs, in
``attention_blocks`` below MaxText's ``jax_cache_dir``.

python -m pretrain.blocks [--blocks search|kept|heuristic] OVERLAY.yml

trains with MaxText under the chosen block sizes and without the checks of ``maxtext.train``, as
benchmarks do.
"""

import argparse
import contextlib
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pretrain import overlay, xla_flags
from pretrain.attention import ONE_CARD
from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.files import write_text
from tinymathreason.writes import check_room

MODES = ("kept", "search", "heuristic")
"""Use the kept block sizes if there are some; search where there are none; use tokamax's own."""
SECONDS = 90.0
"""Longest compilation, and longest measurement, of one kernel's candidates."""
FORWARD = {
    "block_q": (64, 128),
    "block_k": (32, 64, 128),
    "num_warps": (4, 8),
    "num_stages": (2, 3, 4),
    "pack_mask": (False, True),
}
"""Candidates of the forward kernel. Small blocks are never the fastest with long rows; a packed
mask is an eighth of the memory traffic."""
BACKWARD = {
    "block_m": (32, 64, 128),
    "block_n": (32, 64, 128),
    "num_warps": (4, 8),
    "num_stages": (2, 3),
}
"""Candidates of the backward kernel."""


def uses_kernel(config: dict[str, Any]) -> bool:
    """Whether a training computes attention with tokamax's kernel."""
    return config["hardware"] == "gpu" and config["attention"] in ONE_CARD


def shapes(config: dict[str, Any], devices: int) -> tuple[int, int, int, int, int]:
    """Rows, length, query heads, key-value heads and their width, in one call of the kernel.

    MaxText calls it once for the rows of all devices.
    """
    return (
        int(config["per_device_batch_size"] * devices),
        config["max_target_length"],
        config["base_num_query_heads"],
        config["base_num_kv_heads"],
        config["head_dim"],
    )


def kept_in(config: dict[str, Any], device: str, devices: int) -> Path:
    """The file of the block sizes for a device's kind and these shapes.

    Raises `InputError` where ``jax_cache_dir`` names no local folder.
    """
    import tokamax

    folder = config["jax_cache_dir"]
    if not folder or "://" in folder:
        raise InputError(
            "jax_cache_dir: block sizes are kept below it; expected a local folder "
            f"(got {folder!r})"
        )
    sizes = "x".join(map(str, shapes(config, devices)))
    name = re.sub(r"\W+", "_", f"{device} {sizes} {config['dtype']} {tokamax.__version__}")
    return Path(folder).expanduser() / "attention_blocks" / f"{name}.json"


def calls(config: dict[str, Any], devices: int, platform: str | None = None) -> tuple[Any, ...]:
    """The kernel's calls in a step, forward and backward, as tokamax's BoundArguments.

    They are read from the lowered gradient of the expression that MaxText uses, and that of an
    evaluation is added. ``platform`` lowers for a GPU that is not there.
    """
    import jax
    import jax.numpy as jnp
    from tokamax._src.ops.attention import base, pallas_triton
    from tokamax.autotuning import get_bound_args

    rows, length, heads, kv_heads, width = shapes(config, devices)

    def loss(query: Any, key: Any, value: Any, segments: Any) -> Any:
        same = segments[:, :, None] == segments[:, None, :]
        mask = base.Mask(is_causal=True) & base.Mask(same[:, None, :, :])
        kernel = pallas_triton.PallasTritonFlashAttention()
        return kernel(query, key, value, logits_scale=1.0, mask=mask).astype(jnp.float32).sum()

    def shape(*sizes: int, dtype: Any = config["dtype"]) -> Any:
        return jax.ShapeDtypeStruct(sizes, jnp.dtype(dtype))

    key_value = shape(rows, length, kv_heads, width)
    traced = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).trace(
        shape(rows, length, heads, width), key_value, key_value, shape(rows, length, dtype="int32")
    )
    found: tuple[Any, ...] = get_bound_args(
        traced.lower(lowering_platforms=(platform,) if platform else None)
    )
    assert len(found) == 2, found  # forward and backward
    return found


def candidates(call: Any) -> set[Any]:
    """The configurations to measure for a call."""
    make = call.op.config_cls
    if "block_q" in make.__dataclass_fields__:
        return {
            make(**dict(zip(FORWARD, sizes, strict=True)))
            for sizes in itertools.product(*FORWARD.values())
        }
    return {
        make(block_m1=m, block_m2=m, block_n1=n, block_n2=n, num_warps=warps, num_stages=stages)
        for m, n, warps, stages in itertools.product(*BACKWARD.values())
    }


def search(config: dict[str, Any], devices: int) -> Any:
    """Measure the candidates on this device; tokamax's AutotuningResult with the fastest ones.

    Raises `InputError` when no candidate of a kernel runs.
    """
    import jax

    measured = []
    for call in calls(config, devices):
        tried = call.autotune(
            candidates(call) | {call.heuristics_config}, cache_results=False, timeout=SECONDS
        )
        if not tried.prune_errors():
            raise InputError(f"no block sizes of {type(call.op).__name__} run on this GPU")
        measured.append((call, tried.prune()))
    return result(jax.devices()[0].device_kind, measured)


def result(device: str, measured: Sequence[tuple[Any, Any]]) -> Any:
    """An AutotuningResult of calls and their data, and of the forward call in an evaluation."""
    import tokamax

    evaluation = [
        (call.replace(arguments={**call.arguments, "return_residuals": False}), data)
        for call, data in measured
        if call.arguments["return_residuals"]
    ]
    return tokamax.AutotuningResult(device, (*measured, *evaluation))


@contextlib.contextmanager
def chosen(config: dict[str, Any], mode: str) -> Iterator[None]:
    """Within the block, tokamax's kernel has the block sizes of ``mode``, one of `MODES`.

    Raises `InputError` for a file that cannot be read, and as `search` does.
    """
    if mode == "heuristic" or not uses_kernel(config):
        yield
        return
    import jax
    import tokamax

    kind, devices = jax.devices()[0].device_kind, jax.device_count()
    if mode == "kept" and not config["jax_cache_dir"]:
        yield
        return
    path = kept_in(config, kind, devices)
    if path.is_file():
        try:
            found = tokamax.AutotuningResult.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: not tokamax's block sizes; remove it: {error}") from error
        print(f"block sizes of {kind}: {path}", file=sys.stderr)
    elif mode == "search":
        print(f"block sizes of {kind}: a search of some minutes", file=sys.stderr)
        check_room(path)
        found = search(config, devices)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, found.dumps(prune_errors=True))
    else:
        yield
        return
    with found:
        yield


def main(argv: Sequence[str]) -> None:
    """Parse the command line and train with MaxText's trainer."""
    parser = argparse.ArgumentParser(
        prog="pretrain.blocks", description="MaxText's trainer under chosen block sizes."
    )
    parser.add_argument("--blocks", choices=MODES, default="kept")
    parser.add_argument("overlay", type=Path)
    arguments = parser.parse_args(argv)
    config = overlay.load(arguments.overlay)
    replaced = xla_flags.applied(config)

    from absl import app
    from maxtext.trainers.pre_train import train

    with chosen(config, arguments.blocks):
        app.run(train.main, argv=["pretrain.blocks", str(arguments.overlay), *replaced])


if __name__ == "__main__":
    cli.run(main)
