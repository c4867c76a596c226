"""The server: OpenAI's shape, many users, wrong input, other web sites, the command itself."""

import contextlib
import itertools
import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from release import chat
from release.serving import engine as engines
from release.serving.engine import Engine
from release.serving.server import MAX_BODY, make_app
from release.serving.stream import HEARTBEAT
from tests.release.test_engine import DEADLINE, generated, load, prompt, until
from tinymathreason.cli import InputError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
ASKED = [{"role": "user", "content": "2 + 3?"}]
TEXT = {"type": "text", "text": "2 +"}
OTHER = [{"role": "system", "content": "Count."}, {"role": "user", "content": "Ann has 4 pens."}]


@contextlib.contextmanager
def running(app, **limits):
    """A server of an application, on a port of its own; its address, and its state."""
    import uvicorn

    from release.serving.connections import Config, Limits

    listening = chat.bind("127.0.0.1", 0)
    server = uvicorn.Server(Config(app, Limits(**limits)))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield listening.getsockname(), server.server_state
    finally:
        server.should_exit = True
        thread.join(DEADLINE)
        listening.close()


@contextlib.contextmanager
def serving(engine, host: str = "127.0.0.1", hosts=(), origins=(), **limits):
    """A client of a server of an engine."""
    app = make_app(engine, "tiny", 50_000, host, hosts, origins)
    with running(app, **limits) as ((_, port), _):
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=DEADLINE, trust_env=False) as client:
            yield client


def connect(address, sent: bytes = b"") -> socket.socket:
    client = socket.socket()
    client.settimeout(DEADLINE)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(address)
    client.sendall(sent)
    return client


@pytest.fixture(scope="module")
def parts(model_dir):
    return load(model_dir)


@pytest.fixture(scope="module")
def engine(parts):
    engine = Engine(*parts, parallel=2, queue=1)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def client(engine):
    with serving(engine) as client:
        yield client


@pytest.fixture
def slow(engine, monkeypatch):
    """An engine that says a letter every few milliseconds, for minutes."""

    def tokens(batch, request):
        (letter,) = engine._chat.tokenizer.convert_tokens_to_ids(["a"])
        for token in itertools.repeat(letter):
            time.sleep(0.003)
            yield token

    monkeypatch.setattr(engines, "tokens", tokens)
    monkeypatch.setattr(engine, "context", 60_000)
    yield
    until(lambda: engine.state()["active"] == engine.state()["waiting"] == 0)


def complete(client, messages=ASKED, **more) -> httpx.Response:
    return client.post("/v1/chat/completions", json={"messages": messages, **more})


def streamed(client, messages=ASKED, path="/v1/chat/completions", **more) -> list:
    """The events of a streamed answer."""
    body = {"messages": messages, "stream": True, **more}
    with client.stream("POST", path, json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line[6:] for line in response.iter_lines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def joined(events) -> str:
    return "".join(
        choice["delta"].get("content", "") for event in events[:-1] for choice in event["choices"]
    )


@pytest.mark.processor
def test_a_completion_has_openais_shape(client, parts, engine) -> None:
    found = complete(client, max_tokens=20).json()
    ids = prompt(engine, "2 + 3?")
    text = parts[1].backend_tokenizer.decode(generated(parts, ids, 20))
    assert found["object"] == "chat.completion"
    assert found["model"] == "tiny"
    assert found["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": None,
            "finish_reason": "length",
        }
    ]
    usage = {"prompt_tokens": len(ids), "completion_tokens": 20, "total_tokens": len(ids) + 20}
    assert found["usage"] == usage
    events = streamed(client, max_tokens=20, stream_options={"include_usage": True})
    assert joined(events) == text
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [choice["finish_reason"] for choice in events[-3]["choices"]] == ["length"]
    assert (events[-2]["choices"], events[-2]["usage"], events[-1]) == ([], usage, "[DONE]")
    assert len({event["id"] for event in events[:-1]}) == 1
    assert "usage" not in json.dumps(streamed(client, max_tokens=2))


