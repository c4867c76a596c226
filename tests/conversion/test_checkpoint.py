"""Checkpoints can be read when sharded, compressed otherwise or in a bucket; damage is reported."""

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import urllib.parse

import ml_dtypes
import numpy as np
import pytest
import tensorstore

from conversion import checkpoint as module
from conversion.checkpoint import Checkpoint
from conversion.mapping import stored
from tests.support.checkpoints import SIZES, random_arrays, save
from tinymathreason.cli import InputError

pytestmark = [pytest.mark.xdist_group("maxtext"), pytest.mark.filterwarnings("ignore")]
WI = "decoder.layers.mlp.wi_0.kernel"


@pytest.fixture(scope="module")
def step_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "7"
    save(path, random_arrays(True), True)
    return path


def check(step_dir, expected) -> None:
    """Blocks cover every array once, with its values."""
    checkpoint = Checkpoint(step_dir)
    assert checkpoint.entries.keys() == expected.keys()
    for path, array in expected.items():
        covered = np.zeros(array.shape, int)
        for region, block in checkpoint.blocks(path):
            covered[region] += 1
            np.testing.assert_array_equal(block, array[region])
        assert (covered == 1).all()


def test_blocks(step_dir, monkeypatch) -> None:
    check(step_dir, random_arrays(True))
    monkeypatch.setattr(module, "BLOCK", 5000)  # several blocks an array
    assert len(list(Checkpoint(step_dir).blocks(WI))) > 5
    check(step_dir, random_arrays(True))
    monkeypatch.setattr(module, "RANGE", 100)
    check(step_dir, random_arrays(True))


SHARDED = """
import sys
from pathlib import Path
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import orbax.checkpoint.experimental.v1 as ocp
from tests.support.checkpoints import SIZES, random_arrays, save

mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("fsdp", "tensor"))
tree = {}
for path, array in random_arrays(True).items():
    axes = [None] * array.ndim
    axes[0] = "fsdp" if array.shape[0] % 4 == 0 else "tensor"
    if axes[0] == "fsdp" and array.shape[-1] % 2 == 0 and array.ndim > 1:
        axes[-1] = "tensor"
    node = tree
    *parents, last = path.split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
    node[last] = jax.device_put(array, NamedSharding(mesh, PartitionSpec(*axes)))
params = {"params": tree}
state = {"params": params, "opt_state": {"mu": params, "nu": params}, "step": jax.numpy.int32(7)}
ocp.save_checkpointables(Path(sys.argv[1]), {"items": state}, custom_metadata={"scan_layers": True})
"""


def test_sharded_over_eight_devices_with_optimiser_state(tmp_path) -> None:
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    command = [sys.executable, "-c", SHARDED, str(tmp_path / "7")]
    subprocess.run(command, env=env, check=True, capture_output=True)
    checkpoint = Checkpoint(tmp_path / "7")
    assert checkpoint.entries[WI].shard == (12, 3, 40)
    assert len(checkpoint.others) == 2 * len(checkpoint.entries) + 1
    checkpoint.check(SIZES)
    check(tmp_path / "7", random_arrays(True))


def test_bfloat16_weights(tmp_path) -> None:
    arrays = {p: a.astype(ml_dtypes.bfloat16) for p, a in random_arrays(False).items()}
    save(tmp_path / "7", arrays, False)
    checkpoint = Checkpoint(tmp_path / "7")
    assert not checkpoint.scanned
    checkpoint.check(SIZES)
    check(tmp_path / "7", arrays)


def rewrite(step_dir, path: str, array, **metadata) -> None:
    """Store an array of the checkpoint anew, with other zarr metadata."""
    kvstore = {
        "driver": "ocdbt",
        "base": {"driver": "file", "path": f"{step_dir}/items/"},
        "path": f"params.params.{path}/",
    }
    spec = {"driver": "zarr3", "kvstore": kvstore, "metadata": metadata}
    store = tensorstore.open(
        spec, create=True, delete_existing=True, dtype=array.dtype, shape=array.shape
    ).result()
    store.write(array).result()


def test_other_codecs_and_chunks_within_shards(tmp_path) -> None:
    save(tmp_path / "7", random_arrays(True), True)
    array = random_arrays(True)[WI]  # 48 x 3 x 80
    gzip = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "gzip"}]
    grid = {"name": "regular", "configuration": {"chunk_shape": [20, 3, 33]}}
    rewrite(tmp_path / "7", WI, array, codecs=gzip, chunk_grid=grid)
    assert not Checkpoint(tmp_path / "7").entries[WI].streamed
    check(tmp_path / "7", random_arrays(True))
    # Chunks of (10, 3, 11) within shards of (20, 3, 33): neither divides the array.
    zstd = [gzip[0], {"name": "zstd", "configuration": {"level": 1}}]
    inner = {"chunk_shape": [10, 3, 11], "codecs": zstd, "index_location": "end"}
    codecs = [{"name": "sharding_indexed", "configuration": inner}]
    rewrite(tmp_path / "7", WI, array, codecs=codecs, chunk_grid=grid)
    assert Checkpoint(tmp_path / "7").entries[WI].streamed
    check(tmp_path / "7", random_arrays(True))


