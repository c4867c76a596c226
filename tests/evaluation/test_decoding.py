"""An answer does not depend on its batch, nor on the settings of a model's folder."""

import json
import shutil
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import decoding, measure, tasks
from evaluation.config import EvalConfig
from evaluation.generate import Generator
from tests.support import scripted
from tinymathreason.chatml import EOS, IM_END, SPECIAL_TOKENS
from tinymathreason.cli import InputError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

END, STOP = SPECIAL_TOKENS.index(EOS), SPECIAL_TOKENS.index(IM_END)
BATCHES = (1, 3, 8)
PROBLEMS = 10


@pytest.fixture(scope="module")
def built(model_dir, tmp_path_factory):
    return scripted.write(model_dir, tmp_path_factory.mktemp("built") / "model")


@pytest.fixture
def variant(built, tmp_path):
    """A copy of the built model with another generation configuration, and other configurations."""

    def make(generation=None, **config):
        folder = tmp_path / "variant"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(built, folder)
        if generation is not None:
            (folder / "generation_config.json").write_text(json.dumps(generation))
        own = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(own | config))
        return folder

    return make


def answers(folder, form, size):
    """What evaluation keeps of each answer."""
    asked = EvalConfig("arithmetic", limit=PROBLEMS, form=form, batch_size=size, max_new_tokens=30)
    result, samples = measure.evaluate(folder, asked)
    return result, [sample.completions for sample in samples]


def right(questions):
    """What the built model is made to say to a question: its most frequent digit decides."""

    def first(question):
        weights = {d: question.count(str(d)) * (1 + (d + 2) ** 0.5 / 10) for d in range(10)}
        return max(weights, key=weights.get)

    return [f"{d}{scripted.CHAIN[d % 8 :]}" for d in map(first, questions)]


CONFIGURED = {
    "none": (None, None),
    "end of text": ({"eos_token_id": END}, END),
    "end of turn": ({"eos_token_id": STOP}, None),
    "both": ({"eos_token_id": [STOP, END]}, [END, STOP]),
    "config only": (None, [END]),
}


@pytest.mark.parametrize("name", CONFIGURED)
def test_an_answer_is_the_same_in_every_batch_whatever_ends_are_configured(variant, name) -> None:
    generation, config = CONFIGURED[name]
    folder = variant(generation, eos_token_id=config)
    questions = [problem.question for problem in tasks.load("arithmetic", limit=PROBLEMS)]
    expected = right(questions)
    assert len({len(answer) for answer in expected}) > 2
    generator = Generator(folder)
    for size in BATCHES:
        assert generator.answer(questions, 30, size, quiet=True) == expected
        result, completions = answers(folder, "chat", size)
        assert completions == [[answer] for answer in expected]
        assert {END, STOP} <= set(result["decoding"].stop_token_ids)


