"""The model that a run starts from, and the model folder that it writes."""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinymathreason import vocabulary
from tinymathreason.chat import Chat
from tinymathreason.chatml import IM_END, IM_START, TEMPLATE, conversation
from tinymathreason.cli import InputError
from tinymathreason.control_tokens import control_ids
from tinymathreason.files import read_json, write_json
from tinymathreason.weights import weight_files

SHARD = 5 * 10**9
"""Largest file of weights, in bytes; transformers' default is ten times as large."""


@contextlib.contextmanager
def loading(model: str) -> Iterator[None]:
    """Turn a library's error about a wrong model, adapter or option into one line."""
    from safetensors import SafetensorError

    try:
        yield
    except InputError:
        raise
    except (ImportError, OSError, RuntimeError, SafetensorError, ValueError) as error:
        lines = [*str(error).splitlines(), repr(error)]
        message = next(line.strip() for line in lines if line.strip())
        raise InputError(f"{model}: {message}") from error


def load_config(model: Any) -> Any:
    """The transformers configuration of the model of TRL's ``model`` configuration.

    Raises `InputError` when there is none.
    """
    from transformers import AutoConfig

    with loading(model.model_name_or_path):
        return AutoConfig.from_pretrained(model.model_name_or_path, revision=model.model_revision)


def local_folder(model: str, revision: str = "main") -> Path:
    """The folder of a model; one that is named ORG/NAME is fetched from the hub.

    Raises `InputError` when there is no whole model.
    """
    from evaluation.model import folder

    path = Path(model)
    if not path.is_dir():
        path = folder(f"{model}@{revision}")
    check_folder(path)
    return path


def check_folder(folder: Path, weights: bool = True) -> None:
    """Raise `InputError` naming a file that is missing in a model's folder."""
    for name in [*(["config.json"] if weights else []), "tokenizer_config.json"]:
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no {name} there; model_name_or_path takes a whole model")
    vocabulary.file(folder)
    if weights:
        weight_files(folder)


def load_tokenizer(
    model: str, template: Path | None, revision: str = "main", weights: bool = True
) -> Any:
    """The tokenizer of a folder or of ORG/NAME, with the chat template of a file.

    Without ``template`` it keeps its own, or takes the project's if it has none. If it lacks the
    special tokens of the project's template, they are added: ``new_tokens`` are their ids, for
    which the model gets rows (`sft.embeddings`). Without a padding token it pads with end-of-text;
    labels go by position, so no token is taken for padding. ``weights`` is whether the folder must
    contain the model too.

    Raises `InputError` if a file is missing, or if the template cannot be rendered, hides the token
    that ends an answer from the loss, or if that of a file adds a second beginning-of-text token.
    """
    from transformers import AddedToken, AutoTokenizer

    if Path(model).is_dir():
        check_folder(Path(model), weights)
    with loading(model):
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
        own = tokenizer.get_chat_template() if tokenizer.chat_template else None
    if template is None and own is None:
        template = TEMPLATE
    tokenizer.chat_template = own if template is None else _text(template)
    tokenizer.new_tokens = []
    if tokenizer.chat_template == TEMPLATE.read_text(encoding="utf-8"):
        new = [token for token in (IM_START, IM_END) if token not in tokenizer.get_vocab()]
        tokenizer.add_tokens([AddedToken(token, special=True) for token in new])
        tokenizer.new_tokens = tokenizer.convert_tokens_to_ids(new)
    origin = template or f"the chat template of {model}"
    chat = _chat(tokenizer, origin)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = next(
            i for i in (tokenizer.eos_token_id, chat.stop) if i is not None
        )
    encoded = chat.encode([conversation("1 + 1?", "2")])[0]
    answer = list(itertools.compress(encoded.ids, encoded.assistant_mask))
    if answer[-1:] != [chat.stop]:
        raise InputError(
            f"{origin}: the loss would not see {tokenizer.convert_ids_to_tokens(chat.stop)} at the "
            "end of an answer; put it inside the template's generation block"
        )
    if template is None:
        return tokenizer  # apply_chat_template adds nothing before the text of a template
    bos = tokenizer.bos_token_id
    text = tokenizer.apply_chat_template(conversation("1 + 1?", "2"), tokenize=False)
    if bos is not None and tokenizer(text)["input_ids"][:2] == [bos, bos]:
        raise InputError(
            f"{origin}: it begins with {tokenizer.bos_token}, which the tokenizer of {model} "
            "already puts before every text; there would be two: remove it from the template"
        )
    return tokenizer


