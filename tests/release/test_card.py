"""Each figure of a card stands in a record; what no record has is left out and named."""

import copy
import hashlib
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from release import card
from tests.support import records
from tests.support.event_files import write_events
from tests.support.limits import room_for
from tests.support.padding import squeezed
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json
from tinymathreason.provenance import asking_hash, model_hash
from tinymathreason.records.evaluation import Dataset, MetricEstimate
from tinymathreason.records.mixture import BenchmarkRecord, Documents, RecipeRecord, WeightedSource
from tinymathreason.records.pretraining import Phase
from tinymathreason.records.stage import Attempt
from tinymathreason.records.tuning import LogEntry

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

COMMIT = "87f09149ef4734204d70ed1d046ddc9ca3f2b8f9"
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "intermediate_size": 21,
    "vocab_size": 331,
    "max_position_embeddings": 129,
    "tie_word_embeddings": False,
}
MANIFEST = records.mixture(
    recipe=RecipeRecord(
        sources={
            "web": WeightedSource(
                format="parquet",
                path=f"hf://datasets/HuggingFaceFW/fineweb-edu@{COMMIT}/sample/*.parquet",
                license="odc-by",
                generated_by=["org/Llama-9"],
                weight=0.75,
            ),
            "sums": WeightedSource(format="generator", path="number_facts", weight=0.25),
        },
        decontaminate=[
            BenchmarkRecord(path="hf://datasets/openai/gsm8k@740312ad/main/test-*.parquet")
        ],
        max_epochs=4.0,
        output_dir="runs/x/mixture",
    ),
    sources={
        "web": records.source(
            documents=Documents(
                read=5000, kept=4617, rejected={"contaminated": 41, "near_duplicate": 342}
            ),
            tokens=765_432,
        ),
        "sums": records.source(documents=Documents(read=611, kept=611, rejected={}), tokens=23_456),
    },
    epochs={"web": 1.37, "sums": 2.93},
    provenance=records.provenance(command=["python", "-m", "data_prep.build", "recipe.yaml"]),
).as_json()
PRETRAIN = records.configuration(
    base_emb_dim=8,
    base_num_decoder_layers=3,
    adam_b1=0.91,
    adam_b2=0.953,
    adam_weight_decay=0.17,
    gradient_clipping_threshold=1.3,
    learning_rate=0.004,
    learning_rate_final_fraction=0.2,
    warmup_steps_fraction=0.07,
    per_device_batch_size=6,
    gradient_accumulation_steps=3,
    max_target_length=133,
).as_json()
START = records.start(
    device="TPU v4",
    devices=16,
    hosts=4,
    provenance=records.provenance(
        time="2026-11-23T04:00:00+00:00", command=["python", "-m", "maxtext.train", "overlay.yml"]
    ),
    end="2026-11-23T10:15:00+00:00",
).model_dump(mode="json")
CONVERSION = records.conversion(
    checkpoint="runs/x/pretrain/checkpoints/2",
    phases=[
        Phase(run="long", recipe="maths", file="mixture.json", last_step=1_234),
        Phase(run="last", recipe="maths_decay", file="anneal.json", last_step=4_321),
    ],
    parity=records.parity(max_abs_diff=2.34e-05, scale=13.97, mean_kl=5.61e-12, positions=1016),
    provenance=records.provenance(
        versions={"python": "3.12.1", "maxtext": "0.2.5"},
        time="2026-11-23T11:00:00+00:00",
        command=["python", "-m", "conversion.to_hf"],
    ),
).as_json()
SFT = records.sft(
    model_name_or_path="runs/x/base",
    arguments=records.arguments(
        learning_rate=0.0027,
        lr_scheduler_type="linear",
        warmup_steps=19,
        per_device_train_batch_size=37,
    ),
    counts={
        "MetaMathQA": records.example_counts(
            read=24_000,
            kept=23_171,
            train=22_932,
            eval=239,
            tokens=1_798_101,
            rejected={"exact_duplicate": 818, "contaminated": 11},
        )
    },
    history=[LogEntry(step=1, epoch=0.5, loss=1.0), LogEntry(step=2, epoch=1.62, eval_loss=0.0423)],
    tokens=1_779_638,
    steps=717,
    device="cpu",
    provenance=records.provenance(
        versions={"python": "3.12.1", "torch": "2.15.0", "trl": "1.16.0"},
        time="2026-11-24T04:10:18+00:00",
        command=["python", "-m", "sft.run", "--config", "sft.yaml"],
    ),
).as_json()
EXAMPLES = records.examples().as_json()
EXAMPLES["inputs"]["data"] = {
    "sources": {
        "MetaMathQA": {
            "format": "json",
            "path": "hf://datasets/meta-math/MetaMathQA@aa4f34d3/MetaMathQA-395K.json",
        }
    },
    "decontaminate": [{"path": "data/gsm8k/test.jsonl", "fields": ["question"]}],
}
RESULT = records.results(
    task="gsm8k",
    metric="exact_match",
    value=0.345,
    low=0.3201,
    high=0.3714,
    n=1319,
    metrics={
        "exact_match": MetricEstimate(value=0.345, low=0.3201, high=0.3714, n=1319),
        "majority@8": MetricEstimate(value=0.456, low=0.4302, high=0.4822, n=1319),
    },
    template_sha256="deadbeef" * 8,
    prompt_version="gsm8k 3.0",
    decoding=records.decoding(
        do_sample=True, temperature=0.7, max_gen_toks=256, samples=8, seed=77
    ),
    request=records.request(data="hf://datasets/openai/gsm8k@740312add88f/main/test.parquet"),
    dataset=Dataset(
        path="hf://datasets/openai/gsm8k@740312add88f/main/test.parquet",
        name="main",
        sha256="cafebabe" * 8,
    ),
    provenance=records.provenance(
        command=["python", "-m", "evaluation.run", "--model", "runs/x/sft/model"], commit="abcdef"
    ),
).as_json()
BASE_RESULT = {
    **RESULT,
    "metrics": {},
    "value": 0.021,
    "low": 0.0147,
    "high": 0.0302,
    "shots": 5,
    "form": "plain",
    "decoding": records.decoding(max_gen_toks=64).model_dump(mode="json"),
    "provenance": records.provenance(
        command=["python", "-m", "evaluation.run", "--model", "runs/x/base"]
    ).model_dump(mode="json"),
}
STAGES = {
    "data": (12.4, "bash data_prep/build_mixture.sh recipe.yaml"),
    "pretrain": (22_500.0, "python -m maxtext.train overlay.yml"),
    "sft": (161.1, "python -m sft.run --config sft.yaml"),
    "dpo": (99.0, "python -m sft.dpo --config dpo.yaml"),
    "evaluate_sft": (11.7, "python -m evaluation.run --model runs/x/sft/model"),
}
DERIVED = {
    "5648",  # weights: 2 x 331 x 8 + 8 + 43 x 8
    "3000",  # tokens: the three steps until the checkpoint that was converted
    *("9.900", "6.700", "8.700"),  # losses, with three digits; the last ones are equal
    "19",  # warm-up steps, a fraction in the record
    "288",  # sequences: 6 x 3 on 16 devices
    "74",  # examples: 37 x 2
    "0.0008",  # 0.2 of the rate 0.004
    *("75", "25", "7"),  # weights of the sources and the warm-up, in percent
    *("34.5", "32.0", "37.1", "45.6", "43.0", "48.2", "2.1", "1.5"),  # accuracies, in percent
    *("14.0", "2.3", "5.6", "100.0"),  # parity, rounded
    "100",  # chip-hours: 16 devices for 6.25 hours
    *("161", "22500", "22685"),  # seconds, rounded; their sum
}
"""What is calculated from records, or rounded."""
STATIC = {"95", "32", "256"}
"""Of the card's own words: the 95 % interval, float32 and F32, SHA-256."""


