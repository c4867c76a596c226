"""The files beside a model's weights: configuration, generation defaults, tokenizer, chat template.

This project's own tokenizers get what their models need. Any other model's files are carried
through as they are, to the byte.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from conversion.architecture import Architecture
from conversion.mapping import DTYPES
from tinymathreason import vocabulary
from tinymathreason.chatml import EOS, IM_END, PAD, TEMPLATE
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json, write_text
from tinymathreason.provenance import ASKING

CONFIG = "config.json"
GENERATION = "generation_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
PADDINGS = tuple(2**power for power in range(3, 11))
"""Multiples to which a vocabulary is padded so that devices can share it."""
_TYPES = ("dtype", "torch_dtype")
"""Keys of config.json with the weights' type, in transformers 5 and 4."""


def files(folder: Path) -> list[Path]:
    """A folder's tokenizer, chat templates, generation and model configuration."""
    patterns = (*ASKING, CONFIG)
    return sorted({p for pattern in patterns for p in folder.glob(pattern) if p.is_file()})


def dtype(folder: Path) -> str:
    """The type of the weights that a folder's config.json names; float32 without one."""
    named = next((value for key in _TYPES if (value := _content(folder / CONFIG).get(key))), None)
    return named if isinstance(named, str) and named in DTYPES else "float32"


def keep(model: Path, folder: Path, dtype: str) -> None:
    """Copy a model's `files` into the new ``folder``; ``dtype`` is the one of its weights.

    `write` makes a model from them again, whose weights are of this type by default.
    """
    folder.mkdir()
    _copy(model, folder)
    _copy_config(model, folder, dtype)


def trimmed(sizes: Architecture, tokenizer: Path) -> Architecture:
    """``sizes`` with the vocabulary of the model to write.

    The vocabulary of a model with this project's tokenizer is cut to the tokenizer's; it may be
    larger only by padding. Any other model keeps its vocabulary, which the tokenizer must fit into,
    unless it comes from a model of these very sizes. Raises `InputError` when the folder has no
    tokenizer, or one of another size.
    """
    vocabulary.file(tokenizer)
    if _config_of(sizes, tokenizer) is not None:
        return sizes
    ids = vocabulary.read(tokenizer)
    rows = max(ids.values()) + 1
    if rows <= sizes.vocab and not _own(ids):
        return sizes
    padded = [step for step in PADDINGS if sizes.vocab % step == 0 and sizes.vocab - rows < step]
    if rows != sizes.vocab and (rows > sizes.vocab or not padded):
        raise InputError(
            f"{tokenizer}: the tokenizer has {rows} entries, vocab_size is {sizes.vocab}; expected "
            f"{rows}, or that padded to a multiple of at most {max(PADDINGS)}"
        )
    return replace(sizes, vocab=rows)


def write(sizes: Architecture, tokenizer: Path, folder: Path, dtype: str) -> None:
    """Fill ``folder`` with everything that is not weights, from the files in ``tokenizer``.

    A folder with a config.json, or without this project's special tokens, is another model's: its
    files are copied. Its config.json too, with ``dtype`` in it, if it describes a model of
    ``sizes``; otherwise a new one gets its token ids. Raises `InputError` for a tokenizer whose
    configuration is missing or names no end of text.
    """
    if not (tokenizer / CONFIG).is_file() and is_own(tokenizer):
        _write_own(sizes, tokenizer, folder, dtype)
        return
    _copy(tokenizer, folder)
    if _config_of(sizes, tokenizer) is not None:
        _copy_config(tokenizer, folder, dtype, sizes.context)
    else:
        write_json(folder / CONFIG, sizes.hf_config(dtype=dtype, **token_ids(tokenizer)))


