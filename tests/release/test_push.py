"""What is published is what was checked; what must not be is refused before anyone hears of it."""

import json
import os
import pickle
import shutil
import subprocess
import sys

import pytest
from safetensors.numpy import load_file, save_file

from release import push
from release.cards.metadata import STATED, stated
from release.checks.weights import Tensors
from tests.support import records
from tests.support.hub_stand_in import READER, TOKEN, Hub
from tests.support.limits import unprivileged
from tinymathreason.chatml import TEMPLATE
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json
from tinymathreason.provenance import asking_hash, model_hash
from tinymathreason.records.tuning import TrainerArguments

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

CARD = """\
---
language:
- en
license: mit
library_name: transformers
pipeline_tag: text-generation
tags:
- math
---

# A model

It has {parameters:,} parameters.
"""


@pytest.fixture(scope="module")
def whole(model_dir, tmp_path_factory):
    """A folder that may be published: a tiny model, its card and the proof of its conversion."""
    folder = tmp_path_factory.mktemp("push") / "whole"
    shutil.copytree(model_dir, folder)
    parameters = Tensors(folder).parameters
    (folder / "README.md").write_text(CARD.format(parameters=parameters))
    proof = records.conversion(parameters=parameters, model_sha256=model_hash(folder))
    proof.write(folder / "conversion.json")
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


@pytest.fixture(scope="module")
def server():
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def hub(server, monkeypatch):
    """The stand-in, empty, and huggingface_hub turned to it."""
    from huggingface_hub import constants

    for state in (server.repositories, server.stored, server.requests, server.failures):
        state.clear()
    for entries in (server.created, server.validated):
        entries.clear()
    server.refusal = []
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return server


@pytest.fixture
def unchecked(monkeypatch):
    """The checks have a test each: those of the upload need not load the model again."""
    from release.checks import folder as checks

    monkeypatch.setattr(checks, "_generation", lambda folder, found: None)


def publish(folder, *more: str) -> None:
    push.main(["--model", str(folder), "--repo", "org/model", *more])


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_published_is_the_folder(folder, hub, capsys) -> None:
    publish(folder)
    repository = hub.repositories["org/model"]
    assert repository.files == content(folder)
    assert repository.commits == [f"SHA-256 of configuration and weights {model_hash(folder)}"]
    assert not repository.private
    assert "visibility" not in hub.created[0]
    assert set(hub.validated) == {(folder / "README.md").read_text()}
    printed = capsys.readouterr().out
    for name in ("files", "secrets", "weights", "card", "licence", "parity", "generation"):
        assert f"{name}: ok" in printed
    assert f"published: {hub.endpoint}/org/model/commit/{repository.sha}" in printed