def weights(seed):
    sizes = {"model.embed_tokens.weight": (331, 8), "lm_head.weight": (331, 8)}
    sizes |= {"model.norm.weight": (8,), "model.layers.0.rest": (43, 8)}
    rng = np.random.default_rng(seed)
    return {name: rng.random(shape, dtype=np.float32) for name, shape in sizes.items()}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make(run, **changed):
    """A run's records; ``changed`` replaces one of the constants above, by its name."""
    value = {name: copy.deepcopy(changed.get(name, globals()[name])) for name in RECORDS}
    for folder, seed in (("base", 0), ("sft/model", 1)):
        write_json(run / folder / "config.json", value["CONFIG"])
        save_file(weights(seed), run / folder / "model.safetensors", {"format": "pt"})
    write_json(run / "base/conversion.json", value["CONVERSION"])
    write_json(run / "mixture/manifest.json", value["MANIFEST"])
    write_json(run / "pretrain/config.json", value["PRETRAIN"])
    start = {**START, "mixture": {**START["mixture"]}, **value["START"]}
    start["mixture"]["manifest_sha256"] = sha256(run / "mixture/manifest.json")
    starts = {"kind": "pretraining.starts", "version": 1, "starts": [start]}
    write_json(run / "pretrain/provenance.json", starts)
    scalars = []
    for step in range(4):
        scalars += [
            (step, "learning/loss", 9.9 - 1.6 * step, step + 1.0),
            (step, "learning/total_weights", 1000.0, step + 1.0),
            (step, "eval/avg_loss", 8.7 - step, step + 1.0),
        ]
    write_events(run / "pretrain", 1.0, scalars)
    write_json(run / "sft/data/manifest.json", value["EXAMPLES"])
    tuned = value["SFT"]
    if tuned["base"] == records.SHA:
        tuned["base"] = model_hash(run / "base")
    tuned["manifest"] = sha256(run / "sft/data/manifest.json")
    write_json(run / "sft/model/sft.json", tuned)
    for name, result, folder in (
        ("base", value["BASE_RESULT"], "base"),
        ("sft", value["RESULT"], "sft/model"),
    ):
        hashes = {
            "model_sha256": model_hash(run / folder),
            "asking_sha256": asking_hash(run / folder),
        }
        write_json(run / f"evaluation/{name}/results.json", {**result, **hashes})
    for number, (name, (seconds, command)) in enumerate(value["STAGES"].items()):
        attempts = [Attempt(started=float(number), ended=number + 1.0)]
        stage = records.stage(
            seconds=seconds, command=command, peak_bytes=3 * 2**28, attempts=attempts
        )
        stage.write(run / f"stages/{name}.json")
    return run