def test_the_other_paths(client, engine) -> None:
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["max_model_len"]) == ("tiny", engine.context)
    assert client.get("/health").json()["status"] == "ok"
    loaded = client.post("/load_model", json={"model": "tiny"})
    assert loaded.text == 'data: {"status": "ready", "cached": true}\n\n'
    for path, kind in (("/", "text/html"), ("/chat.css", "text/css"), ("/chat.js", "text/java")):
        found = client.get(path)
        assert found.headers["content-type"].startswith(kind)
        assert found.headers["x-content-type-options"] == "nosniff"
        policy = found.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
        assert "unsafe" not in policy
    assert client.get("/docs").status_code == client.get("/nothing").status_code == 404
    assert client.get("/ask").status_code == 405
    assert client.get("/nothing").json()["error"]["message"] == "not found"


@pytest.mark.processor
def test_a_seed_a_stop_text_and_parts_of_a_message(client) -> None:
    def text(messages=ASKED, **more):
        body = {"max_tokens": 30, **more}
        return complete(client, messages, **body).json()["choices"][0]["message"]["content"]

    whole = text()
    sampled = text(temperature=1.5, top_p=0.95, seed=5)
    assert sampled == text(temperature=1.5, top_p=0.95, seed=5) != whole
    stop = whole[4:7]
    assert text(stop=stop) == text(stop=["never said", stop]) == whole[: whole.index(stop)]
    parts = [{"type": "text", "text": "2 +"}, {"type": "text", "text": " 3?"}]
    assert text(messages=[{"role": "user", "content": parts}]) == whole
    neutral = {"n": 1, "frequency_penalty": 0.0, "user": "me", "tools": None, "logprobs": False}
    assert text(**neutral, model="tiny") == whole
    assert text(max_completion_tokens=3) == text(max_tokens=3) != whole
    # As `transformers chat` sends it.
    config = {"do_sample": False, "max_new_tokens": 3, "transformers_version": "5"}
    sent = {"generation_config": json.dumps(config), "max_tokens": None}
    assert text(**sent) == text(max_tokens=3)


@pytest.mark.processor
def test_two_users_at_once_get_what_each_gets_alone(client, parts, engine) -> None:
    asked = [ASKED, OTHER] * 4
    expected = [
        parts[1].backend_tokenizer.decode(generated(parts, engine.encode(messages), 60))
        for messages in asked[:2]
    ]
    assert expected[0] != expected[1]
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(
            lambda messages: joined(streamed(client, messages, max_tokens=60)), asked
        )
        assert list(answers) == expected * 4


def test_the_pages_stream_carries_html_and_figures(client) -> None:
    text = joined(streamed(client, max_tokens=20))
    *pieces, end = streamed(client, path="/ask", max_tokens=20)
    assert "".join(piece["text"] for piece in pieces) == text
    assert pieces[-1]["html"].startswith('<div class="typeset">')
    assert (end["done"]["reason"], end["done"]["tokens"]) == ("length", 20)
    assert end["done"]["seconds"] > 0
    html = client.post("/typeset", json={"text": "<b>$x^2$"}).json()["html"]
    assert "<math" in html
    assert "<b>" not in html


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/ask"])
def test_a_client_that_goes_away_is_not_answered_further(client, engine, path) -> None:
    before = engine.state()["generated"]
    with client.stream("POST", path, json={"messages": ASKED, "stream": True}) as response:
        lines = response.iter_lines()
        while '"a' not in next(lines):
            pass
        assert client.get("/health").json()["active"] == 1
    until(lambda: client.get("/health").json()["active"] == 0)
    count = engine.state()["generated"] - before
    assert 0 < count < 10_000, "the answer would have had 50,000 tokens"
    time.sleep(0.05)
    assert engine.state()["generated"] - before <= count + 1


@pytest.mark.clock
@pytest.mark.usefixtures("slow")
def test_nor_one_that_waits_for_all_at_once(client, engine) -> None:
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/chat/completions", json={"messages": ASKED}, timeout=1)
    until(lambda: engine.state()["active"] == 0)