def test_the_endpoint_is_that_of_the_environment(folder, hub) -> None:
    code = "import sys; from pathlib import Path; from release.push import push; "
    code += "push(Path(sys.argv[1]), 'a/b', sys.argv[2:], True)"
    settings = {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": TOKEN,
    }
    found = subprocess.run(
        [sys.executable, "-c", code, str(folder), *content(folder)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    assert hub.repositories["a/b"].files == content(folder)
    assert hub.repositories["a/b"].private
    assert hub.created[0]["visibility"] == "private"


def test_a_second_push_changes_only_what_changed(folder, hub, unchecked, capsys) -> None:
    publish(folder)
    repository = hub.repositories["org/model"]
    publish(folder)
    assert len(repository.commits) == 1
    assert hub.sent("PUT", "/lfs/") == 1
    repository.files["model-00001-of-00002.safetensors"] = b"of an earlier push"
    repository.files["notes.txt"] = b"the owner's"
    (folder / "README.md").write_text((folder / "README.md").read_text() + "\nMore.\n")
    publish(folder)
    assert repository.files == {**content(folder), "notes.txt": b"the owner's"}
    assert len(repository.commits) == 2
    assert hub.sent("PUT", "/lfs/") == 1


def test_an_interrupted_push_continues(folder, hub, unchecked) -> None:
    hub.failures["/commit/"] = 500
    with pytest.raises(InputError, match=r"org/model: the hub fails \(500\)"):
        publish(folder)
    assert hub.repositories["org/model"].files == {}
    publish(folder)
    assert hub.repositories["org/model"].files == content(folder)
    assert hub.sent("PUT", "/lfs/") == 1


def test_a_dry_run_tells_the_files_and_contacts_nobody(folder, hub, unchecked, capsys) -> None:
    publish(folder, "--dry-run")
    printed = capsys.readouterr().out
    for path in folder.iterdir():
        assert f"{path.stat().st_size:,}  {path.name}\n" in printed
    assert hub.requests == []


def test_nobodys_visibility_is_changed(folder, hub, unchecked, capsys) -> None:
    publish(folder)
    with pytest.raises(InputError, match="org/model: exists and is public"):
        publish(folder, "--private")
    hub.repositories["org/model"].private = True
    publish(folder)
    assert "org/model is private, and stays private" in capsys.readouterr().out
    assert hub.repositories["org/model"].private


@pytest.mark.parametrize(
    ("token", "failures", "expected"),
    [
        (None, {}, "no token for the hub: run hf auth login, or set HF_TOKEN"),
        ("wrong", {}, "does not accept the token"),
        (READER, {}, "may not write there"),
        (TOKEN, {"repos/create": 500}, r"the hub fails \(500\)"),
        (TOKEN, {"/lfs/": 403}, "may not write there"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    folder, hub, unchecked, monkeypatch, tmp_path, token, failures, expected
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.failures.update(failures)
    with pytest.raises(InputError, match=expected) as error:
        publish(folder)
    assert "\n" not in str(error.value)
    assert all(repository.files == {} for repository in hub.repositories.values())


def test_a_card_that_the_hub_refuses_makes_no_repository(folder, hub, unchecked) -> None:
    hub.refusal = ["license: not one of ours"]
    with pytest.raises(InputError, match="not one of ours"):
        publish(folder)
    assert hub.repositories == {}


def test_no_network_is_one_line(folder, hub, unchecked, monkeypatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="the hub cannot be reached"):
        publish(folder)


def refused(folder, capsys, *more: str) -> str:
    with pytest.raises(InputError, match="nothing was sent"):
        publish(folder, *more)
    return capsys.readouterr().out


def test_all_problems_are_reported_and_nobody_is_contacted(folder, hub, unchecked, capsys) -> None:
    for name in ("optimizer.pt", "pytorch_model.bin", "notes.txt", ".env"):
        (folder / name).write_bytes(pickle.dumps(1))
    (folder / "checkpoint-700").mkdir()
    (folder / "items").mkdir()
    (folder / "vocab.json").symlink_to(folder / "config.json")
    (folder / "tokenizer_config.json").unlink()
    (folder / "README.md").unlink()
    (folder / "conversion.json").unlink()
    printed = refused(folder, capsys)
    for words in (
        "optimizer.pt is a state of training",
        "pytorch_model.bin may run code",
        "notes.txt does not belong",
        ".env does not belong",
        "checkpoint-700 is a state of training",
        "items is a state of training",
        "vocab.json is a link",
        "no tokenizer_config.json",
        "card: refused: no README.md",
        "licence: refused",
        "parity: refused: no conversion.json",
        "weights: ok",
    ):
        assert words in printed
    assert hub.requests == []


def made(*parts: str | int) -> str:
    """A text that looks like a secret; made here, lest the repository seem to hold one."""
    letters = "aB3dE5fG7hJ9kL1mN" * 12
    return "".join(part if isinstance(part, str) else letters[:part] for part in parts)


HEX = "0123456789abcdef" * 4
SECRETS = {
    "a Hugging Face token": made("hf", "_", 36),
    "an AWS access key": "AKIA" + "ABCDEFGH12345678",
    "a Google API key": "AIza" + "x" * 35,
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "a Slack token": "xoxb-" + "1234567890-abc",
    "a GitHub token": "ghp_" + "a1" * 18,
    "an authorization header": "Authorization: " + "Bearer abcdefghijk",
    "a password in an address": "https://me:" + "secret@example.org",
}
MORE_SECRETS = [
    *[("a Stripe key", made(kind, "_", 24)) for kind in ("sk_live", "rk_live", "sk_test")],
    ("a Stripe key", made("whsec", "_", 32)),
    ("a Python package index token", made("py", "pi-", "AgE", 150)),
    ("an npm token", made("npm", "_", 36)),
    ("an npm token", f"//host/:_auth{'Token'}={HEX[:8]}-{HEX[:4]}-{HEX[:4]}-{HEX[:4]}-{HEX[:12]}"),
    ("a Slack webhook", made("https://hooks.slack", ".com/services/T0ABCDEFG/B0ABCDEFG/", 24)),
    ("a Slack webhook", made("https://hooks.slack", ".com/workflows/T0ABCDEFG/A0ABC/1234/", 24)),
    ("a Slack token", made("xapp", "-1-A0ABCDEFGHI-5171572773297-", 64)),
    ("a Slack token", made("xoxe.xoxp", "-1-", 163)),
    ("a password for a machine", "machine api.wandb.ai\n  login user\n  password " + HEX[:40]),
    ("a password for a machine", "machine h login me account x password " + "hunter2"),
    ("a password for a machine", "default login anonymous password " + "me"),
    ("a Weights & Biases key", made("wandb", "_v1_", 77)),
    ("a Weights & Biases key", "WANDB_API_KEY=" + HEX[:40]),
    ("a Google client secret", made("GOC", "SPX-", 28)),
    ("a JSON web token", made("ey", "J", 33, ".ey", "J", 70, ".", 43)),
    ("an Azure key", made("Account", "Key=", 86, "==")),
    ("an Azure key", made("Shared", "AccessKey=", 43, "=")),
    ("an Azure key", f"AZURE_OPENAI_API_KEY={HEX[:32]}"),
    ("an Azure client secret", made("abc", "8Q", "~", 34)),
    ("an Azure signature", made("https://x.example/c?sv=2&sig", "=", 43, "%3D")),
    ("a SendGrid key", made("S", "G.", 22, ".", 43)),
    ("a GitLab token", made("glrt", "-", 20)),
    ("a Discord token", made("M", 23, ".", 6, ".", 27)),
    ("a Mailchimp key", f"{HEX[:32]}-us12"),
    ("a Square secret", made("sq0csp", "-", 43)),
    ("a Telegram token", made("123456789", ":", 35)),
    ("a Twilio key", f"{'S'}K{HEX[:32]}"),
    ("a Groq key", made("gsk", "_", 52)),
    ("a Kaggle key", "KGAT" + "_" + HEX[:32]),
    ("a Kaggle key", f"KAGGLE_KEY={HEX[:32]}"),
    ("a Kaggle key", f'{{"username":"ada","key":"{HEX[:32]}"}}'),
]


@pytest.mark.parametrize(("kind", "secret"), [*SECRETS.items(), *MORE_SECRETS])
def test_every_kind_of_secret_is_found_wherever_it_stands(kind, secret) -> None:
    from release.checks.secrets import find_secrets

    def kinds(content: str) -> set[str]:
        return {
            line.split(" in line")[0].split(" under")[0] for line in find_secrets(content.encode())
        }

    assert f"holds {kind}" in kinds(secret)
    assert f"holds {kind}" in kinds(f"# A model\n\n`{secret}` and more\n")
    values = [
        secret,
        f"\t{secret}",
        f"\b{secret}\x0c",
        f"\x00{secret}",
        f"\u00e9{secret}",
        f"\n{secret}\n",
    ]
    for value in values:
        for ascii_only in (True, False):
            text = json.dumps({"a": [{"note": value}]}, ensure_ascii=ascii_only)
            assert f"holds {kind} under a.0.note" in set(find_secrets(text.encode()))
            # Several values in a file, and one in a text of another.
            assert f"holds {kind}" in kinds(f"{text}\n{text}\n")
            assert f"holds {kind}" in kinds(json.dumps({"config": text}))


def test_json_cannot_hide_a_secret() -> None:
    from release.checks.secrets import find_secrets

    token = made("hf", "_", 36)
    spelled = "".join(f"\\u{ord(letter):04x}" for letter in token)
    (line,) = find_secrets(f'{{"x": {{"a": "{spelled}"}}}}'.encode())
    assert line == "holds a Hugging Face token under x.a"
    (line,) = find_secrets(f'{{"x": "{token}", "x": 1}}'.encode())  # a reader has the last x
    assert line == "holds a Hugging Face token under x"
    key = json.dumps({"hub": {token: None}}).encode()
    assert list(find_secrets(key)) == ["holds a Hugging Face token under hub.(a key)"]
    deep = f'{"[" * 100_000}"{token}"{"]" * 100_000}'.encode()
    assert list(find_secrets(deep)) == ["holds a Hugging Face token in line 1"]
    name, value = "WANDB_API_KEY", HEX[:40]
    (line,) = find_secrets(json.dumps({"env": {name: value}}).encode())
    assert line == f"holds a Weights & Biases key under env.{name}"


def test_texts_that_only_resemble_a_secret(whole) -> None:
    from release.checks.secrets import find_secrets

    words = [
        "machine",
        "login",
        "password",
        "authorization",
        "Bearer",
        "username",
        "key",
        "default",
    ]
    vocabulary = {word: number for number, word in enumerate(words * 2)}
    lines = [
        "The machine learning model has a login page, and its password is not stored.",
        "sk_live_ and gsk_ begin keys; see npm_config_registry, pypi-server and eyJ.",
        "hf_hub_download(repo_id) after huggingface-cli login, with the HF_TOKEN of yours",
        "whsec_..., xapp-1-A-2-b, SG.short.short, AccountKey=<your key>, WANDB_API_KEY=<key>",
        "sha256:" + HEX,
        "https://hooks.slack.com/services/T/B/x",
        json.dumps({"model": {"vocab": vocabulary, "merges": [["machine", "login"], ["a", "b"]]}}),
        json.dumps({"architectures": ["LlamaForCausalLM"], "sha256": HEX, "seed": 1234}),
    ]
    for text in lines:
        assert not list(find_secrets(text.encode())), text
    assert not list(find_secrets("\n".join(lines).encode()))


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_are_found_and_not_repeated(folder, unchecked, capsys, kind) -> None:
    secret = SECRETS[kind]
    arguments = TrainerArguments(**dict(records.arguments()), hub=["", secret])
    records.sft(arguments=arguments).write(folder / "sft.json")
    (folder / "README.md").write_text((folder / "README.md").read_text() + f"\n{secret}\n")
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors, folder / "model.safetensors", metadata={"note": secret})
    printed = refused(folder, capsys)
    assert f"sft.json holds {kind} under arguments.hub.1" in printed
    lines = (folder / "README.md").read_text().count("\n")
    assert f"README.md holds {kind} in line {lines}" in printed
    assert f"model.safetensors holds {kind} under __metadata__.note" in printed
    assert secret not in printed


@pytest.mark.parametrize("before", ["my_", "x-", "=", '"\\n', "/"])
def test_a_secret_need_not_stand_alone(before) -> None:
    from release.checks.secrets import find_secrets

    token = f"hf_{'aB3' * 12}"
    assert list(find_secrets(f"{before}{token}".encode()))
    assert not list(find_secrets(f"shelf{token}".encode()))


def test_a_home_folder_is_reported(folder, unchecked, capsys) -> None:
    arguments = TrainerArguments(**dict(records.arguments()), output_dir="/home/ada/runs")
    tuned = records.sft(arguments=arguments, model_sha256=model_hash(folder))
    tuned.write(folder / "sft.json")
    publish(folder, "--dry-run")
    printed = capsys.readouterr().out
    assert "secrets: note: sft.json names a home folder under arguments.output_dir" in printed


def test_what_the_libraries_write_is_no_secret(whole, capsys) -> None:
    from release.checks.secrets import find_secrets

    for path in whole.iterdir():
        if path.suffix != ".safetensors":
            assert list(find_secrets(path.read_bytes())) == []
    assert list(find_secrets(b'{"hub_token": "<HUB_TOKEN>", "push_to_hub_token": null}')) == []


def test_weights_that_are_not_whole(folder, unchecked, capsys) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-4])
    printed = refused(folder, capsys)
    assert "weights: refused" in printed
    assert "truncated" in printed
    assert "generation: refused: not tried" in printed
    path.write_bytes(content[:5])
    assert "truncated" in refused(folder, capsys)
    path.write_bytes(content)
    shutil.copy(path, folder / "model-00001-of-00002.safetensors")
    assert "no model reads model-00001-of-00002.safetensors" in refused(folder, capsys)


def test_shards_are_those_of_the_index(folder, unchecked, capsys) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {}
    for number, half in enumerate((names[:5], names[5:]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in half}, folder / file, {"format": "pt"})
        places |= dict.fromkeys(half, file)
    index = folder / "model.safetensors.index.json"
    write_json(index, {"metadata": {}, "weight_map": places})
    proof = read_json(folder / "conversion.json")
    write_json(folder / "conversion.json", {**proof, "model_sha256": model_hash(folder)})
    publish(folder, "--dry-run")
    write_json(index, {"metadata": {}, "weight_map": places | {"more": file}})
    assert "its tensors are not those of" in refused(folder, capsys)
    write_json(index, {"metadata": {}, "weight_map": {"a": "../../other.safetensors"}})
    assert "no weight_map in it" in refused(folder, capsys)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(folder, unchecked, capsys, value) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][3] = value
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert "model.norm.weight holds a NaN or an infinity" in refused(folder, capsys)


def test_a_model_that_lacks_a_tensor_is_not_filled_up(folder, capsys) -> None:
    tensors = load_file(folder / "model.safetensors")
    gone = tensors.pop("model.layers.1.mlp.up_proj.weight")
    tensors["stray"] = gone
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    printed = refused(folder, capsys)
    assert "missing keys of the weights: model.layers.1.mlp.up_proj.weight" in printed
    assert "unexpected keys of the weights: stray" in printed


def test_a_model_that_does_not_load(folder, capsys) -> None:
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, "model_type": "unheard-of"})
    assert "generation: refused: the model does not load" in refused(folder, capsys)
    write_json(folder / "config.json", {**config, "intermediate_size": 8})
    assert "generation: refused" in refused(folder, capsys)


