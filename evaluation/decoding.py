"""How answers are decoded: by our own settings, and by the end tokens of the model.

A model's folder may request sampling, penalties or forbidden tokens. They are not used here, since
they would change the accuracy. Only the tokens that end an answer are taken from the folder.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tinymathreason.chatml import conversation
from tinymathreason.cli import InputError
from tinymathreason.control_tokens import control_ids, control_pattern

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
"""Every setting of transformers that changes an answer, at the value that has no effect."""
_USUAL = {
    **NEUTRAL, "do_sample": False, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "use_cache": True,
}  # fmt: skip
_NO_DECODING = re.compile(
    r".*_token_id|output_.*|return_dict.*|transformers_version|_.*|max_length|.*compile.*"
)
"""Keys of a generation configuration that are not settings of decoding."""
_QUESTION, _ANSWER = "What is 6 x 7?", "It is 42."


def configured(folder: Path) -> Any:
    """The ``config`` and the ``generation_config`` of a model's folder."""
    from transformers import AutoConfig, GenerationConfig

    try:
        generation = GenerationConfig.from_pretrained(folder)
    except OSError:  # no such file: older models have the settings in config.json
        generation = GenerationConfig.from_pretrained(
            folder, config_file_name="config.json", _from_model_config=True
        )
    return SimpleNamespace(
        config=AutoConfig.from_pretrained(folder, trust_remote_code=False),
        generation_config=generation,
    )


def stop_ids(model: Any, tokenizer: Any, form: str) -> list[int]:
    """Ids of the tokens that end an answer: in ``chat`` the template's, then all configured ones.

    ``model`` is a loaded model, or what `configured` returns for its folder.
    Raises `InputError` for a template that cannot be rendered.
    """
    ends = [turn_end(tokenizer)] if form == "chat" else []
    ends.append(tokenizer.eos_token_id)
    for source in (model.generation_config, model.config):
        ids = source.eos_token_id
        ends += ids if isinstance(ids, (list, tuple)) else [ids]
    return list(dict.fromkeys(end for end in ends if end is not None))


def turn_end(tokenizer: Any) -> int | None:
    """Id of the control token that the chat template puts after an answer; None without one."""
    import jinja2

    turns = [*conversation(_QUESTION, _ANSWER), *conversation(_QUESTION)]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except jinja2.TemplateError as error:
        raise InputError(f"the chat template cannot be rendered: {error}") from error
    control = control_ids(tokenizer)
    match = control_pattern(control).search(text.rpartition(_ANSWER)[2])
    return control[match[0]] if match else None


def own(ends: list[int], pad: int | None, **chosen: Any) -> Any:
    """Our own generation configuration: greedy, except for the ``chosen`` settings.

    All other settings have the library's defaults, which are `NEUTRAL`.
    """
    from transformers import GenerationConfig

    settings = {"do_sample": False, **chosen}
    return GenerationConfig(**settings, eos_token_id=ends or None, pad_token_id=pad)


@contextlib.contextmanager
def by(model: Any, configuration: Any) -> Iterator[None]:
    """Make a model decode only by ``configuration`` in the block.

    Passing it to ``generate`` is not enough: transformers replaces None by the model's own setting.
    """
    before = model.generation_config
    model.generation_config = configuration
    try:
        yield
    finally:
        model.generation_config = before


def ignored(requested: Any) -> dict[str, Any]:
    """The settings that a generation configuration requests and that `own` does not have."""
    settings = requested.to_diff_dict().items()
    return {
        key: value
        for key, value in sorted(settings)
        if not _NO_DECODING.fullmatch(key) and value != _USUAL.get(key)
    }


def note(name: Any, settings: dict[str, Any]) -> str | None:
    """A line for a user about the `ignored` settings; None when there are none."""
    if not settings:
        return None
    words = ", ".join(f"{key} {value}" for key, value in settings.items())
    return f"note: {name} requests {words} for decoding; these settings are ignored here"