@pytest.mark.usefixtures("slow")
def test_a_client_that_does_not_read_keeps_no_place(engine, monkeypatch) -> None:
    monkeypatch.setattr(chat, "SEND_BUFFER", 4096)
    body = json.dumps({"messages": ASKED, "stream": True}).encode()
    head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with serving(engine, send=3 * HEARTBEAT) as client:
        address = (client.base_url.host, client.base_url.port)
        for path in (b"/ask", b"/v1/chat/completions"):
            sent = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s%s" % (path, head, body)
            before = engine.state()["generated"]
            with connect(address, sent):
                until(lambda begun=before: engine.state()["generated"] > begun)
                until(lambda: engine.state()["active"] == 0)


@pytest.mark.usefixtures("slow")
def test_beyond_the_queue_is_a_503_with_a_time(client, engine) -> None:
    body = {"messages": ASKED, "stream": True}
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(client.stream("POST", "/ask", json=body))
        until(lambda: engine.state()["active"] == 2)
        third = stack.enter_context(client.stream("POST", "/ask", json=body))
        lines = third.iter_lines()
        assert next(lines) == 'data: {"waiting": 0}'
        assert engine.state()["waiting"] == 1
        refused = complete(client)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["error"]["code"] == "queue_full"
    until(lambda: engine.state()["active"] == engine.state()["waiting"] == 0)
    assert complete(client, max_tokens=2).status_code == 200


def test_a_prompt_longer_than_the_context_is_reported(client) -> None:
    for path in ("/v1/chat/completions", "/ask"):
        messages = [{"role": "user", "content": "1 2 3 " * 200}]
        refused = client.post(path, json={"messages": messages, "stream": True})
        assert refused.status_code == 400
        error = refused.json()["error"]
        assert error["code"] == "context_length_exceeded"
        assert error["type"] == "invalid_request_error"
        assert "room for 256" in error["message"]


def test_a_failure_ends_one_stream_and_not_the_server(client, monkeypatch) -> None:
    tokens = engines.tokens

    def failing(model, request):
        yield from itertools.islice(tokens(model, request), 3)
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(engines, "tokens", failing)
        events = streamed(client)
        assert events[-2]["error"]["message"] == "the model failed: out of memory"
        assert streamed(client, path="/ask")[-1] == {"error": "the model failed: out of memory"}
        whole = complete(client)
        assert (whole.status_code, whole.json()["error"]["type"]) == (500, "server_error")
    assert complete(client, max_tokens=3).status_code == 200