def test_a_model_that_says_nothing(folder, capsys) -> None:
    """Its first token is always the end of text: the output layer knows nothing else."""
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"][:] = 0  # all tokens are equal, and the first is the padding
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert "its answer to a question is empty" in refused(folder, capsys)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("license: mit", "license: nobodys", "the hub knows no license 'nobodys'"),
        ("license: mit\n", "", "its metadata has no license"),
        ("- en", "- English", "'English' is no code of a language"),
        ("tags:\n- math\n", "", "its metadata has no tags"),
        ("tags:", "tags: [", "its metadata cannot be read"),
        ("---\nlanguage", "\nlanguage", "it does not begin with metadata"),
        ("tags:", "datasets:\n- data/x/y.jsonl\ntags:", "is no name on the hub"),
        ("tags:", "model-index:\n- name: x\ntags:", "its metadata cannot be read"),
        (" parameters", "9 parameters", "it names neither these weights' SHA-256 nor"),
    ],
)
def test_a_card_that_is_wrong(folder, unchecked, capsys, old, new, expected) -> None:
    text = (folder / "README.md").read_text()
    assert old in text
    (folder / "README.md").write_text(text.replace(old, new, 1))
    printed = refused(folder, capsys)
    assert expected in next(
        line for line in printed.splitlines() if line.startswith("card: refused")
    )