def _text(template: Path) -> str:
    """The text of a template's file; `InputError` if it is not UTF-8."""
    try:
        return template.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{template}: not a template in UTF-8: {error}") from error


def _chat(tokenizer: Any, origin: Path | str) -> Chat:
    """The tokenizer with its template; an error names where the template is from."""
    try:
        return Chat(tokenizer, tokenizer.chat_template)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from error


def tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 of everything that determines the token ids of a conversation."""
    special = json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str)
    described = tokenizer.backend_tokenizer.to_str() + tokenizer.chat_template + special
    return hashlib.sha256(described.encode("utf-8")).hexdigest()


def check_vocabulary(tokenizer: Any, rows: int) -> int:
    """The number of embedding rows without a token; a model may have such rows as padding.

    Raises `InputError` naming a token without a row, preferably a special token.
    """
    ids = tokenizer.get_vocab()
    outside = [token for token, i in ids.items() if i >= rows]
    if outside:
        special = control_ids(tokenizer)
        token = min(outside, key=lambda token: (token not in special, ids[token]))
        raise InputError(
            f"the tokenizer's {token!r} has the id {ids[token]}, the model's embedding {rows} "
            "rows; take the model's own tokenizer, or resize the embedding"
        )
    return rows - len(set(ids.values()))


def set_stop(model: Any, tokenizer: Any) -> None:
    """Give the model a generation configuration that stops at the end of an answer.

    Other settings of the base model's configuration, such as penalties or sampling, would affect
    every answer that is measured, rewarded or published; they are dropped, with a note.
    """
    from evaluation import decoding

    configured = model.generation_config
    ends = decoding.stop_ids(model, tokenizer, "chat")
    model.generation_config = decoding.own(ends, tokenizer.pad_token_id)
    name = model.config.name_or_path or "the base model"
    note = decoding.note(name, decoding.ignored(configured))
    if note and os.environ.get("RANK", "0") == "0":  # once for all processes
        print(note, flush=True)


def save(
    trainer: Any,
    tokenizer: Any,
    base: dict[str, Any],
    folder: Path,
    kept: Path | None = None,
) -> None:
    """Fill ``folder`` with the trained model, its tokenizer and the chat template.

    ``base`` are the arguments of AutoModelForCausalLM.from_pretrained; an adapter is merged into
    that model, so the weights of a quantised base are written unquantised. ``kept`` is a folder for
    the adapter by itself, with the tokenizer. Every process must call this, because sharded weights
    are gathered; the main one writes. Raises `OSError` or the
    library's own error when the disk is full.
    """
    from peft import PeftModel

    state = trainer.accelerator.get_state_dict(trainer.model) if trainer.is_fsdp_enabled else None
    if not trainer.is_world_process_zero():
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    if isinstance(model, PeftModel):
        adapter = folder / "adapter"
        model.save_pretrained(adapter, state_dict=state)
        if kept is not None:
            shutil.copytree(adapter, kept, dirs_exist_ok=True)
            tokenizer.save_pretrained(kept)
        model, state = merge(adapter, base), None
        shutil.rmtree(adapter)
    set_stop(model, tokenizer)
    model.save_pretrained(folder, state_dict=state, max_shard_size=SHARD)
    tokenizer.save_pretrained(folder)
    adapt(folder, tokenizer.chat_template)


def merge(adapter: Path, base: dict[str, Any]) -> Any:
    """A model with the adapter of a folder merged into it; ``base`` as in `save`."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(**base)
    return PeftModel.from_pretrained(model, adapter).merge_and_unload()


def adapt(folder: Path, template: str) -> None:
    """Make the configurations that transformers 5 wrote readable for transformers 4 and others."""
    config = read_json(folder / "config.json")
    rope = dict(config.get("rope_parameters") or {})
    # With several kinds of layers there is a mapping for each; transformers 4 cannot express it.
    if "rope_theta" in rope:
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = None if rope.get("rope_type", "default") == "default" else rope
    config["torch_dtype"] = config.get("dtype")
    config["use_cache"] = True  # the trainer disabled it
    write_json(folder / "config.json", config)
    settings = read_json(folder / "tokenizer_config.json")
    for key in ("backend", "is_local", "local_files_only"):  # they describe this machine
        settings.pop(key, None)
    settings.update(
        tokenizer_class="PreTrainedTokenizerFast",
        model_input_names=["input_ids", "attention_mask"],
        chat_template=template,
    )
    write_json(folder / "tokenizer_config.json", settings)