TOKENIZERS = {
    "one token ends texts and turns and pads": ({"eos_token": IM_END, "pad_token": IM_END}, STOP),
    "two tokens end and none pads": ({"pad_token": None}, [END, STOP]),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_an_answer_is_the_same_in_every_batch_whatever_pads(variant, name) -> None:
    """As SmolLM2 has it, and Llama 3."""
    settings, ends = TOKENIZERS[name]
    pad = settings["pad_token"] and STOP
    folder = variant({"eos_token_id": ends}, eos_token_id=ends, pad_token_id=pad)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    questions = [problem.question for problem in tasks.load("arithmetic", limit=PROBLEMS)]
    generator = Generator(folder)
    assert generator.tokenizer.pad_token == (settings["pad_token"] or EOS)
    for size in BATCHES:
        assert generator.answer(questions, 30, size, quiet=True) == right(questions)
        result, completions = answers(folder, "chat", size)
        assert completions == [[answer] for answer in right(questions)]
        assert set(result["decoding"].stop_token_ids) == {STOP, *(ends if pad is None else [])}


def test_in_plain_form_too_a_row_ends_by_itself(variant) -> None:
    folder = variant({"eos_token_id": END}, eos_token_id=END)
    runs = [answers(folder, "plain", size) for size in BATCHES]
    assert runs[0][1] == runs[1][1] == runs[2][1]
    # The template's end is none here, and nothing else ends these.
    assert runs[0][0]["decoding"].stop_token_ids == [END]
    assert all(text.endswith("zzz") for (text,) in runs[0][1])
    ended = answers(variant({"eos_token_id": [END, STOP]}), "plain", 8)[1]
    assert not any("z" in text for (text,) in ended)


@pytest.mark.parametrize("size", BATCHES)
def test_what_follows_a_stop_text_never_counts(model_dir, tmp_path, size) -> None:
    """Also one that is in tokens of its own, spans a control token, or is one."""
    from lm_eval.api.instance import Instance

    from evaluation.harness import HarnessModel

    start = SPECIAL_TOKENS[2]
    folder = scripted.write(
        model_dir, tmp_path / "model", {"D": start, start: "B", "A": "\n", "\n": "C"}
    )
    lm = HarnessModel(str(folder), device="cpu", dtype="float32", batch_size=size)
    prompts = [f"{'so ' * (i % 3)}{i % 10}?" for i in range(2 * max(BATCHES))]
    for until in (["FE"], [f"{start}B"], [start], ["\nC"], ["E", "GF", "zz"], ["never", IM_END]):
        settings = {"until": until, "max_gen_toks": 24, "do_sample": False, "stop_token_ids": [END]}
        requests = [
            Instance("generate_until", {}, (text, settings), i) for i, text in enumerate(prompts)
        ]
        alone = [lm.generate_until([request], disable_tqdm=True)[0] for request in requests]
        assert lm.generate_until(requests, disable_tqdm=True) == alone
        assert len(set(alone)) > 1


SETTINGS = {
    "repetition_penalty": 0.001,
    "no_repeat_ngram_size": 1,
    "min_new_tokens": 25,
    "min_length": 250,
    "suppress_tokens": list(range(20, 60)),
    "begin_suppress_tokens": list(range(20, 60)),
    "bad_words_ids": [[i] for i in range(20, 60)],
    "sequence_bias": [[[9], 1e4]],
    "max_new_tokens": 1,
    "stop_strings": ["C"],
}


@pytest.mark.parametrize("setting", [*SETTINGS, "sampling", "config"])
def test_no_setting_of_a_folder_is_obeyed_and_each_is_reported(
    built, variant, capsys, setting
) -> None:
    asked = {setting: SETTINGS.get(setting)}
    if setting == "sampling":
        asked = {"do_sample": True, "temperature": 90.0, "top_k": 0}
    if setting == "config":  # as older models have it
        asked = {"repetition_penalty": 0.001}
        folder = variant(None, **asked)
    else:
        folder = variant({"eos_token_id": [END, STOP], **asked})
    questions = [problem.question for problem in tasks.load("arithmetic", limit=PROBLEMS)]
    generator = Generator(folder)
    kept = generator.model.generation_config
    assert generator.answer(questions, 30, 4, quiet=True) == right(questions)
    assert generator.model.generation_config is kept
    result, completions = answers(folder, "chat", 4)
    assert completions == [[answer] for answer in right(questions)]
    message = {key: value for key, value in result["ignored_settings"].items() if key in asked}
    assert message.keys() == asked.keys()
    # And it would have mattered.
    inputs = generator.tokenizer.pad(
        [{"input_ids": ids} for ids in generator.prompts(questions)], return_tensors="pt"
    )
    more = {} if setting in ("max_new_tokens", "min_length") else {"max_new_tokens": 30}
    if setting == "min_length":
        more["max_length"] = 260
    if setting == "stop_strings":
        more["tokenizer"] = generator.tokenizer
    theirs = generator.model.generate(**inputs, **more)[:, inputs["input_ids"].shape[1] :]
    texts = zip(generator.tokenizer.batch_decode(theirs), right(questions), strict=True)
    assert not all(text.startswith(f"{answer}{IM_END}") for text, answer in texts)


def test_a_result_tells_every_setting(built) -> None:
    result, _ = answers(built, "chat", 4)
    assert result["ignored_settings"] == {}
    decoding_ = result["decoding"]
    assert decoding_.model_dump().keys() >= decoding.NEUTRAL.keys()
    assert (decoding_.repetition_penalty, decoding_.do_sample) == (1.0, False)


def test_neutral_settings_are_the_librarys_defaults() -> None:
    from transformers import GenerationConfig

    empty = GenerationConfig()
    defaults = empty._get_default_generation_params()
    for key, value in decoding.NEUTRAL.items():
        assert getattr(empty, key) is None
        assert defaults.get(key) in (value, False if value is None else value, None)
    ours = decoding.own([3], 0, max_new_tokens=5).to_diff_dict()
    del ours["transformers_version"]
    assert ours == {
        "do_sample": False, "eos_token_id": [3], "pad_token_id": 0, "max_new_tokens": 5,
    }  # fmt: skip


special = st.sampled_from(["<|a|>", "<|b|>", "</s>", "<|im_end|>"])
plain = st.sampled_from(["", "\n", " ", "### Response:", "<end>"])


@given(before=plain, between=plain, end=special | plain, user=special | plain)
def test_the_end_of_a_turn_is_the_control_token_behind_an_answer(
    before, between, end, user
) -> None:
    names = ["<|a|>", "<|b|>", "</s>", "<|im_end|>"]

    def template(messages, tokenize):
        marks = {"user": user, "assistant": before}
        return "".join(
            f"{marks[m['role']]}{m['content']}{end if m['role'] == 'assistant' else between}"
            for m in messages
        )

    tokenizer = SimpleNamespace(
        apply_chat_template=template,
        added_tokens_decoder={
            i: SimpleNamespace(content=name, special=True) for i, name in enumerate(names)
        },
    )
    expected = next((names.index(text) for text in (end, user) if text in names), None)
    assert decoding.turn_end(tokenizer) == expected


def test_a_template_that_cannot_be_rendered_is_one_line(built, tmp_path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(built, folder)
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no such turn') }}")
    with pytest.raises(InputError, match="the chat template cannot be rendered: no such turn"):
        answers(folder, "chat", 4)