def test_a_card_of_other_weights(folder, unchecked, capsys) -> None:
    text = (folder / "README.md").read_text()
    line = f"<!-- release.card model_sha256={{}} asking_sha256={{}} text_sha256={'0' * 64} -->\n"
    asking = asking_hash(folder)
    (folder / "README.md").write_text(text + line.format(model_hash(folder), asking))
    assert STATED.search((folder / "README.md").read_text())
    publish(folder, "--dry-run")
    (folder / "README.md").write_text(text + line.format("1" * 64, asking))
    assert "it was written for other weights" in refused(folder, capsys)
    (folder / "README.md").write_text(text + line.format(model_hash(folder), asking))
    (folder / "generation_config.json").write_text("{}")
    assert "it was written for another tokenizer, template or" in refused(folder, capsys)


def test_an_end_that_others_would_miss_is_reported(folder) -> None:
    from release.checks import folder as checks

    shutil.copy(TEMPLATE, folder / "chat_template.jinja")
    for ends, warned in ((1, True), ([1, 3], False)):
        config = {"eos_token_id": ends, "pad_token_id": 0}
        (folder / "generation_config.json").write_text(json.dumps(config))
        found = checks.Finding("generation")
        checks._generation(folder, found)
        assert any("eos_token_id lacks 3" in warning for warning in found.warnings) is warned