def store_of(step_dir):
    base = {"driver": "file", "path": f"{step_dir}/items/"}
    return tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()


def damaged(step_dir, change) -> None:
    """Replace the chunk of `WI` by ``change`` of its bytes; None removes it."""
    store = store_of(step_dir)
    key = f"params.params.{WI}/c/0/0/0"
    value = change(bytes(store[key]))
    if value is None:
        del store[key]
    else:
        store[key] = value


def shard(stream: bytes) -> bytes:
    """A shard's bytes around one chunk; the reader leaves the index's checksum alone."""
    return stream + b"\0" * 8 + len(stream).to_bytes(8, "little") + b"\0" * 4


def compressed(count: int) -> bytes:
    import zstandard

    return shard(zstandard.compress(np.zeros(count, np.float32).tobytes()))


SIZE = 48 * 3 * 80
DAMAGE = {
    "missing": (lambda data: None, "is missing"),
    "never written": (lambda data: b"\xff" * 16 + b"\0" * 4, "is missing"),
    "overwritten start": (lambda data: bytes(99) + data[99:], "cannot be read"),
    "no stream at all": (lambda data: shard(b"text"), "cannot be read"),
    "cut stream": (lambda data: shard(data[: len(data) // 2]), "is shorter than its shape"),
    "short": (lambda data: compressed(SIZE - 1), "is shorter than its shape"),
    "long": (lambda data: compressed(SIZE + 1), "is longer than its shape"),
    "cut index": (lambda data: b"1234", "cannot be read"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_chunk_is_reported(tmp_path, kind: str) -> None:
    save(tmp_path / "7", random_arrays(True), True)
    change, words = DAMAGE[kind]
    damaged(tmp_path / "7", change)
    with pytest.raises(InputError, match=f"{re.escape(WI)} cannot be read.*") as error:
        Checkpoint(tmp_path / "7").read(WI)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_data_file_is_reported(tmp_path) -> None:
    save(tmp_path / "7", random_arrays(True), True)
    for file in (tmp_path / "7" / "items" / "ocdbt.process_0" / "d").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        Checkpoint(tmp_path / "7").read(WI)


@pytest.mark.parametrize("part", ["_CHECKPOINT_METADATA", "items/manifest.ocdbt"])
def test_an_unfinished_checkpoint_is_reported(tmp_path, part: str) -> None:
    save(tmp_path / "7", random_arrays(True), True)
    (tmp_path / "7" / part).unlink()
    with pytest.raises(InputError, match=r"not a (MaxText|readable) checkpoint"):
        Checkpoint(tmp_path / "7")


def test_another_shape_is_reported_side_by_side(step_dir) -> None:
    from dataclasses import replace

    with pytest.raises(InputError) as error:
        Checkpoint(step_dir).check(replace(SIZES, mlp=81))
    assert "wi_0.kernel expected (48, 3, 81) found (48, 3, 80)" in str(error.value)


class Bucket(http.server.BaseHTTPRequestHandler):
    """A stand-in for the part of Cloud Storage's JSON interface that reading needs."""

    protocol_version = "HTTP/1.1"
    root = None

    def log_message(self, *_args) -> None:
        pass

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path.partition("/b/bucket/o/")[2]
        file = self.root / urllib.parse.unquote(path)
        status, body, headers = 404, b"{}", {}
        if path and file.is_file():
            status, body, headers = 200, file.read_bytes(), {"x-goog-generation": "1"}
            if asked := self.headers.get("Range"):
                first, last = asked.removeprefix("bytes=").split("-")
                status, whole = 206, len(body)
                body = body[int(first) : int(last) + 1]
                headers["Content-Range"] = f"bytes {first}-{int(first) + len(body) - 1}/{whole}"
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def test_a_bucket(step_dir) -> None:
    Bucket.root = step_dir.parent
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = {
        **os.environ,
        "TENSORSTORE_GCS_HTTP_URL": f"http://127.0.0.1:{server.server_port}",
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
    }
    code = (
        "import sys, json; from conversion.checkpoint import Checkpoint\n"
        "found = Checkpoint(sys.argv[1])\n"
        "print(json.dumps({path: float(found.read(path).sum()) for path in found.entries}))"
    )
    for address, status in (("gs://bucket/7", 0), ("gs://bucket/8", 1)):
        done = subprocess.run(
            [sys.executable, "-c", code, address], env=env, capture_output=True, text=True
        )
        assert done.returncode == status, done.stderr
        if status == 0:
            sums = {path: float(array.sum()) for path, array in random_arrays(True).items()}
            assert json.loads(done.stdout) == pytest.approx(sums, rel=1e-5)
            assert sums.keys() == stored(SIZES, True).keys()
        else:
            assert "gs://bucket/8: not a MaxText checkpoint" in done.stderr
    server.shutdown()
