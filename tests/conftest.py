"""Shared fixtures: a small tokenizer and a small model with random weights."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# No hub can be reached from a test; without these, a wrong path would be looked up there.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
# Two workers on two cores: with two threads each, torch's threads would wait for one another.
# Only tests.processors sets more.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# jax must not search for a TPU.
os.environ["JAX_PLATFORMS"] = "cpu"


# A shell's background job ignores Ctrl-C, and so would what the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, however slow the machine is.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    """A folder as conversion writes it: a tiny Llama with random weights and a tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from data_prep import tokenizer
    from tests.support.checkpoints import SIZES, sample

    folder = tmp_path_factory.mktemp("model") / "model"
    tokenizer.save(tokenizer.train(sample(), SIZES.vocab), folder)
    torch.manual_seed(0)
    config = LlamaConfig(**{**SIZES.hf_config(1, 0, "float32"), "max_position_embeddings": 256})
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def answering_dir(model_dir, tmp_path_factory):
    """A tuned model's folder whose answers are known in advance: `tests.support.built_model`."""
    from tests.support import built_model

    folder = tmp_path_factory.mktemp("answering") / "model"
    built_model.save(model_dir, folder)
    return folder
