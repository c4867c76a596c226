"""A model and its tokenizer in; the tokens that end an answer, and a decoding of our own, out.

A model's folder may ask for sampling, penalties or forbidden tokens. Nothing here is decoded by
them: an accuracy would be another model's. Only what ends an answer is taken from the folder.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tinymathreason.chatml import conversation
from tinymathreason.cli import InputError

NEUTRAL: dict[str, Any] = {
    "bad_words_ids": None,
    "begin_suppress_tokens": None,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "exponential_decay_length_penalty": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "guidance_scale": None,
    "length_penalty": 1.0,
    "max_time": None,
    "min_length": 0,
    "min_new_tokens": None,
    "min_p": None,
    "no_repeat_ngram_size": 0,
    "num_beams": 1,
    "remove_invalid_values": False,
    "renormalize_logits": False,
    "repetition_penalty": 1.0,
    "sequence_bias": None,
    "stop_strings": None,
    "suppress_tokens": None,
    "top_h": None,
    "typical_p": 1.0,
    "watermarking_config": None,
}
"""Every setting of transformers that changes what is said, at its value that changes nothing."""
_USUAL = {
    **NEUTRAL, "do_sample": False, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "use_cache": True,
}  # fmt: skip
_NO_DECODING = re.compile(
    r".*_token_id|output_.*|return_dict.*|transformers_version|_.*|max_length|.*compile.*"
)
"""What a generation configuration holds beside settings of decoding."""
_QUESTION, _ANSWER = "What is 6 x 7?", "It is 42."


def configured(folder: Path) -> Any:
    """What a model's folder says: its ``config`` and its ``generation_config``."""
    from transformers import AutoConfig, GenerationConfig

    try:
        generation = GenerationConfig.from_pretrained(folder)
    except OSError:  # there is none: older models have the settings in their configuration
        generation = GenerationConfig.from_pretrained(
            folder, config_file_name="config.json", _from_model_config=True
        )
    return SimpleNamespace(
        config=AutoConfig.from_pretrained(folder, trust_remote_code=False),
        generation_config=generation,
    )


def stop_ids(model: Any, tokenizer: Any, form: str) -> list[int]:
    """Ids of the tokens that end an answer: in ``chat`` the template's, then every configured one.

    ``model`` is one, or what its folder says: `configured`.
    Raises `InputError` for a template that cannot be rendered.
    """
    ends = [turn_end(tokenizer)] if form == "chat" else []
    ends.append(tokenizer.eos_token_id)
    for said in (model.generation_config, model.config):
        ids = said.eos_token_id
        ends += ids if isinstance(ids, (list, tuple)) else [ids]
    return list(dict.fromkeys(end for end in ends if end is not None))


def turn_end(tokenizer: Any) -> int | None:
    """Id of the control token that the chat template puts behind an answer; None without one."""
    import jinja2

    turns = [*conversation(_QUESTION, _ANSWER), *conversation(_QUESTION)]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except jinja2.TemplateError as error:
        raise InputError(f"the chat template cannot be rendered: {error}") from error
    special = special_ids(tokenizer)
    names = "|".join(map(re.escape, sorted(special, key=len, reverse=True)))
    match = re.search(names or r"(?!)", text.rpartition(_ANSWER)[2])
    return special[match[0]] if match else None


def special_ids(tokenizer: Any) -> dict[str, int]:
    """The control tokens of a tokenizer and their ids."""
    added = tokenizer.added_tokens_decoder.items()
    return {token.content: i for i, token in added if token.special}


def own(ends: list[int], pad: int | None, **chosen: Any) -> Any:
    """A generation configuration of our own: greedy, but for what is ``chosen``.

    Where a model has no other, the library's defaults hold, which are `NEUTRAL`.
    """
    from transformers import GenerationConfig

    settings = {"do_sample": False, **chosen}
    return GenerationConfig(**settings, eos_token_id=ends or None, pad_token_id=pad)


@contextlib.contextmanager
def by(model: Any, configuration: Any) -> Iterator[None]:
    """Have a model decode by a configuration, and by nothing of its own, in the block.

    transformers fills what is None in a configuration that it is given from the model's.
    """
    before = model.generation_config
    model.generation_config = configuration
    try:
        yield
    finally:
        model.generation_config = before


def ignored(asked: Any) -> dict[str, Any]:
    """What a generation configuration asks for that `own` does not do."""
    settings = asked.to_diff_dict().items()
    return {
        key: value
        for key, value in sorted(settings)
        if not _NO_DECODING.fullmatch(key) and value != _USUAL.get(key)
    }


def note(name: Any, settings: dict[str, Any]) -> str | None:
    """A line for a user about the settings that are `ignored`; None when there are none."""
    if not settings:
        return None
    words = ", ".join(f"{key} {value}" for key, value in settings.items())
    return f"note: {name} asks to be decoded by {words}; that is not done here"