RECORDS = (
    "CONFIG", "MANIFEST", "PRETRAIN", "START", "CONVERSION", "SFT", "EXAMPLES", "RESULT",
    "BASE_RESULT", "STAGES",
)  # fmt: skip


def write(run, *more: str) -> str:
    output = run / "card"
    card.main(["--run", str(run), "--output", str(output), *more])
    return (output / "README.md").read_text()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return make(tmp_path_factory.mktemp("card") / "run")


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_every_figure_is_shown(run, capsys) -> None:
    text = write(run)
    for words in (
        "# TinyMathReason-6K-sft",
        "A language model of 5,648 parameters, pretrained from nothing on 3,000 tokens",
        "tokens and tuned by supervised fine-tuning on 22,932 worked problems.",
        "layers 3, hidden size 8, attention heads 4, key-value heads 2, head size 6, ",
        "SwiGLU of width 21, vocabulary of 331, embeddings not tied to the output",
        "**Parameters:** 5,648, counted in the weights",
        "**Context:** 129 tokens",
        f"SHA-256 of configuration and weights {model_hash(run / 'sft/model')}",
        "**Tokens:** 3,000, without padding",
        "**Steps:** 3\n",
        "**Batch:** 288 sequences of 133 tokens",
        "adamw, β₁ = 0.91, β₂ = 0.953, ε = 1e-08, weight decay 0.17, gradients clipped at 1.3",
        "peak 0.004, cosine schedule, warm-up over 7 % of the steps, at the end 0.0008",
        "bfloat16 arithmetic, float32 weights",
        "TPU v4, devices 16, hosts 4",
        "training 9.900 to 6.700, held out 8.700 to 6.700",
        "largest difference of two logits 2.3e-05, where the largest logit is 14.0; mean KL "
        "divergence 5.6e-12 nats; the same most likely token at 100.0 % of 1,016 positions.",
        "**Examples:** 22,932 to train on",
        "**Epochs:** 1.62",
        "**Steps:** 717",
        "**Batch:** 74 examples",
        "peak 0.0027, linear schedule, warm-up over 19 steps",
        "**Held out loss:** 0.0423",
        "| pretrain | 22,500 | 0.75 |",
        "| in total | 22,685 | |",
        "Estimated: 100 chip-hours of pretraining. This assumes",
        "**Recipe of the mixture:** maths to step 1,234; last phase: maths_decay with the weights "
        "of anneal.json to step 4,321\n",
        "**Configuration:** sft\n",
        "**Text by other models:** org/Llama-9; their licences may set terms for this model, and "
        "Llama's wants its name to begin with Llama\n",
        "| web | HuggingFaceFW/fineweb-edu at 87f09149ef | odc-by | org/Llama-9 | 75 % | 5,000 | "
        "4,617 | 765,432 | 1.37 |",
        "| sums | made by the generator number_facts | | | 25 % | 611 | 611 | 23,456 | 2.93 |",
        "| web | near duplicate | 342 |",
        "| MetaMathQA | meta-math/MetaMathQA at aa4f34d3 | 24,000 | 23,171 | 22,932 | 239 | "
        "1,798,101 |",
        "| MetaMathQA | exact duplicate | 818 |",
        "- Pretraining: the questions of openai/gsm8k at 740312ad were looked for; 41 documents ",
        "- Fine-tuning: the questions of data/gsm8k/test.jsonl were looked for; 11 examples held ",
        "| this model | gsm8k | exact_match | 34.5 % | 32.0 % to 37.1 % | 1,319 | 0 | chat | "
        "sampled at temperature 0.7, up to 256 tokens, 8 samples a problem, seed 77, float32, "
        "transformers |",
        "| this model | gsm8k | majority@8 | 45.6 % | 43.0 % to 48.2 % | 1,319 | 0 | chat |",
        "| its base | gsm8k | exact_match | 2.1 % | 1.5 % to 3.0 % | 1,319 | 5 | plain | "
        "greedy, up to 64 tokens, float32, transformers |",
        "- sft: data openai/gsm8k at 740312add8, its rows of SHA-256 cafebabecafebabe, "
        "prompt gsm8k 3.0, chat template of SHA-256 deadbeefdeadbeef, commit abcdef.",
        "have room for 129 tokens",
        "sft.run --config sft.yaml\npython -m evaluation.run --model runs/x/sft/model\n```",
        "python 3.12.1, torch 2.15.0, trl 1.16.0",
    ):
        assert words in squeezed(text)
    assert "sft.dpo" not in text  # it made another model
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "left out: author, citation (no record tells them; give --author)",
        "left out: the data of the earlier phases of pretraining: maths (name their mixtures by "
        "--mixture, and that of the last phase last)",
        f"{run / 'card/README.md'} written",
    ]