def test_an_edited_card_is_reported(folder, unchecked, capsys) -> None:
    text = f"{(folder / 'README.md').read_text()}\nRight are 99.5 %.\n\n"
    whole = f"{text}{stated(model_hash(folder), asking_hash(folder), text)}\n"
    (folder / "README.md").write_text(whole)
    publish(folder, "--dry-run")
    assert "card: note" not in capsys.readouterr().out
    (folder / "README.md").write_text(whole.replace("99.5", "100"))
    publish(folder, "--dry-run")
    assert "card: note: edited since release.card wrote it" in capsys.readouterr().out


def test_a_file_of_another_form_is_one_finding(folder, unchecked, capsys) -> None:
    (folder / "README.md").write_bytes((folder / "README.md").read_bytes() + b"\xe9\n")
    write_json(folder / "sft.json", [])
    printed = refused(folder, capsys).splitlines()
    assert [line.split(" in UTF")[0] for line in printed if "refused" in line] == [
        "card: refused: README.md is not",
        f"parity: refused: {folder / 'sft.json'}: holds a list, expected an object; write it again "
        "with sft.run",
    ]
    assert any(line.startswith("generation: ok") for line in printed)


def test_json_is_read_and_names_no_code(folder, unchecked, capsys) -> None:
    (folder / "generation_config.json").write_text("{")
    code = {**read_json(folder / "config.json"), "auto_map": {"AutoConfig": "a/b--c.D"}}
    write_json(folder / "config.json", code)
    printed = refused(folder, capsys)
    assert f"{folder / 'generation_config.json'}: not valid JSON" in printed
    assert "config.json names code to run in its auto_map" in printed