WRONG = {
    "no JSON": (b"{", "not valid JSON"),
    "no UTF-8": (b'{"messages": "\xff"}', "not valid JSON"),
    "NaN": (b'{"messages": [], "temperature": NaN}', "not valid JSON"),
    "deep": (b"[" * 100_000, "not valid JSON"),
    "half a character": (
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "not valid JSON",
    ),
    "no object": (b"[1]", "no JSON object"),
    "nothing": (b"", "not valid JSON"),
    "no messages": ({}, "messages: Field required"),
    "empty messages": ({"messages": []}, "messages: "),
    "no end of messages": ({"messages": [ASKED[0]] * 1_001}, "messages: "),
    "messages are a text": ({"messages": "2 + 3?"}, "messages: "),
    "role": ({"messages": [{"role": "judge", "content": "x"}]}, "messages.0.role: "),
    "content": ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content: "),
    "no content": ({"messages": [{"role": "user"}]}, "messages.0.content: "),
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "messages.0.content: ",
    ),
    "a tool's call": (
        {"messages": [{"role": "user", "content": "x", "tool_calls": [{"id": "1"}]}]},
        "messages.0.tool_calls: ",
    ),
    "a tool's answer": ({"messages": [{"role": "tool", "content": "4"}]}, "messages.0.role: "),
    "a picture beside": (
        {"messages": [ASKED[0], {"role": "user", "content": [TEXT, {"type": "image_url"}]}]},
        "messages.1.content: part 1 ",
    ),
    "a refusal": (
        {"messages": [{"role": "assistant", "content": "x", "refusal": "no"}]},
        "messages.0.refusal: ",
    ),
    "a voice": (
        {"messages": [{"role": "assistant", "content": "x", "audio": {"id": "a"}}]},
        "messages.0.audio: ",
    ),
    "a message's unknown": (
        {"messages": [{"role": "user", "content": "x", "prefix": True}]}, "messages.0.prefix: ",
    ),
    "no message": ({"messages": ["x"]}, "messages.0: "),
    "temperature": ({"temperature": -1}, "temperature: "),
    "hot": ({"temperature": 2.1}, "temperature: "),
    "a text's temperature": ({"temperature": "0"}, "temperature: "),
    "top_p": ({"top_p": 0}, "top_p: "),
    "max_tokens": ({"max_tokens": 0}, "max_tokens: "),
    "half a token": ({"max_tokens": 1.5}, "max_tokens: "),
    "true": ({"max_completion_tokens": True}, "max_completion_tokens: "),
    "stop": ({"stop": ""}, "stop.0: "),
    "many stops": ({"stop": list("abcde")}, "stop: "),
    "stop is a number": ({"stop": 1}, "stop: "),
    "seed": ({"seed": 2**63}, "seed: "),
    "stream": ({"stream": "yes"}, "stream: "),
    "several": ({"n": 2}, "n: not supported"),
    "penalty": ({"frequency_penalty": 0.5}, "frequency_penalty: not supported"),
    "probabilities": ({"logprobs": True}, "logprobs: not supported"),
    "a form": ({"response_format": {"type": "json_object"}}, "response_format: not supported"),
    "unknown": ({"beams": 4}, "beams: not supported"),
    "likeliest": ({"top_k": 5}, "top_k: not supported here; leave it out or send -1 or 0"),
    "repetition": ({"repetition_penalty": 1.1}, "repetition_penalty: not supported"),
    "tools": ({"tools": [{"type": "function"}]}, "tools: not supported"),
    "a tool's choice": ({"tool_choice": "required"}, "tool_choice: not supported"),
    "bias": ({"logit_bias": {"5": 100}}, "logit_bias: not supported"),
    "a voice's answer": ({"modalities": ["text", "audio"]}, "modalities: not supported"),
    "special tokens": ({"skip_special_tokens": False}, "skip_special_tokens: not supported"),
    "effort": ({"reasoning_effort": "high"}, "reasoning_effort: not supported"),
    "stream option": (
        {"stream_options": {"continuous_usage_stats": True}}, "stream_options.continuous_usage",
    ),
    "half a seed": ({"seed": 0.5}, "seed: "),
    "configuration": ({"generation_config": '{"num_beams": 4}'}, "generation_config.num_beams: "),
    "configured": ({"generation_config": '{"seed": 4}'}, "generation_config.seed: "),
    "no configuration": ({"generation_config": "["}, "not valid JSON"),
}  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/ask"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_clear_400(client, name, path) -> None:
    body, message = WRONG[name]
    if isinstance(body, dict):
        ask = name.startswith(("no m", "empty"))
        body = json.dumps(body if ask else {"messages": ASKED, **body}).encode()
    refused = client.post(path, content=body, headers={"content-type": "application/json"})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert message in error["message"]
    assert error["param"] is None or error["message"].startswith(f"{error['param']}: ")
    assert "\n" not in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