def test_the_sources_and_licences_of_all_phases_are_shown(run, capsys) -> None:
    earlier = records.mixture(
        recipe=RecipeRecord(
            name="maths",
            sources={
                "pages": WeightedSource(
                    format="parquet", path="hf://datasets/a/pages@c0ffee/*.parquet", weight=1.0,
                    license="cc-by-4.0",
                )
            },
            decontaminate=[], max_epochs=4.0, output_dir="runs/first",
        ),
        sources={"pages": records.source(tokens=98_765)},
        epochs={"pages": 2.5},
    )  # fmt: skip
    write_json(run / "first/manifest.json", earlier.as_json())
    mixtures = ["--mixture", str(run / "first"), "--mixture", str(run / "mixture")]
    text = squeezed(write(run, *mixtures))
    first, last = (
        text.index("### Pretraining: maths\n"),
        text.index("### Pretraining, last phase\n"),
    )
    assert first < text.index("| pages | a/pages at c0ffee | cc-by-4.0 | 100 % |") < last
    assert last < text.index("| web | HuggingFaceFW/fineweb-edu at 87f09149ef | odc-by |")
    assert "- a/pages\n" in text[: text.index("# TinyMathReason")]
    assert "earlier phases" not in capsys.readouterr().out
    with pytest.raises(InputError, match="mixture: no earlier phase of the model has its recipe"):
        write(run, "--mixture", str(run / "mixture"), "--mixture", str(run / "first"))


def test_no_figure_is_from_nowhere(run) -> None:
    number = re.compile(r"\d[\d.]*\d|\d")
    records = "".join(path.read_text() for path in run.rglob("*.json"))
    known = set(number.findall(re.sub(r"[0-9a-f]{64}", "", records)))
    text = write(run)
    body = text[: text.rindex("<!--")].replace(model_hash(run / "sft/model"), "")
    body = re.sub(r"```python.*?```", "", body, flags=re.DOTALL)
    body = re.sub(r"(?<=\d),(?=\d{3})", "", body).replace("β₁", "").replace("β₂", "")
    assert set(number.findall(body)) - known - STATIC == DERIVED - known


@pytest.mark.parametrize(
    ("record", "keys", "value", "expected"),
    [
        ("CONFIG", ("intermediate_size",), 9_871, "SwiGLU of width 9,871"),
        ("PRETRAIN", ("adam_b2",), 0.888, "β₂ = 0.888"),
        ("START", ("devices",), 31, "TPU v4, devices 31"),
        ("CONVERSION", ("parity", "positions"), 7_777, "of 7,777 positions"),
        ("CONVERSION", ("checkpoint",), "x/checkpoints/1", "**Tokens:** 2,000"),
        ("MANIFEST", ("sources", "web", "documents", "kept"), 4_444, "| 4,444 |"),
        ("MANIFEST", ("recipe", "decontaminate"), [], "Pretraining: no benchmark's questions"),
        ("SFT", ("counts", "MetaMathQA", "train"), 12_121, "on 12,121 worked problems"),
        ("CONVERSION", ("phases",), [], "### Pretraining\n\n- **Tokens:**"),
        (
            "SFT",
            ("provenance", "command"),
            ["python", "-m", "sft.run", "--config=mine/sft_2026.yaml"],
            "**Configuration:** sft_2026\n",
        ),
        ("SFT", ("provenance", "command"), ["python", "x.py"], "fine-tuning\n- **Examples:**"),
        ("SFT", ("arguments", "warmup_steps"), 0.03, "warm-up over 3 % of the steps"),
        ("RESULT", ("value",), 0.351, "| 35.1 % |"),
        ("RESULT", ("request", "limit"), 432, "its first 432 problems"),
        ("RESULT", ("cut_prompts",), 17, "prompts cut to the context: 17"),
        ("RESULT", ("dataset", "path"), "data/mine.jsonl", "- sft: data data/mine.jsonl, its rows"),
    ],
)
def test_another_record_gives_another_card(tmp_path, record, keys, value, expected) -> None:
    changed = copy.deepcopy(globals()[record])
    *parents, last = keys
    part = changed
    for key in parents:
        part = part[key]
    part[last] = value
    assert expected in squeezed(write(make(tmp_path / "run", **{record: changed})))