def test_a_licence_in_a_file_is_enough(folder, unchecked, capsys) -> None:
    (folder / "LICENSE").write_text("Do what you like.")
    publish(folder, "--dry-run")
    assert "licence: ok (LICENSE)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"max_abs_diff": 0.1}, "did not agree"),
        ({"max_abs_diff": float("nan")}, "parity.max_abs_diff: nan is not a finite number"),
        ({"mean_kl": 1.0}, "did not agree"),
        ({"argmax_agreement": 0.99}, "did not agree"),
    ],
)
def test_a_parity_that_failed(folder, unchecked, capsys, change, expected) -> None:
    record = read_json(folder / "conversion.json")
    write_json(folder / "conversion.json", {**record, "parity": record["parity"] | change})
    assert expected in refused(folder, capsys)


def test_parity_of_another_model_or_none(folder, unchecked, capsys) -> None:
    proof = read_json(folder / "conversion.json")
    write_json(folder / "conversion.json", {**proof, "parameters": 5})
    assert "is of a model of 5 parameters" in refused(folder, capsys)
    write_json(folder / "conversion.json", {**proof, "parity": None})
    assert "no proof in it" in refused(folder, capsys)


def test_parity_is_of_these_weights(folder, unchecked, capsys) -> None:
    """The same sizes are not enough."""
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] *= 2
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert "parity: refused" in (printed := refused(folder, capsys))
    assert "proves other weights than these or those they came from" in printed
    proof = read_json(folder / "conversion.json")
    del proof["model_sha256"]
    write_json(folder / "conversion.json", proof)
    assert "model_sha256 is missing; write it again with" in refused(folder, capsys)


def test_a_model_tuned_from_one_on_the_hub(folder, whole, unchecked, capsys) -> None:
    (folder / "conversion.json").unlink()
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] *= 2
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    tuned = records.sft(model_name_or_path="org/base", base="main", model_sha256=model_hash(folder))
    tuned.write(folder / "sft.json")
    publish(folder, "--dry-run", "--parity", str(whole / "conversion.json"))
    assert "cannot be compared with revision main on the hub" in capsys.readouterr().out


