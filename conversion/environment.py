"""What upstream's packages read from the environment while they are imported."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def on_cpu() -> Iterator[None]:
    """Import jax and MaxText such that they look for no TPU and no Google Cloud.

    The environment is as before afterwards: a trainer that this process starts decides for itself.
    """
    before = dict(os.environ)
    os.environ.update(JAX_PLATFORMS="cpu", DECOUPLE_GCLOUD="TRUE")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