@pytest.mark.parametrize(
    ("record", "gone", "named"),
    [
        ("mixture/manifest.json", ["765,432", "near duplicate"], "sources of pretraining"),
        ("pretrain/config.json", ["0.91", "0.004", "bfloat16"], "peak learning rate"),
        ("pretrain/provenance.json", ["TPU v4", "chip-hours", "288"], "chip-hours"),
        ("pretrain/tensorboard", ["3,000", "9.900"], "tokens of pretraining"),
        ("base/conversion.json", ["1,016", "2.3e-05"], "largest difference of logits"),
        ("sft/data/manifest.json", ["meta-math"], "benchmarks looked for in fine-tuning"),
        ("evaluation/sft", ["34.5", "model-index"], ""),
        ("evaluation", ["34.5", "2.1 %", "model-index"], "accuracy"),
        ("stages", ["22,500", "peak GiB"], "seconds and memory of the stages"),
        ("stages/pretrain.json", ["22,500"], ""),
    ],
)
def test_what_has_no_record_is_left_out_and_named(run, capsys, record, gone, named) -> None:
    before = write(run)
    capsys.readouterr()
    path = run / record
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    text = write(run)
    for words in gone:
        assert words in before
        assert words not in text
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out")]
    if named:
        assert any(named in line and record.split("/")[0] in line for line in printed)


@pytest.mark.parametrize("key", ["shots", "n", "low", "decoding", "prompt_version", "form", "task"])
def test_a_figure_that_an_evaluation_lacks_is_named(run, key) -> None:
    path = run / "evaluation/sft/results.json"
    record = read_json(path)
    del record[key]
    write_json(path, record)
    with pytest.raises(InputError, match=rf"{path}: {key} is missing"):
        write(run)
    assert not (run / "card").exists()


def test_the_metadata_comes_back(run) -> None:
    from huggingface_hub import EvalResult, ModelCard

    write(run, "--name", "Mine", "--license", "mit")
    data = ModelCard.load(run / "card/README.md").data
    common = {
        "task_type": "text-generation",
        "dataset_type": "openai/gsm8k",
        "dataset_name": "gsm8k",
        "dataset_revision": "740312add88f",
    }
    assert data.eval_results == [
        EvalResult(
            **common,
            metric_type="exact_match",
            metric_value=0.345,
            metric_name="exact_match (chat, 0-shot)",
            metric_args={"low": 0.3201, "high": 0.3714, "n": 1319},
        ),
        EvalResult(
            **common,
            metric_type="majority@8",
            metric_value=0.456,
            metric_name="majority@8 (chat, 0-shot)",
            metric_args={"low": 0.4302, "high": 0.4822, "n": 1319},
        ),
    ]
    assert data.model_name == "Mine"
    assert (data.license, data.language, data.library_name) == ("mit", ["en"], "transformers")
    assert data.datasets == ["HuggingFaceFW/fineweb-edu", "meta-math/MetaMathQA"]
    assert data.metrics == ["exact_match", "majority@8"]
    assert data.base_model is None


@pytest.mark.parametrize(
    ("data", "path", "expected"),
    [
        (None, "openai/gsm8k", ("openai/gsm8k", None)),
        ("data/gsm8k", "data/gsm8k", ("gsm8k", None)),
        (None, None, ("gsm8k", None)),
        (None, "hf://datasets/a/b@1f/c.json", ("a/b", "1f")),
    ],
)
def test_a_result_names_the_dataset_on_the_hub(tmp_path, data, path, expected) -> None:
    from huggingface_hub import ModelCard

    dataset, request = {**RESULT["dataset"], "path": path}, {**RESULT["request"], "data": data}
    run = make(tmp_path / "run", RESULT={**RESULT, "request": request, "dataset": dataset})
    write(run)
    result = ModelCard.load(run / "card/README.md").data.eval_results[0]
    assert (result.dataset_type, result.dataset_revision) == expected


def test_a_choice_is_by_likelihood(tmp_path, capsys) -> None:
    decoding = {
        "by": "likelihood", "samples": 1, "seed": 0, "batch_size": 8, "backend": "transformers",
        "dtype": "float32",
    }  # fmt: skip
    text = squeezed(write(make(tmp_path / "run", RESULT={**RESULT, "decoding": decoding})))
    assert "| chat | by likelihood, float32, transformers |" in text
    assert "decoding" not in capsys.readouterr().out


def test_metrics_have_the_hubs_names(tmp_path) -> None:
    from huggingface_hub import ModelCard

    figures = {"low": 0.2, "high": 0.5, "n": 9}
    metrics = {"strict": {"value": 0.3, **figures}, "acc": {"value": 0.4, **figures}}
    run = make(tmp_path / "run", RESULT={**RESULT, "metric": "strict", "metrics": metrics})
    write(run)
    data = ModelCard.load(run / "card/README.md").data
    assert data.metrics == ["accuracy", "exact_match"]
    assert [r.metric_type for r in data.eval_results] == ["exact_match", "accuracy"]
    assert [r.metric_name for r in data.eval_results] == [
        "strict (chat, 0-shot)",
        "acc (chat, 0-shot)",
    ]


