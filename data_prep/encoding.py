"""How the documents of a mixture become token ids: what begins and ends each, and what encodes it.

A document ends with the model's end-of-text token. It begins with the token that the model's
tokenizer puts before any text (``<s>`` in Llama 2, ``<|begin_of_text|>`` in Llama 3), if it does.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers

from data_prep.stages.artifacts import Encoding
from data_prep.tokenizer import Encoder, SlowEncoder, load
from tinymathreason.cli import InputError
from tinymathreason.config import nearest
from tinymathreason.files import read_json

ENDS_OF_TEXT = (
    "<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<\uff5cend\u2581of\u2581sentence\uff5c>",
)  # fmt: skip
"""Names of the token that ends a document in pretraining: of GPT-2, Qwen and SmolLM; of Llama 3; of
Llama 2 and Mistral; of Gemma; of DeepSeek."""
HARD_TEXTS = (
    "",
    " ",
    "  two spaces,\n\n\tand a tab\r\n",
    "3.14159265 = 22/7 - 1,000,000; 12345678901234567890",
    "don't WE'LL i'm",
    "na\u00efve cafe\u0301 \ufb01t \u2460",
    "\u0645\u0631\u062d\u0628\u0627 \u4f60\u597d \u0928\u092e\u0938\u094d\u0924\u0947 \u0661\u0662",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "$\\int_0^1 x^2\\,dx = \\tfrac{1}{3}$",
    "def f(x):\n    return x**2  # square\n",
    "\u00a0\u3000\u200b\ufeff",
    "a\x00b\x7f\x80\ufffd",
)
"""Texts with white space, digits, contractions, composed characters and several scripts, on which
libraries disagree most easily."""

Encode = Callable[[list[str]], Iterator[npt.NDArray[np.uint32]]]
"""Yields the ids of each text."""


def find(folder: Path, end_of_text: str | None, tokenizer: tokenizers.Tokenizer) -> Encoding:
    """The encoding of a folder's tokenizer by its own library.

    ``end_of_text`` names the token that ends a document; None leaves the choice to `_end_of_text`.
    Raises `InputError` when that is no special token or cannot be told, and for a tokenizer that
    makes control tokens of their names in a text.
    """
    special = {
        token.content: number
        for number, token in tokenizer.get_added_tokens_decoder().items()
        if token.special
    }
    config = _object(folder / "tokenizer_config.json")
    for name in special:
        if special[name] in tokenizer.encode(f"a{name}b", add_special_tokens=False).ids:
            raise InputError(f"{folder}: encodes {name!r} inside a document as a control token")
    return {
        "begin": _begin(folder, config, tokenizer),
        "end": special[_end_of_text(folder, config, special, end_of_text)],
        "library": "tokenizers",
        "reason": "",
    }


def _begin(folder: Path, config: dict[str, Any], tokenizer: tokenizers.Tokenizer) -> list[int]:
    """The ids before a document.

    ``add_bos_token`` of tokenizer_config.json decides, as in transformers 5; without it, what the
    post-processor of tokenizer.json puts before a text.
    """
    if isinstance(config.get("add_bos_token"), bool):
        bos = _content(config.get("bos_token"))
        if not config["add_bos_token"] or bos is None:
            return []
        number = tokenizer.token_to_id(bos)
        if number is None:
            raise InputError(f"{folder}: its bos_token {bos!r} is not in the vocabulary")
        return [number]
    text = "a"
    alone = tokenizer.encode(text, add_special_tokens=False).ids
    whole = tokenizer.encode(text).ids
    start = next((k for k in range(len(whole)) if whole[k : k + len(alone)] == alone), 0)
    return list(whole[:start])


def _end_of_text(
    folder: Path, config: dict[str, Any], special: dict[str, int], name: str | None
) -> str:
    """The token that ends a document.

    It is the tokenizer's ``eos_token`` if that has a usual name. A chat model's is often the end of
    a turn: then it is the only special token with a usual name, or else the ``eos_token`` itself.
    """
    if name is not None:
        if name not in special:
            raise InputError(
                f"tokenizer.end_of_text: {name!r} is not a special token of {folder}; "
                f"{nearest(name, special)}"
            )
        return name
    eos = _content(config.get("eos_token")) or _generation_end(folder, special)
    usual = [token for token in ENDS_OF_TEXT if token in special]
    if eos in usual:
        return eos
    if len(usual) == 1:
        return usual[0]
    if not usual and eos in special:
        return eos
    raise InputError(
        f"{folder}: several or no tokens could end a document ({', '.join(usual) or 'none'}); "
        f"name one with tokenizer.end_of_text; special tokens: {', '.join(special)}"
    )


def _generation_end(folder: Path, special: dict[str, int]) -> str | None:
    """The first token that ends an answer by generation_config.json or config.json."""
    names = {number: token for token, number in special.items()}
    for file in ("generation_config.json", "config.json"):
        ends = _object(folder / file).get("eos_token_id")
        for end in ends if isinstance(ends, list) else [ends]:
            if end in names:
                return names[end]
    return None


def _object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty without the file."""
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping of keys to values")
    return content


def _content(token: Any) -> str | None:
    """The text of a token in tokenizer_config.json, which is a text or an object with details."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def proven(folder: Path, encoding: Encoding, texts: Sequence[str]) -> Encoding:
    """``encoding`` by gigatoken if it gives the tokenizer's own ids on `HARD_TEXTS` and ``texts``.

    Otherwise by the tokenizer itself, with the reason.
    """
    tokenizer = load(folder)
    names = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    compared = [*HARD_TEXTS, *(f"a {name} b{name}{name}\n" for name in names), *texts]
    reason = _difference(folder, compared)
    return {**encoding, "library": "tokenizers" if reason else "gigatoken", "reason": reason}


def _difference(folder: Path, texts: list[str]) -> str:
    """Why gigatoken cannot be used for a tokenizer, in words; empty if it can."""
    try:
        fast = [ids.tolist() for ids in Encoder(folder)(texts)]
    except InputError:
        raise
    except Exception as error:  # it has no error of its own
        return f"gigatoken does not support it ({str(error).splitlines()[0]:.120})"
    slow = [ids.tolist() for ids in SlowEncoder(folder)(texts)]
    apart = sum(one != other for one, other in zip(fast, slow, strict=True))
    return f"gigatoken gives other ids in {apart} of {len(texts)} texts" if apart else ""


def encoder(folder: Path, library: str) -> Encode:
    """Encodes texts with an encoding's library, without what begins and ends a document."""
    return Encoder(folder) if library == "gigatoken" else SlowEncoder(folder)


def summary(encoding: Encoding, tokenizer: tokenizers.Tokenizer) -> str:
    """The encoding in words, on one line."""
    begin, end = (
        "".join(map(str, map(tokenizer.id_to_token, ids)))
        for ids in (encoding["begin"], [encoding["end"]])
    )
    line = f"documents begin with {begin or 'no token'} and end with {end}"
    if encoding["reason"]:
        line += f"; the tokenizers library encodes them, since {encoding['reason']}"
    return line
