"""The padding token that MaxText is given, which no document contains.

MaxText's Grain pipeline learns no target that equals its padding token, wherever that stands. It
takes the tokenizer's padding token, else the unknown one, else the id 0. In many open models that
is the token that ends a document, or an ordinary one (``!`` in Llama 3): the model would never
learn it. A special token that begins and ends no document is in none, since the names of special
tokens in a text are plain text. With such a token, what is learned depends on the position alone:
Grain marks its own padding by the segment 0.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretrain.mixture import MIXTURE, argument
from tinymathreason import vocabulary
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json
from tinymathreason.records.mixture import Mixture


def arguments(config: Mapping[str, Any], folder: Path) -> list[str]:
    """The ``tokenizer_path`` of a copy in ``folder`` with such a token; empty if it is not needed.

    It is needed for a mixture of this project's unless the tokenizer's own padding token is one.
    Raises `InputError` for a tokenizer without any.
    """
    manifest = Path(config[MIXTURE] or "").with_name("manifest.json") if config[MIXTURE] else None
    source = Path(config["tokenizer_path"]) / vocabulary.FAST
    if manifest is None or not manifest.is_file() or not source.is_file():
        return []
    encoding = Mixture.load(manifest).encoding
    if encoding is None:
        return []
    used = {*encoding.begin, encoding.end}
    content = read_json(source)
    special = [token for token in content["added_tokens"] if token["special"]]
    free = [token["content"] for token in special if token["id"] not in used]
    own = source.with_name("tokenizer_config.json")
    named = read_json(own).get("pad_token") if own.is_file() else None
    if (named.get("content") if isinstance(named, dict) else named) in free:
        return []
    if not free:
        raise InputError(
            f"tokenizer_path: every special token of {source} begins or ends documents, and "
            "MaxText needs one for padding; add one to the tokenizer, if the model's vocabulary "
            "has a row for it"
        )
    place = folder / "tokenizer"
    place.mkdir()
    (place / vocabulary.FAST).write_text(json.dumps(content), encoding="utf-8")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": free[0]}
    write_json(place / "tokenizer_config.json", settings)
    return [argument("tokenizer_path", str(place))]