NOTHING = {
    "openai": {
        "audio": None, "frequency_penalty": 0, "function_call": "none", "functions": [],
        "logit_bias": {}, "logprobs": False, "metadata": {"a": "b"}, "modalities": ["text"], "n": 1,
        "parallel_tool_calls": True, "prediction": {"type": "content", "content": "5"},
        "presence_penalty": 0.0, "prompt_cache_key": "k", "reasoning_effort": None,
        "response_format": {"type": "text"}, "safety_identifier": "x", "seed": 7.0,
        "service_tier": "auto", "stop": None, "store": True, "tool_choice": "auto", "tools": [],
        "top_logprobs": None, "user": "me", "verbosity": "medium", "web_search_options": None,
        "stream_options": {"include_usage": None, "include_obfuscation": False},
    },
    "vllm": {
        "add_generation_prompt": True, "add_special_tokens": False, "allowed_token_ids": None,
        "bad_words": [], "chat_template_kwargs": {}, "continue_final_message": False,
        "documents": [], "echo": False, "guided_json": None, "ignore_eos": False,
        "include_stop_str_in_output": False, "length_penalty": 1.0, "min_p": 0, "min_tokens": 0,
        "priority": 0, "repetition_penalty": 1.0, "skip_special_tokens": True,
        "spaces_between_special_tokens": True, "stop": [], "stop_token_ids": [], "top_k": -1,
        "use_beam_search": False,
    },
    "zero": {"top_k": 0, "min_p": 0.0, "n": 1.0, "best_of": 1, "response_format": {
        "type": "text", "json_schema": None}},
    "huggingface_hub": {
        "logit_bias": [], "model": "dummy", "response_format": None, "tool_prompt": "x",
    },
    "text-generation-inference": {"model": "tgi"},
    "no model": {"model": ""},
    "transformers": {
        "generation_config": json.dumps(
            {"do_sample": False, "max_new_tokens": 4.0, "num_beams": 1, "repetition_penalty": 1.0}
        ),
        "max_tokens": None,
    },
    "limits": {"max_completion_tokens": 4.0, "max_tokens": None},
}  # fmt: skip
"""Fields by which a client asks for no more than without them."""
SAID = {
    "openai": {
        "name": "bob", "refusal": None, "audio": None, "function_call": None, "tool_calls": [],
        "annotations": [{"type": "url_citation"}],
    },
    "vllm": {"reasoning_content": "so", "reasoning": "so", "tool_calls": None, "annotations": None},
    "lm-eval": {"type": "text"},
    "agents": {"type": "message", "id": "msg_1", "refusal": ""},
}  # fmt: skip
"""The same in a message."""


@pytest.mark.parametrize("name", NOTHING)
def test_what_clients_send_for_nothing_is_nothing(client, name) -> None:
    plain = complete(client, max_tokens=4.0).json()["choices"]
    asked = complete(client, **{"max_tokens": 4, **NOTHING[name]}).json()
    assert asked.get("choices") == plain, asked


@pytest.mark.parametrize("name", SAID)
def test_so_it_is_in_a_message(client, name) -> None:
    said = [*OTHER, {"role": "assistant", "content": "4"}, *ASKED]
    plain = complete(client, said, max_tokens=4).json()
    more = complete(client, [message | SAID[name] for message in said], max_tokens=4).json()
    assert [more.get(key) for key in ("choices", "usage")] == [plain["choices"], plain["usage"]]
    parts = [{"type": "text", "text": m["content"], "cache_control": {}} for m in said]
    told = [m | {"content": [part]} for m, part in zip(said, parts, strict=True)]
    assert complete(client, told, max_tokens=4).json()["choices"] == plain["choices"]
    assert told[0]["role"] == "system"
    told[0]["role"] = "developer"
    assert complete(client, told, max_tokens=4).json()["choices"] == plain["choices"]


def test_the_model_has_its_name(client) -> None:
    assert client.get("/v1/models/tiny").json()["id"] == "tiny"
    assert client.get("/v1/models/org/other").status_code == 404
    assert complete(client, model="dummy", max_tokens=1).json()["model"] == "tiny"


def test_huggingface_hubs_client_needs_no_models_name(client, monkeypatch) -> None:
    from huggingface_hub import InferenceClient, constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    expected = complete(client, max_tokens=8).json()["choices"][0]["message"]["content"]
    for url in (str(client.base_url), f"{client.base_url}/v1"):
        asking = InferenceClient(base_url=url)
        found = asking.chat_completion(ASKED, max_tokens=8)
        assert found.choices[0].message.content == expected
        # What it was told, as it sends it again.
        again = [*ASKED, dict(found.choices[0].message), *ASKED]
        assert asking.chat_completion(again, max_tokens=1).usage.completion_tokens == 1
        pieces = asking.chat_completion(ASKED, max_tokens=8, stream=True)
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == expected


