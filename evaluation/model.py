"""Opens a model, from its folder or from the hub, for lm-eval."""

import logging
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from evaluation import decoding
from tinymathreason import vocabulary
from tinymathreason.cli import InputError
from tinymathreason.listing import reaching
from tinymathreason.weights import weight_files

FILES = ("*.json", "*.jinja", "*.model", "*.safetensors", "README.md")
"""The files that are downloaded of a model on the hub; its card tells the licence."""


def folder(name: str) -> Path:
    """The folder of a model; ``ORG/NAME[@REVISION]`` is downloaded from the hub.

    Raises `InputError` when there is no such folder, or no model and tokenizer in it.
    """
    path = Path(name)
    repository, _, revision = name.partition("@")
    if not path.exists() and repository.count("/") == 1 and not name.startswith((".", "/", "~")):
        with reaching(f"{name}: no such folder, and the hub cannot provide it"):
            from huggingface_hub import snapshot_download

            path = Path(
                snapshot_download(repository, revision=revision or None, allow_patterns=FILES)
            )
    check_folder(path)
    return path


def check_folder(path: Path) -> None:
    """Raise `InputError` unless a folder has a complete model and its tokenizer."""
    if not (path / "config.json").is_file():
        raise InputError(f"{path}: no config.json there; --model takes a model's folder")
    vocabulary.file(path)
    weight_files(path)


def check_rows(model: Any, tokenizer: Any, name: Path) -> None:
    """Raise `InputError` when the tokenizer has more entries than the model has rows."""
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise InputError(f"{name}: {len(tokenizer)} entries in the tokenizer, {rows} in the model")


def check_form(tokenizer: Any, form: str | None, name: Path) -> str:
    """The form of the prompts: ``chat``, if requested or if there is a template, or ``plain``.

    Raises `InputError` for ``chat`` without a template.
    """
    if form == "chat" and not tokenizer.chat_template:
        raise InputError(f"{name}: no chat template there; use --form plain")
    return form or ("chat" if tokenizer.chat_template else "plain")


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of a folder, for batches of prompts: it pads on the left.

    One without a padding token pads with end-of-text. No answer depends on it: the mask of a batch
    hides the padding. Raises `InputError` for one that cannot be loaded.
    """
    from transformers import AutoTokenizer

    with reaching(f"{path}: no tokenizer that transformers can load"):
        tokenizer: Any = AutoTokenizer.from_pretrained(path, padding_side="left")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def device_and_dtype() -> tuple[str, str]:
    """Where a model runs, and its dtype: bfloat16 on a GPU, float32 on a CPU."""
    import torch

    return ("cuda", "bfloat16") if torch.cuda.is_available() else ("cpu", "float32")


VLLM = "0.31.0"
"""The version of vLLM that the code was written for, by its interface; nobody has run it yet. It is
the newest one that TRL 1.16 supports; lm-eval 0.4.13 needs 0.18 or newer."""


def check_vllm(key: str) -> None:
    """Raise `InputError`, naming the ``key`` that asks for it, unless `VLLM` is installed."""
    try:
        found = version("vllm")
    except PackageNotFoundError as error:
        raise InputError(
            f"{key}: vLLM is not installed; it is installed by itself, on a machine with a GPU: "
            f"pip install vllm=={VLLM}"
        ) from error
    if found.partition("+")[0] != VLLM:
        raise InputError(f"{key}: this was written for vLLM {VLLM}; installed is {found}")


def open_lm(path: Path, backend: str, batch_size: int) -> Any:
    """lm-eval's model of a folder, with what `decoding.configured` returns as ``configured``.

    Raises `InputError` when vLLM is missing or of another version than `VLLM`, and when model and
    tokenizer do not fit.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    device, dtype = device_and_dtype()
    if backend == "vllm":
        check_vllm("backend")
        from lm_eval.models import vllm_causallms

        lm = vllm_causallms.VLLM(
            str(path), dtype=dtype, batch_size="auto", load_format="safetensors",
            generation_config="vllm",
        )  # fmt: skip
    else:
        with reaching(f"{path}: no model that transformers can load"):
            from evaluation.harness import HarnessModel

            lm = HarnessModel(str(path), device=device, dtype=dtype, batch_size=batch_size)
        check_rows(lm.model, lm.tokenizer, path)
    lm.configured = decoding.configured(path)
    return lm