def test_a_model_tuned_from_an_open_one_was_never_converted(
    folder, whole, unchecked, tmp_path, capsys
) -> None:
    (folder / "conversion.json").unlink()
    assert "parity: refused: no conversion.json in the folder" in refused(folder, capsys)
    opened = shutil.copytree(folder, tmp_path / "open")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] *= 2
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    own = {"model_sha256": model_hash(folder)}
    tuned = records.sft(model_name_or_path=str(opened), base=model_hash(opened), **own)
    tuned.write(folder / "sft.json")
    publish(folder, "--dry-run")
    assert f"parity: ok (nothing was converted: it was tuned from {opened})" in (
        capsys.readouterr().out
    )
    records.sft(model_name_or_path="org/base", base="a" * 40, **own).write(folder / "sft.json")
    publish(folder, "--dry-run")
    assert f"it was tuned from org/base at {'a' * 40})" in capsys.readouterr().out
    # What became of the start is unknown where its folder is gone or has other weights.
    for start, base in ((opened, "0" * 64), (tmp_path / "gone", model_hash(opened))):
        records.sft(model_name_or_path=str(start), base=base, **own).write(folder / "sft.json")
        assert "parity: refused: no conversion.json in the folder" in refused(folder, capsys)
    tuned.model_copy(update={"model_sha256": "0" * 64}).write(folder / "sft.json")
    assert "the record of its fine-tuning is of other weights" in refused(folder, capsys)


def test_a_tuned_model_is_proven_by_its_base(folder, whole, unchecked, tmp_path, capsys) -> None:
    """A chain: this model was tuned from one that was tuned from the converted one."""
    (folder / "conversion.json").unlink()
    tensors = load_file(folder / "model.safetensors")
    middle = shutil.copytree(folder, tmp_path / "middle")
    for place in (middle, folder):
        tensors["model.norm.weight"] *= 2
        save_file(tensors, place / "model.safetensors", {"format": "pt"})

    def tuned(make, start, **values):
        path, base = str(start), model_hash(start)
        return make(
            **{"model_name_or_path": path, "base": base, "model_sha256": records.SHA, **values}
        )

    tuned(records.sft, whole).write(middle / "sft.json")
    own = model_hash(folder)
    tuned(records.grpo, middle, model_sha256=own).write(folder / "grpo.json")
    publish(folder, "--dry-run")
    assert f"parity: ok ({whole / 'conversion.json'}" in capsys.readouterr().out
    tuned(records.grpo, middle, model_sha256=own, base="0" * 64).write(folder / "grpo.json")
    assert "parity: refused: no conversion.json" in refused(folder, capsys)
    proof = ("--parity", str(whole / "conversion.json"))
    assert "proves other weights" in refused(folder, capsys, *proof)
    base = model_hash(whole)
    tuned(records.grpo, middle, model_sha256=own, base=base).write(folder / "grpo.json")
    publish(folder, "--dry-run", *proof)
    tuned(records.grpo, middle, model_sha256="0" * 64, base=base).write(folder / "grpo.json")
    assert "fine-tuning is of other weights" in refused(folder, capsys, *proof)


@pytest.mark.parametrize("repo", ["model", "a/b/c", "org/../x", "org/mo del"])
def test_a_name_that_the_hub_does_not_take(folder, repo) -> None:
    with pytest.raises(InputError, match="--repo"):
        push.main(["--model", str(folder), "--repo", repo])


def test_no_folder_is_reported(tmp_path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        publish(tmp_path / "none")


def test_sent_names_are_the_checked_ones(folder, hub, unchecked, monkeypatch) -> None:
    """What comes into the folder after the checks is not sent."""
    files = push.check(folder, None)
    (folder / "late.txt").write_text("x")
    push.push(folder, "org/model", list(files), False)
    assert "late.txt" not in hub.repositories["org/model"].files
    assert json.loads(hub.repositories["org/model"].files["config.json"])


def test_what_a_killed_writer_left_is_neither_refused_nor_sent(folder) -> None:
    for name in (".README.md.partial", "README.vm-1.partial.md"):
        (folder / name).write_text("half")
    sent = push.check(folder, None)
    assert "README.md" in sent
    assert not any("partial" in name for name in sent)


def test_a_file_that_may_not_be_read_is_reported(folder, capsys) -> None:
    (folder / "README.md").chmod(0)
    with unprivileged(), pytest.raises(InputError):
        push.check(folder, None)
    assert "README.md: cannot be used (Permission denied: " in capsys.readouterr().out
