"""A run gives a whole model folder, and what is wrong with it is one line."""

import json
import shutil

import pytest
import safetensors.numpy

from sft import run
from sft.checkpoints import INPUTS, MODEL
from sft.finish import ADAPTER
from sft.model import merge
from tests.support import records
from tests.support.tuning import record, weights, write
from tinymathreason.chatml import IM_END, IM_START
from tinymathreason.cli import InputError
from tinymathreason.files import locked
from tinymathreason.records.pretraining import Phase
from tinymathreason.records.tuning import SftRecord

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


PHASE = Phase(run="long", recipe="maths", file="mixture.json", last_step=7)


@pytest.fixture(scope="module")
def finished(model_dir, tmp_path_factory):
    """The folder of a short run, which a second start leaves as it is."""
    home = tmp_path_factory.mktemp("finished")
    base = shutil.copytree(model_dir, home / "base")
    records.conversion(phases=[PHASE]).write(base / "conversion.json")
    write(home / "a.yaml", base, home / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        run.main(["--config", "a.yaml", "--max_steps", "2"])
    return home / "out"


def test_a_finished_run_is_not_run_again(finished, capsys) -> None:
    before = (finished / MODEL / "sft.json").stat()
    run.main(["--config", str(finished.parent / "a.yaml"), "--max_steps", "2"])
    assert "was already complete" in capsys.readouterr().out
    assert (finished / MODEL / "sft.json").stat() == before


def test_the_phases_of_the_base_are_handed_on(finished) -> None:
    assert SftRecord.load(finished / MODEL / "sft.json").phases == [PHASE]


def test_the_result_stops_at_the_end_of_an_answer(finished) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(finished / MODEL)
    stop = tokenizer.convert_tokens_to_ids(IM_END)
    generation = GenerationConfig.from_pretrained(finished / MODEL)
    assert generation.eos_token_id == [stop, tokenizer.eos_token_id]
    assert generation.pad_token_id == tokenizer.pad_token_id
    assert "generation" in tokenizer.chat_template


def test_others_read_the_folder(finished, model_dir) -> None:
    folder = finished / MODEL
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["model_input_names"] == ["input_ids", "attention_mask"]
    assert settings["chat_template"] == (folder / "chat_template.jinja").read_text()
    assert not settings.keys() & {"backend", "is_local", "local_files_only"}
    config = json.loads((folder / "config.json").read_text())
    assert (config["rope_theta"], config["rope_scaling"]) == (10_000.0, None)
    assert config["rope_parameters"] == {"rope_theta": 10_000.0, "rope_type": "default"}
    assert config["torch_dtype"] == config["dtype"] == "float32"
    assert config["use_cache"] is True
    start = safetensors.numpy.load_file(model_dir / "model.safetensors")
    assert weights(finished).keys() == start.keys()
    assert not (folder / "adapter").exists()
    assert (folder / "curves.png").is_file()


@pytest.mark.processor
def test_a_model_gets_the_special_tokens_that_it_lacks(model_dir, tmp_path, capsys) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    shutil.copytree(model_dir, tmp_path / "open")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        file = tmp_path / "open" / name
        file.write_text(file.read_text().replace(IM_START, "<|a|>").replace(IM_END, "<|b|>"))
    (tmp_path / "open" / "chat_template.jinja").unlink(missing_ok=True)
    config = write(tmp_path / "a.yaml", tmp_path / "open", tmp_path / "out")
    run.main(["--config", str(config), "--max_steps", "2"])
    assert f"new tokens: {IM_START}, {IM_END}; their rows are the mean" in capsys.readouterr().out
    folder = tmp_path / "out" / MODEL
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    start, stop = tokenizer.convert_tokens_to_ids([IM_START, IM_END])
    old = json.loads((model_dir / "config.json").read_text())["vocab_size"]
    assert (start, stop) == (old, old + 1)
    assert model.config.vocab_size == len(tokenizer) == old + 2
    assert model.get_output_embeddings().weight.shape[0] == old + 2
    assert stop in GenerationConfig.from_pretrained(folder).eos_token_id
    assert "generation" in tokenizer.chat_template
    # Both rows of the head were equal before; each token has been learnt by itself since.
    head = model.get_output_embeddings().weight
    assert not head[start].equal(head[stop])


def test_the_record_tells_where_the_model_comes_from(finished, model_dir) -> None:
    from tinymathreason.provenance import model_hash

    found = record(finished)
    assert found.base == model_hash(model_dir)
    assert found.model_name_or_path == str(finished.parent / "base")
    assert found.model_sha256 == model_hash(finished / MODEL)
    assert found.counts["problems"].read == 60
    assert [entry.step for entry in found.history if entry.loss is not None] == [1, 2]
    assert 2 * 4 * 30 < found.tokens < 2 * 4 * 128
    assert found.arguments.max_steps == found.steps == 2
    assert len(found.manifest) == len(found.data["train"]) == 64
    assert found.provenance.versions["trl"]
    assert found.seconds > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": {}}, "has another activation_checkpointing; remove it or set output_dir"),
        ({"arguments": {"seed": ["3"]}}, "has another seed;"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(model_dir, tmp_path, change, words) -> None:
    config = write(tmp_path / "a.yaml", model_dir, tmp_path / "out")
    records.tuning_run(**change).write(tmp_path / "out" / INPUTS)
    with pytest.raises(InputError, match=words):
        run.main(["--config", str(config)])


def test_the_same_run_at_the_same_time_is_refused(model_dir, tmp_path) -> None:
    config = write(tmp_path / "a.yaml", model_dir, tmp_path / "out")
    told = pytest.raises(InputError, match="out: another process is training there")
    with locked(tmp_path / "out", "training"), told:
        run.main(["--config", str(config)])


@pytest.mark.processor
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lora_is_merged_into_a_plain_model(model_dir, tmp_path, dtype) -> None:
    more = "use_peft: true\nkeep_adapter: true\nlora_r: 4\nlora_target_modules: all-linear\n"
    more += f"dtype: {dtype}\n"
    config = write(tmp_path / "a.yaml", model_dir, tmp_path / "out", more)
    run.main(["--config", str(config), "--max_steps", "2"])
    if dtype == "bfloat16":
        config = json.loads((tmp_path / "out" / MODEL / "config.json").read_text())
        assert config["dtype"] == "bfloat16"
        return
    start = safetensors.numpy.load_file(model_dir / "model.safetensors")
    found = weights(tmp_path / "out")
    assert found.keys() == start.keys()
    changed = {name for name in found if (found[name] != start[name]).any()}
    assert changed == {name for name in found if "_proj" in name}
    again = merge(tmp_path / "out" / ADAPTER, base_of(model_dir)).state_dict()
    assert all((again[name].numpy() == found[name]).all() for name in found)
    assert (tmp_path / "out" / ADAPTER / "chat_template.jinja").is_file()


def base_of(folder):
    return {"pretrained_model_name_or_path": str(folder), "dtype": "auto"}


@pytest.mark.processor
def test_a_merged_adapter_says_what_it_said_before(model_dir, tmp_path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = base_of(model_dir)
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(model_dir)
    model = get_peft_model(model, LoraConfig(target_modules="all-linear", init_lora_weights=False))
    model.save_pretrained(tmp_path / "adapter")
    ids = torch.arange(4, 40)[None]
    with torch.no_grad():
        before, merged = model.eval()(ids).logits, merge(tmp_path / "adapter", base).eval()(ids)
        bare = AutoModelForCausalLM.from_pretrained(model_dir)(ids).logits
    assert torch.allclose(before, merged.logits, atol=1e-4)
    assert not torch.allclose(before, bare, atol=1e-2)


@pytest.mark.parametrize(
    ("more", "arguments", "words"),
    [
        ("learning_rte: 1", [], "unknown key 'learning_rte'; did you mean 'learning_rate'"),
        ("eval_fractoin: 1", [], "did you mean 'eval_fraction'"),
        ("seed: many", [], "seed"),
        ("run_name: 2026-11-28", [], "key 'run_name': YAML reads 2026-11-28 as a date"),
        ("", ["--no_such_key", "1"], "no_such_key"),
        ("", ["eval_fraction=7"], "eval_fraction must be between"),
        ("", ["sources.problems.format=jsonl"], "path is needed"),
        ("", ["--model_name_or_path", ""], "'model_name_or_path' is missing"),
        ("", ["--model_name_or_path", "/nowhere"], "/nowhere: no model there"),
        ("packing: true\npacking_strategy: wrapped", [], "packing_strategy wrapped"),
    ],
)
def test_bad_input_is_one_line(model_dir, tmp_path, more, arguments, words) -> None:
    config = write(tmp_path / "a.yaml", model_dir, tmp_path / "out", more)
    with pytest.raises(InputError) as error:
        run.main(["--config", str(config), *arguments])
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_configuration_is_reported() -> None:
    with pytest.raises(InputError, match="no such file"):
        run.main(["--config", "none.yaml"])


def test_too_few_embedding_rows_are_refused(model_dir, tmp_path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_dir)
    model.resize_token_embeddings(300)
    model.save_pretrained(tmp_path / "small")
    AutoTokenizer.from_pretrained(model_dir).save_pretrained(tmp_path / "small")
    config = write(tmp_path / "a.yaml", tmp_path / "small", tmp_path / "out")
    with pytest.raises(InputError, match="has the id 300, the model's embedding 300 rows"):
        run.main(["--config", str(config)])
    assert not (tmp_path / "out" / INPUTS).exists()


@pytest.mark.parametrize(("name", "kind"), [("ddp", "MULTI_GPU"), ("fsdp", "FSDP")])
def test_the_launcher_reads_what_we_ship(name, kind) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    from sft.settings import CONFIGS

    config = load_config_from_file(str(CONFIGS / "accelerate" / f"{name}.yaml"))
    assert (config.distributed_type.value, config.num_processes) == (kind, 8)
    if kind == "FSDP":
        # Anything else would leave the main process without the weights it saves.
        assert config.fsdp_config["fsdp_state_dict_type"] == "FULL_STATE_DICT"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--use_peft", "true", "--lora_target_modules", "qq_proj"], "qq_proj"),
        (["--attn_implementation", "nope"], "nope"),
        (["--lerning_rate", "0.1"], "did you mean 'learning_rate'"),
        (["eval_fractoin=0.1"], "did you mean 'eval_fraction'"),
        (["--seed", "1", "eval_fractoin=0.1"], "did you mean 'eval_fraction'"),
        (["chat_template=nope.jinja"], "a.yaml: no template nope.jinja"),
    ],
)
def test_mistakes_in_arguments_are_one_line(model_dir, tmp_path, arguments, words) -> None:
    config = write(tmp_path / "a.yaml", model_dir, tmp_path / "out")
    with pytest.raises(InputError) as error:
        run.main(["--config", str(config), *arguments])
    assert words in str(error.value)


def test_broken_weights_are_one_line(model_dir, tmp_path) -> None:
    shutil.copytree(model_dir, tmp_path / "broken")
    weights_file = tmp_path / "broken" / "model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:2000])
    config = write(tmp_path / "a.yaml", tmp_path / "broken", tmp_path / "out")
    with pytest.raises(InputError, match="broken: "):
        run.main(["--config", str(config)])