def test_a_base_model_of_the_hub_is_named(tmp_path) -> None:
    from huggingface_hub import ModelCard

    changed = {**SFT, "model_name_or_path": "org/base", "base": "main"}
    run = make(tmp_path / "run", SFT=changed)
    shutil.rmtree(run / "base")
    assert "base_model: org/base\n" in write(run, "--license", "mit")
    assert ModelCard.load(run / "card/README.md").data.base_model == "org/base"


@pytest.fixture
def opened(run):
    """A run whose base is the folder of an open model, tuned as it is."""
    for name in ("mixture", "pretrain"):
        shutil.rmtree(run / name)
    (run / "base/conversion.json").unlink()
    (run / "base/README.md").write_text("---\nlicense: mit\nbase_model: other/one\n---\nText\n")
    path = run / "sft/model/sft.json"
    write_json(path, read_json(path) | {"model_name_or_path": str(run / "base")})
    return run


def test_an_open_model_is_named_with_its_licence(opened, capsys) -> None:
    from huggingface_hub import ModelCard

    text = squeezed(write(opened))
    assert "begun with an open model and tuned by supervised fine-tuning" in text
    assert "pretrained from nothing" not in text
    assert "- **Folder:** base\n- **License:** mit\n" in text
    assert "None here: the base model was tuned as it is." in text
    assert "| its base | gsm8k | exact_match | 2.1 % |" in text
    printed = capsys.readouterr().out
    missing = "name of the model that it began with, revision of the model that it began with"
    assert f"left out: {missing} (no record tells it; give --base-model ORG" in printed
    assert "pretrain" not in printed  # nothing of it is missing
    (opened / "card/README.md").unlink()
    text = write(opened, "--base-model", "org/Open-1B@abc123")
    assert "\n# Open-1B-sft\n" in text
    assert "- **Name:** org/Open-1B\n- **Revision:** abc123\n- **License:** mit\n" in text
    assert "left out: name" not in capsys.readouterr().out
    data = ModelCard(text).data
    assert (data.base_model, data.license) == ("org/Open-1B", "mit")


def test_the_model_whose_pretraining_was_continued_is_named(run, capsys) -> None:
    """By the record of the start, in which `conversion.to_maxtext` has its name."""
    opened = shutil.copytree(run / "base", run / "open", ignore=lambda *_: ["conversion.json"])
    (opened / "README.md").write_text("---\nlicense: mit\n---\n")
    weights = {
        "path": "maxtext/0/items",
        "checkpoint_sha256": records.SHA,
        "model": "org/Open-1B@abc",
        "model_folder": str(opened),
        "model_sha256": model_hash(opened),
    }
    path = run / "pretrain/provenance.json"
    content = read_json(path)

    def begin(**changed) -> str:
        start = {**content["starts"][0], "weights": weights | changed}
        write_json(path, {**content, "starts": [start, content["starts"][0]]})
        shutil.rmtree(run / "card", ignore_errors=True)
        return write(run, *(["--license", "mit"] if "model_sha256" in changed else []))

    text = begin()
    assert "begun with an open model, pretrained further on 3,000 tokens and tuned by" in text
    assert "- **Name:** org/Open-1B\n- **Revision:** abc\n- **License:** mit\n" in text
    assert "base_model: org/Open-1B\n" in text
    assert "| its base | gsm8k" in squeezed(text)
    assert "- **Folder:** open\n" in begin(model="open")
    assert "name of the model that it began with" in capsys.readouterr().out
    text = begin(model_sha256="0" * 64)  # another model is there now
    assert "- **Name:** org/Open-1B\n- **Revision:** abc\n\n" in text
    assert "pretrained from nothing" in begin(model=None)  # an earlier training's weights


@pytest.mark.parametrize(
    "card_text", [None, "no metadata", "---\ntags: [a]\n---\n", "---\n- a\n---\n"]
)
def test_a_licence_that_nothing_tells_is_not_invented(opened, capsys, card_text) -> None:
    path = opened / "base/README.md"
    path.write_text(card_text) if card_text else path.unlink()
    with pytest.raises(InputError, match="--license: is needed, because nothing tells the licence"):
        write(opened)
    assert "license: gpl-3.0\n" in write(opened, "--license", "gpl-3.0")
    assert "left out: licence of the model that it began with" in capsys.readouterr().out


def test_a_licence_of_a_companys_own_is_carried_on(opened) -> None:
    (opened / "base/README.md").write_text(
        "---\nlicense: other\nlicense_name: acme\nlicense_link: https://acme/licence\n---\n"
    )
    text = write(opened)
    assert "license: other\nlicense_name: acme\nlicense_link: https://acme/licence\n" in text
    (opened / "card/README.md").unlink()
    (opened / "base/README.md").write_text("---\nlicense: acme\n---\n")
    with pytest.raises(InputError, match="--license 'acme': one of"):
        write(opened)


