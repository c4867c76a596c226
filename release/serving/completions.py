"""Checks requests in the form of OpenAI's clients, and writes answers and errors in that form."""

import json
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic_core import from_json

from release.serving.engine import Done

UNNAMED = (None, "", "dummy", "tgi")
"""Values of ``model`` of clients that name none: huggingface_hub's client sends ``dummy``, and
text-generation-inference's documentation says to send ``tgi``."""


class Refusal(Exception):  # noqa: N818 (an answer, not an error of ours)
    """An error that answers a request, in the form that OpenAI's clients read."""

    def __init__(
        self, status: int, message: str, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.content = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _whole(value: Any) -> Any:
    """A whole number where a client wrote 100.0; anything else unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, pydantic.BeforeValidator(_whole)]
MAX_MESSAGES = 1_000
"""Most messages of a conversation."""


class Schema(pydantic.BaseModel):
    """Supported fields, and those unsupported ones of clients that may be ignored.

    An unsupported field that is null or empty is always accepted.
    """

    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    IGNORED: ClassVar[frozenset[str]] = frozenset()
    """Unsupported fields that change no answer."""
    NEUTRAL: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Values of other unsupported fields that change no answer."""


class ChatMessage(Schema):
    """A message of a conversation."""

    # The template uses roles and contents only, not the reasoning before an earlier answer.
    IGNORED = frozenset({"name", "id", "annotations", "reasoning", "reasoning_content"})
    NEUTRAL: ClassVar = {"type": ("text", "message")}
    role: Annotated[
        Literal["system", "user", "assistant"],
        pydantic.BeforeValidator(lambda role: "system" if role == "developer" else role),
    ]
    content: str


class StreamOptions(Schema):
    """What a stream contains in addition to the answer."""

    NEUTRAL: ClassVar = {"include_obfuscation": (False,), "continuous_usage_stats": (False,)}
    include_usage: bool = False


class CompletionRequest(Schema):
    """A request for a chat completion. Without a temperature decoding is greedy."""

    IGNORED = frozenset(
        {
            "cache_salt",
            "include_reasoning",
            "metadata",
            "parallel_tool_calls",
            "prediction",
            "priority",
            "prompt_cache_key",
            "prompt_cache_retention",
            "request_id",
            "return_tokens_as_token_ids",
            "safety_identifier",
            "service_tier",
            "session_id",
            "store",
            "tool_prompt",
            "truncation_side",
            "use_cache",
            "user",
        }
    )
    NEUTRAL: ClassVar = {
        # OpenAI's
        "n": (1,),
        "frequency_penalty": (0,),
        "presence_penalty": (0,),
        "logprobs": (False,),
        "top_logprobs": (0,),
        "response_format": ({"type": "text"},),
        "modalities": (["text"],),
        "tool_choice": ("none", "auto"),
        "function_call": ("none", "auto"),
        "reasoning_effort": ("none", "medium"),
        "verbosity": ("medium",),
        # vLLM's and transformers'
        "top_k": (-1, 0),
        "min_p": (0,),
        "typical_p": (1,),
        "repetition_penalty": (1,),
        "length_penalty": (1,),
        "no_repeat_ngram_size": (0,),
        "min_tokens": (0,),
        "min_new_tokens": (0,),
        "best_of": (1,),
        "num_beams": (1,),
        "num_return_sequences": (1,),
        "use_beam_search": (False,),
        "early_stopping": (False,),
        "ignore_eos": (False,),
        "include_stop_str_in_output": (False,),
        "skip_special_tokens": (True,),
        "spaces_between_special_tokens": (True,),
        "add_generation_prompt": (True,),
        "continue_final_message": (False,),
        "add_special_tokens": (False,),
        "echo": (False,),
        "return_token_ids": (False,),
        "return_prompt_text": (False,),
    }
    model: str | None = None
    messages: Annotated[list[ChatMessage], pydantic.Field(min_length=1, max_length=MAX_MESSAGES)]
    temperature: Annotated[float, pydantic.Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, pydantic.Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[Whole, pydantic.Field(ge=1)] | None = None
    max_completion_tokens: Annotated[Whole, pydantic.Field(ge=1)] | None = None
    stop: Annotated[
        list[Annotated[str, pydantic.Field(min_length=1, max_length=100)]],
        pydantic.Field(max_length=4),
        pydantic.BeforeValidator(lambda stop: [stop] if isinstance(stop, str) else stop),
    ] = []
    seed: Annotated[Whole, pydantic.Field(ge=-(2**63), lt=2**63)] | None = None
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a request's body, without its nulls; `Refusal` for anything else."""
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(400, f"the body is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise Refusal(400, "the body is no JSON object")
    return _given(value)


def read_request(body: bytes) -> CompletionRequest:
    """The completion request in a body; `Refusal` names the field that is wrong or unsupported."""
    given = read_object(body)
    config = given.pop("generation_config", None)
    given = _supported(given, CompletionRequest)
    if config:
        given = {**_generation_config(config), **given}
    if isinstance(given.get("stream_options"), dict):
        given["stream_options"] = _supported(
            given["stream_options"], StreamOptions, "stream_options."
        )
    messages = given.get("messages")
    if isinstance(messages, list) and len(messages) <= MAX_MESSAGES:
        given["messages"] = [
            _message(message, f"messages.{i}.") for i, message in enumerate(messages)
        ]
    try:
        return CompletionRequest.model_validate(given)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Refusal(400, f"{where}: {first['msg']}", "invalid_value", where) from error


def _given(content: dict[str, Any]) -> dict[str, Any]:
    """A mapping without its nulls, which clients send for fields that they do not set."""
    return {key: value for key, value in content.items() if value is not None}


def _supported(content: dict[str, Any], schema: type[Schema], where: str = "") -> dict[str, Any]:
    """The fields of a schema; `Refusal` for another field that would change the answer."""
    kept = {}
    for key, value in _given(content).items():
        plain = _given(value) if isinstance(value, dict) else value
        neutral = schema.NEUTRAL.get(key, ())
        if key in schema.model_fields:
            kept[key] = value
        elif key not in schema.IGNORED and plain not in ([], {}, "", *neutral):
            raise _unsupported(f"{where}{key}", neutral)
    return kept


def _unsupported(name: str, neutral: Iterable[Any] = ()) -> Refusal:
    message = f"{name}: not supported here"
    if neutral:
        message += f"; leave it out or send {' or '.join(map(json.dumps, neutral))}"
    return Refusal(400, message, "unsupported_parameter", name)


def _message(message: Any, where: str) -> Any:
    """The supported fields of a message, its text parts joined; anything else unchanged."""
    if not isinstance(message, dict):
        return message
    message = _supported(message, ChatMessage, where)
    content = message.get("content")
    if isinstance(content, list) and content:
        for i, part in enumerate(content):
            match part:
                case {"type": "text", "text": str()}:
                    pass
                case _:
                    reason = f"{where}content: part {i} is no text; only text is supported"
                    raise Refusal(400, reason, "invalid_value", f"{where}content")
        message["content"] = "".join(part["text"] for part in content)
    return message


def _generation_config(text: Any) -> dict[str, Any]:
    """The parameters of a generation configuration, as ``transformers chat`` sends them."""
    if not isinstance(text, str):
        raise Refusal(400, "generation_config: not a JSON text", "invalid_value")
    config = read_object(text.encode())
    config.pop("transformers_version", None)
    sampled = config.pop("do_sample", False)
    parameters = {"temperature": config.pop("temperature", 1.0) if sampled else 0.0}
    for ours, theirs in (("max_tokens", "max_new_tokens"), ("top_p", "top_p")):
        if theirs in config:
            parameters[ours] = config.pop(theirs)
    for key in _supported(config, CompletionRequest, "generation_config."):
        raise _unsupported(f"generation_config.{key}")
    return parameters


class Reply:
    """The parts of an answer to one request, in OpenAI's form."""

    def __init__(self, model: str, prompt_tokens: int) -> None:
        self._head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": None,
        }
        self._prompt_tokens = prompt_tokens

    def whole(self, text: str, done: Done) -> dict[str, Any]:
        """The whole answer."""
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
        """A part of a streamed answer: new text of its message, or why it ended."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}

    def usage_chunk(self, done: Done) -> dict[str, Any]:
        """The last part of a streamed answer, for a client that requested token counts."""
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
