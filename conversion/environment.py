"""The environment variables that upstream's packages read while they are imported."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def on_cpu() -> Iterator[None]:
    """Import jax and MaxText in the block without a search for TPUs and for Google Cloud.

    Afterwards the environment is as before: a trainer that this process starts decides for itself.
    """
    before = dict(os.environ)
    os.environ.update(JAX_PLATFORMS="cpu", DECOUPLE_GCLOUD="TRUE")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