def token_ids(folder: Path) -> dict[str, Any]:
    """``bos_token_id``, ``eos_token_id`` and ``pad_token_id`` by a model's own files.

    Its generation configuration decides, then config.json, then the tokenizer's configuration.
    Raises `InputError` when none of them names the end of text.
    """
    entries: dict[str, int] = {}
    ids: dict[str, Any] = {}
    places = [_content(folder / name) for name in (GENERATION, CONFIG)]
    tokens = _content(folder / "special_tokens_map.json")
    tokens |= _content(folder / "tokenizer_config.json")
    for kind in ("bos_token", "eos_token", "pad_token"):
        named = [place[f"{kind}_id"] for place in places if place.get(f"{kind}_id") is not None]
        token = tokens.get(kind)
        token = token.get("content") if isinstance(token, dict) else token
        if not named and token is not None:
            entries = entries or vocabulary.read(folder)
            if token not in entries:
                raise InputError(f"{folder}: {kind} is {token!r}, which the tokenizer lacks")
            named = [entries[token]]
        ids[f"{kind}_id"] = named[0] if named else None
    if ids["eos_token_id"] is None:
        raise InputError(
            f"{folder}: no end of text: neither {GENERATION} nor tokenizer_config.json names one"
        )
    return ids


def is_own(folder: Path) -> bool:
    """Whether a folder's tokenizer is one that this project's data preparation made."""
    return vocabulary.file(folder).name == vocabulary.FAST and _own(vocabulary.read(folder))


def _own(ids: dict[str, int]) -> bool:
    return all(token in ids for token in (EOS, PAD, IM_END))


def _content(file: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one for a missing file."""
    content = read_json(file) if file.is_file() else {}
    if not isinstance(content, dict):
        raise InputError(f"{file}: expected a mapping of keys to values")
    return content


def _config_of(sizes: Architecture, folder: Path) -> dict[str, Any] | None:
    """The content of a folder's config.json, if a model of ``sizes`` can be loaded with it."""
    content = _content(folder / CONFIG)
    try:
        theirs = Architecture.from_hf(content)
    except InputError:
        return None
    same = replace(theirs.described, context=sizes.context) == sizes.described
    return content if same else None


def _copy(source: Path, folder: Path) -> None:
    """Copy all `files` but config.json."""
    for file in files(source):
        if file.name != CONFIG:
            target = folder / file.relative_to(source)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target)


def _copy_config(source: Path, folder: Path, dtype: str, context: int = 0) -> None:
    """Copy config.json with a type and at least ``context`` positions; to the byte if it has them.

    A training on shorter rows than the model allows does not shorten the model.
    """
    content = _content(source / CONFIG)
    longest = max(content["max_position_embeddings"], context)
    changed = {**content, "max_position_embeddings": longest}
    if dtype != next((content[key] for key in _TYPES if content.get(key)), "float32"):
        changed |= dict.fromkeys([key for key in _TYPES if key in content] or _TYPES, dtype)
    if changed == content:
        shutil.copyfile(source / CONFIG, folder / CONFIG)
    else:
        write_json(folder / CONFIG, changed)


def _write_own(sizes: Architecture, source: Path, folder: Path, dtype: str) -> None:
    """The files of a model with this project's tokenizer.

    The tokenizer's own template is used if there is one, else the project's. Generation ends at the
    end of a document and at the end of a chat message.
    """
    ids = vocabulary.read(source)
    own = read_json(source / "tokenizer_config.json")
    if not isinstance(own, dict):
        raise InputError(
            f"{source / 'tokenizer_config.json'}: expected a mapping of keys to values"
        )
    template = own.get("chat_template") or TEMPLATE.read_text(encoding="utf-8")
    if (source / CHAT_TEMPLATE).is_file():
        try:
            template = (source / CHAT_TEMPLATE).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{source / CHAT_TEMPLATE}: not UTF-8: {error}") from error
    settings = {
        # CTranslate2 needs one; no text begins with it.
        "bos_token": EOS,
        **{key: value for key, value in own.items() if key != "auto_map"},  # no custom code
        # For transformers 4: a class that both versions have, no token_type_ids, which generate()
        # would refuse, and the template, which versions before 4.49 read only from here.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "chat_template": template,
    }
    write_json(folder / CONFIG, sizes.hf_config(ids[EOS], ids[PAD], dtype))
    stop = [ids[EOS], ids[IM_END]]
    generation = {"do_sample": False, "eos_token_id": stop, "pad_token_id": ids[PAD]}
    write_json(folder / GENERATION, generation)
    write_json(folder / "tokenizer_config.json", settings)
    write_text(folder / CHAT_TEMPLATE, template)
    shutil.copyfile(source / vocabulary.FAST, folder / vocabulary.FAST)
