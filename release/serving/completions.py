"""A request as OpenAI's clients send it in; a checked question, or an error for them, out."""

import time
import uuid
from typing import Annotated, Any, Literal

import pydantic
from pydantic_core import from_json

from release.serving.engine import Done

_NEUTRAL: dict[str, Any] = {
    "n": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logprobs": False,
    "top_logprobs": 0,
    "logit_bias": {},
    "response_format": {"type": "text"},
    "modalities": ["text"],
    "tools": [],
}
"""Values of parameters that are not supported which change nothing."""
_NO_MATTER = {
    "tool_choice",
    "parallel_tool_calls",
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
}
"""Parameters on which no answer depends."""


class Refusal(Exception):  # noqa: N818 (it is an answer, not an error of ours)
    """A request that is answered by an error, in the shape that OpenAI's clients read."""

    def __init__(
        self, status: int, message: str, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.content = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _joined(content: Any) -> Any:
    """A message's text parts as one text; anything else as it is."""
    if not isinstance(content, list) or not content:
        return content
    texts = []
    for part in content:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case _:
                return content
    return "".join(texts)


def _given(content: Any) -> Any:
    """A mapping without its nulls, which clients send for what they do not set."""
    if not isinstance(content, dict):
        return content
    return {key: value for key, value in content.items() if value is not None}


_STRICT = pydantic.ConfigDict(strict=True, extra="forbid")
_WITHOUT_NULLS = pydantic.BeforeValidator(_given)
MAX_MESSAGES = 1_000
"""Most messages of a conversation."""


class Said(pydantic.BaseModel):
    """A message of a conversation."""

    model_config = _STRICT
    role: Annotated[
        Literal["system", "user", "assistant"],
        pydantic.BeforeValidator(lambda role: "system" if role == "developer" else role),
    ]
    content: Annotated[str, pydantic.BeforeValidator(_joined)]


class StreamOptions(pydantic.BaseModel):
    """What a stream holds beside the answer."""

    model_config = _STRICT
    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class Asked(pydantic.BaseModel):
    """What chat completions take. Without a temperature the answer is the likeliest one."""

    model_config = _STRICT
    model: str | None = None
    messages: Annotated[
        list[Annotated[Said, _WITHOUT_NULLS]],
        pydantic.Field(min_length=1, max_length=MAX_MESSAGES),
    ]
    temperature: Annotated[float, pydantic.Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, pydantic.Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, pydantic.Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, pydantic.Field(ge=1)] | None = None
    stop: Annotated[
        list[Annotated[str, pydantic.Field(min_length=1, max_length=100)]],
        pydantic.Field(max_length=4),
        pydantic.BeforeValidator(lambda stop: [stop] if isinstance(stop, str) else stop),
    ] = []
    seed: Annotated[int, pydantic.Field(ge=-(2**63), lt=2**63)] | None = None
    stream: bool = False
    stream_options: Annotated[StreamOptions, _WITHOUT_NULLS] = StreamOptions()


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a request's body, without its nulls; `Refusal` when it is none."""
    try:
        found = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(400, f"the body is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refusal(400, "the body is no JSON object")
    return {key: value for key, value in found.items() if value is not None}


def read_asked(body: bytes) -> Asked:
    """The question in a request's body; `Refusal` naming what is wrong or not supported."""
    given = read_object(body)
    if "generation_config" in given:
        given = {**_generation_config(given.pop("generation_config")), **given}
    kept = {}
    for key, value in given.items():
        if key in Asked.model_fields:
            kept[key] = value
        elif key not in _NO_MATTER and (key not in _NEUTRAL or value != _NEUTRAL[key]):
            raise Refusal(400, f"{key}: not supported here", "unsupported_parameter", key)
    try:
        return Asked.model_validate(kept)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Refusal(400, f"{where}: {first['msg']}", "invalid_value", where) from error


def _generation_config(text: Any) -> dict[str, Any]:
    """The parameters in a generation configuration, which is what ``transformers chat`` sends."""
    if not isinstance(text, str):
        raise Refusal(400, "generation_config: not a JSON text", "invalid_value")
    config = read_object(text.encode())
    config.pop("transformers_version", None)
    sampled = config.pop("do_sample", False)
    found = {"temperature": config.pop("temperature", 1.0) if sampled else 0.0}
    for ours, theirs in (("max_tokens", "max_new_tokens"), ("top_p", "top_p")):
        if theirs in config:
            found[ours] = config.pop(theirs)
    for key in config:
        name = f"generation_config.{key}"
        raise Refusal(400, f"{name}: not supported here", "unsupported_parameter", name)
    return found


class Reply:
    """The pieces of OpenAI's answer to one request."""

    def __init__(self, model: str, prompt_tokens: int) -> None:
        self._head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": None,
        }
        self._prompt_tokens = prompt_tokens

    def whole(self, text: str, done: Done) -> dict[str, Any]:
        """The answer at once."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": None,
            "finish_reason": done.reason,
        }
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": self._usage(done),
        }

    def chunk(self, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        """A part of a streamed answer: what is new in its message, or why it ends."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}

    def usage_chunk(self, done: Done) -> dict[str, Any]:
        """The part that follows a streamed answer whose client asked for the tokens' numbers."""
        return {
            **self._head,
            "object": "chat.completion.chunk",
            "choices": [],
            "usage": self._usage(done),
        }

    def _usage(self, done: Done) -> dict[str, int]:
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": done.tokens,
            "total_tokens": self._prompt_tokens + done.tokens,
        }