def test_a_long_text_is_refused_before_it_is_read(client, engine, monkeypatch) -> None:
    monkeypatch.setattr(engine._chat, "encode", None)
    longest = max(map(len, engine._chat.tokenizer.get_vocab()))
    text = "a" * (longest * engine.context)
    for said in ([{"role": "user", "content": text}], [{"role": "user", "content": "a"}] * 256):
        error = complete(client, said).json()["error"]
        assert error["code"] == "context_length_exceeded"
        assert f"at least {engine.context} tokens" in error["message"]


def test_a_client_that_leaves_while_it_sends_leaves_no_trace(client, caplog) -> None:
    url = client.base_url
    for path in ("/ask", "/v1/chat/completions"):
        with socket.create_connection((url.host, url.port)) as sending:
            head = f"POST {path} HTTP/1.1\r\nHost: {url.host}\r\n"
            more = "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
            sending.sendall((head + more).encode())
    assert client.get("/health").status_code == 200
    until(lambda: client.get("/health").json()["active"] == 0)
    assert "Traceback" not in caplog.text


def test_a_stopped_engine_says_so(parts) -> None:
    engine = Engine(*parts)
    with serving(engine) as client:
        engine.close()
        refused = complete(client)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopped")
    assert "retry-after" not in refused.headers


def test_other_wrong_requests(client) -> None:
    assert complete(client, model="gpt-4").json()["error"]["code"] == "model_not_found"
    large = client.post("/ask", json={"messages": "x" * 10_000_000})
    assert large.status_code == 413
    assert f"{MAX_BODY:,}" in large.json()["error"]["message"]
    assert client.post("/typeset", json={"text": 5}).status_code == 400
    everything = "".join(map(chr, range(0xE000, 0xF900)))
    assert complete(client, [{"role": "user", "content": everything}]).status_code == 400


def test_other_web_sites_cannot_ask(client, engine) -> None:
    host = client.base_url.netloc.decode()
    port = host.rpartition(":")[2]

    def status(path="/health", **headers):
        return client.get(path, headers=headers).status_code

    for name in ("localhost", "LOCALHOST", "127.0.0.1", "[::1]"):
        assert status(host=f"{name}:{port}") == 200
    for name in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1.evil.example",
        "",
        "[",
        "10.0.0.1",
        "evil@127.0.0.1",
        "127.0.0.1#evil",
    ):
        assert status(host=name) == status("/", host=name) == 403
    assert status(origin=f"http://{host}") == 200
    for origin in ("http://evil.example", "null", "", "http://localhost:1", f"http://{host}.evil"):
        assert status(origin=origin) == 403
    body = json.dumps({"messages": ASKED, "max_tokens": 1})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        refused = client.post("/ask", content=body, headers={"content-type": kind})
        assert refused.status_code == 415
    preflight = client.options("/ask", headers={"access-control-request-method": "POST"})
    assert preflight.status_code == 405
    assert "access-control-allow-origin" not in preflight.headers


def test_elsewhere_than_on_loopback_a_server_has_its_names(engine) -> None:
    with serving(engine, "10.0.0.2", hosts=["Machine.example"]) as public:

        def status(host, **headers):
            return public.get("/health", headers={"host": host, **headers}).status_code

        for name in ("machine.example:80", "10.0.0.1", "[fe80::1]:8000", "localhost"):
            assert status(name) == 200
        assert status(socket.gethostname()) == 200
        for name in ("evil.example", "machine.example.evil.example", "10.0.0.1.evil.example", ""):
            assert status(name) == 403
        assert "--allowed-hosts" in public.get("/", headers={"host": "evil.example"}).text
        assert status("machine.example", origin="http://evil.example") == 403
        assert status("machine.example", origin="https://machine.example") == 200
    with serving(engine, hosts=["*"]) as public:
        assert public.get("/health", headers={"host": "any.example"}).status_code == 200


