"""The metadata of a card, its checks, and the line by which a card of ours is recognised."""

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from release.records import RunRecords

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

LICENSES = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause
    bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma other
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1
    eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0
    odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr
""".split()  # noqa: SIM905
"""The hub's names of licences: https://huggingface.co/docs/hub/repositories-licenses. Of those of
one company it has Llama's and Gemma's."""
REQUIRED = ("language", "license", "library_name", "pipeline_tag", "tags")
STATED = re.compile(
    r"<!-- release\.card model_sha256=([0-9a-f]{64}) asking_sha256=([0-9a-f]{64}) "
    r"text_sha256=([0-9a-f]{64}) -->"
)
"""The last line of a card of ours: hashes of its model, of its tokenizer, and of its text."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+|[A-Za-z0-9][\w.-]*")


def statement(text: str) -> re.Match[str] | None:
    """The line that `stated` wrote into a card: the last one, since a record may hold another."""
    return next(reversed(list(STATED.finditer(text))), None)


def stated(model: str, asking: str, text: str) -> str:
    """The last line of a card: both hashes of its model, and that of the text above it."""
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    hashes = f"model_sha256={model} asking_sha256={asking} text_sha256={digest}"
    return f"<!-- release.card {hashes} -->"


def edited(text: str, line: re.Match[str]) -> bool:
    """Whether a card, which has this line of `stated`, was changed since it was written."""
    above = text[: line.start()]
    return f"{above}{stated(line[1], line[2], above)}\n" != text


def front_matter(
    records: RunRecords,
    name: str,
    license_keys: Mapping[str, str],
    datasets: Iterable[str],
    results: "Sequence[EvalResult]",
    base_model: str | None,
    architecture: str,
) -> "ModelCardData":
    """The metadata that the hub reads; datasets and the base model only by their names there.

    ``license_keys`` are ``license``, and for a licence ``other`` its name and link;
    ``architecture`` is that of config.json, such as LlamaForCausalLM.
    """
    from huggingface_hub import ModelCardData

    tuned, family = records.tuned, architecture.removesuffix("ForCausalLM").lower()
    return ModelCardData(
        language=["en"],
        **license_keys,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["math", "reasoning", *([tuned.kind] if tuned else []), family, "pytorch"],
        datasets=list(dict.fromkeys(datasets)) or None,
        metrics=sorted({result.metric_type for result in results}) or None,
        base_model=base_model,
        model_name=name if results else None,
        eval_results=list(results) or None,
    )


def finished(front: "ModelCardData", body: str, model: str, asking: str) -> str:
    """Front matter, text and the line by which a card of ours is recognised."""
    text = f"---\n{front.to_yaml()}\n---\n\n{body}\n"
    if wrong := problems(text):
        raise AssertionError(f"a card that the hub would refuse: {'; '.join(wrong)}")
    return f"{text}{stated(model, asking, text)}\n"


def problems(text: str) -> list[str]:
    """What is wrong with the metadata of a card; empty when it is valid.

    The hub's own check needs the network. This one checks as much, and that YAML gives back the
    data that was written.
    """
    import yaml
    from huggingface_hub import ModelCard, ModelCardData
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    if not REGEX_YAML_BLOCK.search(text):
        return ["it does not begin with metadata between two lines ---"]
    try:
        data = ModelCard(text).data
        plain = data.to_dict()
        again = ModelCardData(**yaml.safe_load(data.to_yaml())).to_dict()
    except (AttributeError, TypeError, ValueError, yaml.YAMLError) as error:
        return [f"its metadata cannot be read: {' '.join(str(error).split())}"]
    wrong = list(_wrong(plain))
    if again != plain:
        wrong.append("YAML does not give its metadata back as it is")
    return wrong


def _wrong(data: dict[str, Any]) -> Iterator[str]:
    for key in REQUIRED:
        if not data.get(key):
            yield f"its metadata has no {key}"
    if data.get("license") and data["license"] not in LICENSES:
        yield f"the hub knows no license {data['license']!r}"
    for code in _list(data.get("language")):
        if not re.fullmatch(r"[a-z]{2,3}", str(code)):
            yield f"{code!r} is no code of a language"
    for key in ("datasets", "base_model"):
        for name in _list(data.get(key)):
            if not HUB_ID.fullmatch(str(name)):
                yield f"{key}: {name!r} is no name on the hub"
    for key in ("tags", "metrics"):
        if not all(isinstance(word, str) and word for word in _list(data.get(key))):
            yield f"{key} must be words"
    for model in data.get("model-index") or []:
        for result in model["results"]:
            yield from _wrong_result(result)


def _wrong_result(result: dict[str, Any]) -> Iterator[str]:
    for part, keys in (("task", ("type",)), ("dataset", ("type", "name"))):
        for key in keys:
            if not isinstance(result[part].get(key), str) or not result[part][key]:
                yield f"a result's {part} has no {key}"
    for metric in result["metrics"]:
        value = metric.get("value")
        if not isinstance(metric.get("type"), str) or not metric["type"]:
            yield "a result's metric has no type"
        if (
            not isinstance(value, (int, float, str))
            or value == ""
            or (isinstance(value, float) and not math.isfinite(value))
        ):
            yield f"a result's value is {value!r}"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