def test_a_base_model_that_the_records_contradict(run, opened, tmp_path) -> None:
    for word in ("Open", "a/b/c", "org/x@", "org/x@a b"):
        with pytest.raises(InputError, match="is not ORG/NAME or ORG/NAME@REVISION"):
            write(opened, "--base-model", word)
    shutil.rmtree(opened / "base")
    path = opened / "sft/model/sft.json"
    write_json(path, read_json(path) | {"model_name_or_path": "org/base", "base": "f" * 40})
    with pytest.raises(InputError, match="the record of its fine-tuning says 'org/base'"):
        write(opened, "--base-model", "org/other", "--license", "mit")
    text = write(opened, "--base-model", "org/base", "--license", "mit")
    assert f"- **Name:** org/base\n- **Revision:** {'f' * 40}\n" in text
    with pytest.raises(InputError, match="began with no other"):
        write(make(tmp_path / "own"), "--base-model", "org/other")


def test_a_base_model_alone_has_a_card(run, capsys) -> None:
    shutil.rmtree(run / "sft")
    text = squeezed(write(run))
    assert "# TinyMathReason-6K-base" in text
    assert "None: this is the base model" in text
    assert "| this model | gsm8k | exact_match | 2.1 % |" in text
    assert "34.5 %" not in text  # the other evaluation is of weights that are not these
    assert "22,932" not in text
    assert "sft.run" not in text
    printed = capsys.readouterr().out
    assert "evaluation sft" in printed
    assert f"{run / 'base'} is a base model" in printed


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("dpo", "tuned by direct preference optimisation on 5 pairs of answers."),
        ("grpo", "tuned by group relative policy optimisation on 5 problems."),
    ],
)
def test_other_tunings_have_a_card(run, capsys, kind, words) -> None:
    (run / "sft/model/sft.json").unlink()
    tuned = getattr(records, kind)(base=model_hash(run / "base"))
    tuned.write(run / f"sft/model/{kind}.json")
    records.preferences().write(run / "sft/data/manifest.json")
    text = write(run)
    assert words in text
    assert f"# TinyMathReason-6K-{kind}" in text
    assert f"\n- {kind}\n" in text  # a tag
    assert "left out: sources of fine-tuning" in capsys.readouterr().out


def test_places_can_be_named(run, tmp_path) -> None:
    text = write(run)
    moved = tmp_path / "moved"
    for name in ("mixture", "pretrain", "base", "evaluation"):
        (run / name).rename(moved := tmp_path / f"the {name}")
    (run / "sft").rename(tmp_path / "tuned")
    options = [f"--{name}={moved.with_name(f'the {name}')}" for name in ("mixture", "pretrain")]
    options += [f"--{name}={moved.with_name(f'the {name}')}" for name in ("base", "evaluation")]
    assert write(run, *options, f"--model={tmp_path / 'tuned/model'}") == text