def test_an_allowed_site_may_ask(engine) -> None:
    site = "http://localhost:3000"
    wanted = {"access-control-request-method": "POST", "access-control-request-headers": "x-a"}
    with serving(engine, origins=[site]) as client:
        before = client.options("/v1/chat/completions", headers={"origin": site, **wanted})
        assert before.status_code == 200
        assert before.headers["access-control-allow-origin"] == site
        assert before.headers["access-control-allow-headers"] == "x-a"
        body = {"messages": ASKED, "max_tokens": 1}
        asked = client.post("/v1/chat/completions", json=body, headers={"origin": site})
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == site
        wrong = client.post("/v1/chat/completions", json={}, headers={"origin": site})
        assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (400, site)
        other = client.get("/health", headers={"origin": "http://localhost:3001"})
        assert other.status_code == 403
        assert "--allowed-origins" in other.json()["error"]["message"]
        assert "access-control-allow-origin" not in other.headers
        rebound = {"host": "evil.example", "origin": site}
        assert client.get("/health", headers=rebound).status_code == 403
    with serving(engine, origins=["*"]) as client:
        found = client.get("/health", headers={"origin": "http://any.example"})
        assert (found.status_code, found.headers["access-control-allow-origin"]) == (200, "*")


def test_a_port_in_use_and_a_missing_model_are_reported_in_one_line(tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port}: Address already in use; choose"):
            chat.main(["--model", str(tmp_path), "--port", str(port)])
    with pytest.raises(InputError, match=r"--host 'a\.\.b' --port 0: "):
        chat.main(["--model", str(tmp_path), "--port", "0", "--host", "a..b"])
    with pytest.raises(InputError, match=r"no config\.json there"):
        chat.main(["--model", str(tmp_path), "--port", "0"])
    for words in (
        ["--port", "70000"], ["--queue", "-1"], ["--max-new-tokens", "0"],
        ["--allowed-hosts", "a.example:80"], ["--allowed-origins", "a.example"],
        ["--allowed-origins", "http://a.example", "http://b.example/"],
    ):  # fmt: skip
        with pytest.raises(InputError, match=words[0]):
            chat.main(["--model", str(tmp_path), *words])


def test_a_model_is_called_after_its_run_or_its_folder(tmp_path) -> None:
    for folder, name in (
        ("runs/quickstart/sft/model", "quickstart-sft"),
        ("runs/sft/model", "sft"),
        ("runs/quickstart/base", "quickstart-base"),
        ("models/TinyMathReason-1B-sft", "TinyMathReason-1B-sft"),
        ("mine/model", "mine"),
        ("hub/models--org--Open-1B/snapshots/0123abcd", "Open-1B"),
        ("org/Open-1B@main", "Open-1B"),
        ("runs", "runs"),
        ("/", "model"),
    ):
        assert chat.name_of(tmp_path / folder) == name


def test_the_command_tells_where_it_is_and_ends_at_ctrl_c(model_dir, tmp_path, capsys) -> None:
    model, tokenizer = load(model_dir)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with chat.bind("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    found = []

    def visit() -> None:
        with httpx.Client(base_url=url, timeout=DEADLINE, trust_env=False) as client:
            until(lambda: reachable(client))
            found.append(client.get("/v1/models").json()["data"][0]["id"])
            body = {"messages": ASKED, "stream": True}
            with client.stream("POST", "/v1/chat/completions", json=body) as response:
                lines = response.iter_lines()
                found.append(next(lines)[:6])
                os.kill(os.getpid(), signal.SIGINT)
                found.append([line for line in lines if line][-1])

    visitor = threading.Thread(target=visit)
    visitor.start()
    chat.main(["--model", str(tmp_path), "--port", str(port)])
    visitor.join(DEADLINE)
    assert found == [tmp_path.name, "data: ", "data: [DONE]"]
    said = capsys.readouterr()
    assert said.out == f"Ask it: {url}\nOpenAI-compatible endpoint: {url}/v1\nstopped\n"
    assert "Traceback" not in said.err


def reachable(client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.ConnectError:
        return False