def test_records_of_several_models_are_refused(run) -> None:
    save_file(weights(7), run / "base/model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="was not tuned from it; name its base"):
        write(run)
    save_file(weights(0), run / "base/model.safetensors", {"format": "pt"})
    write_json(run / "pretrain/config.json", {**PRETRAIN, "base_emb_dim": 2048})
    with pytest.raises(InputError, match="its base_emb_dim is 2048"):
        write(run)


def test_data_that_was_not_trained_on_is_left_out(run, capsys) -> None:
    for record in ("mixture/manifest.json", "sft/data/manifest.json"):
        later = records.provenance(time="2026-12-24T00:00:00+00:00").model_dump(mode="json")
        write_json(run / record, {**read_json(run / record), "provenance": later})
    text = write(run)
    assert "765,432" not in text
    assert "meta-math" not in text
    assert "22,932" in text  # the model's own record has the counts
    printed = capsys.readouterr().out
    assert "is not of the mixture that was trained on" in printed
    assert "is not of the examples that were trained on" in printed


EVIL = "| evil\n---\n`x` <script>alert(1)</script> [a](http://b) \\| **c** $d$ {{ name }}"


def test_no_record_breaks_the_card(tmp_path) -> None:
    from huggingface_hub import ModelCard

    manifest = json.loads(json.dumps(MANIFEST).replace('"web"', json.dumps(EVIL)))
    result = {**RESULT, "task": EVIL, "metric": EVIL, "metrics": {}}
    command = "echo '```' \"<script>\"\n```\n# evil"
    run = make(
        tmp_path / "run",
        MANIFEST=manifest,
        RESULT=result,
        STAGES={"data": (1.0, command)},
        CONFIG={**CONFIG, "architectures": [EVIL]},
    )
    text = write(run, "--name", EVIL, "--author", "A } B \\ \n| C")
    outside = re.sub(r"^(`{3,})[a-z]*\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    body = outside.split("\n---\n", 1)[1]
    assert "<script>" not in body.replace("\\<script\\>", "")
    assert "# evil" not in body
    assert "\n---\n" not in body
    columns = None
    for line in body.splitlines():
        if line.startswith("| "):
            found = len(re.findall(r"(?<!\\)(?:\\\\)*\|", line))
            assert columns in (None, found), line
            columns = found
        else:
            columns = None
    data = ModelCard.load(run / "card/README.md").data
    assert data.eval_results[0].dataset_name == " ".join(EVIL.split())
    assert "author = {A B | C}," in text
    assert command in text


MARKER = (
    f"<!-- release.card model_sha256={'1' * 64} asking_sha256={'2' * 64} text_sha256={'3' * 64} -->"
)


def test_the_line_that_knows_a_card_is_the_last_one(tmp_path) -> None:
    stages = {"data": (1.0, f"echo '{MARKER}'"), "pretrain": (1.0, MARKER)}
    run = make(tmp_path / "run", STAGES=stages, RESULT={**RESULT, "task": MARKER})
    text = write(run, "--name", MARKER, "--author", MARKER)
    assert write(run, "--name", MARKER, "--author", MARKER) == text  # not edited, so replaced


def test_a_command_may_have_an_unbalanced_quotation_mark(tmp_path) -> None:
    stages = {"sft": (1.0, "python -m sft.run --config it's.yaml"), "data": (1.0, "echo 'x")}
    text = write(make(tmp_path / "run", STAGES=stages))
    assert "echo 'x" in text
    assert "it's.yaml" not in text  # no record of this model names this command


def test_an_author_is_cited(run) -> None:
    text = write(run, "--author", "Ada Lovelace")
    assert "- **Developed by:** Ada Lovelace" in text
    assert "@misc{tinymathreason6ksft," in text
    assert (
        "  author = {Ada Lovelace},\n  title = {TinyMathReason-6K-sft},\n  year = {2026}," in text
    )


def test_only_a_card_of_ours_is_replaced(run) -> None:
    text = write(run)
    assert write(run) == text
    path = run / "card/README.md"
    path.write_text(text.replace("English", "French"))
    with pytest.raises(InputError, match="was edited since"):
        write(run)
    path.write_text(text + "My notes.\n")
    with pytest.raises(InputError, match="was edited since"):
        write(run)
    path.write_bytes(text.encode() + b"\xe9")
    with pytest.raises(InputError, match="was edited since"):
        write(run)
    path.write_text("# Mine\n")
    with pytest.raises(InputError, match="was not made by"):
        write(run)
    assert path.read_text() == "# Mine\n"


def test_the_card_can_lie_in_the_models_folder(run) -> None:
    before = {path.name for path in (run / "sft/model").iterdir()}
    card.main(["--run", str(run), "--output", str(run / "sft/model")])
    assert {path.name for path in (run / "sft/model").iterdir()} == {*before, "README.md"}


@pytest.mark.parametrize(
    ("parameters", "tuning", "name"),
    [
        (820_352, "sft.json", "TinyMathReason-820K-sft"),
        (4_732_608, None, "TinyMathReason-5M-base"),
        (1_123_117_056, "grpo.json", "TinyMathReason-1B-grpo"),
    ],
)
def test_the_name_tells_the_size_that_was_counted(parameters, tuning, name) -> None:
    assert card.default_name(parameters, tuning) == name


def test_a_small_model_does_not_pass_for_a_useful_one(run) -> None:
    assert re.search(r"not a tool for\s+mathematics", write(run))


def test_wrong_input_is_one_line(run, tmp_path) -> None:
    with pytest.raises(InputError, match="no model there"):
        write(tmp_path / "none")
    with pytest.raises(InputError, match="no model there"):
        write(run, "--model", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"--license 'mine': one of afl-3\.0, "):
        write(run, "--license", "mine")
    (run / "pretrain/config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: not valid JSON"):
        write(run)


def test_a_card_without_room_leaves_no_folder(run) -> None:
    with (
        room_for(500),
        pytest.raises(InputError, match=r"README\.md: cannot be written \(File too"),
    ):
        card.main(["--run", str(run), "--output", str(run / "new" / "card")])
    assert not (run / "new").exists()


def test_what_is_half_written_is_no_stage_and_no_evaluation(run, capsys) -> None:
    text = write(run)
    shutil.copytree(run / "evaluation/sft", run / "evaluation/sft.partial")
    for name in (".sft.json.partial", "sft.vm-1.partial.json"):
        (run / "stages" / name).write_text("{")
    assert write(run) == text


def test_the_tag_is_that_of_the_models_family() -> None:
    from release.cards.metadata import front_matter

    records = SimpleNamespace(tuned=None)
    front = front_matter(records, "A", {"license": "mit"}, [], [], None, "Qwen2ForCausalLM")
    assert front.tags == ["math", "reasoning", "qwen2", "pytorch"]
