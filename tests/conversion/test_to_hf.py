"""The export is complete and loads everywhere; bad input gives one line and leaves nothing."""

import dataclasses
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy

from conversion import parity
from conversion.export import Budget, Export
from conversion.to_hf import convert, main, parse_bytes
from tests.support import records
from tests.support.checkpoints import (
    SIZES,
    make_home,
    model_bytes,
    overlay,
    random_arrays,
    save,
    save_tokenizer,
)
from tinymathreason.chatml import TEMPLATE
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json
from tinymathreason.provenance import model_hash
from tinymathreason.records.conversion import Conversion
from tinymathreason.records.pretraining import MixtureHash, Phase

pytestmark = [pytest.mark.xdist_group("maxtext"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with an overlay, a tokenizer, and checkpoints scanned/ and unscanned/."""
    path = tmp_path_factory.mktemp("conversion")
    (path / "overlay.yml").write_text(overlay(SIZES))
    save_tokenizer(SIZES.vocab, path / "tokenizer")
    for kind in ("scanned", "unscanned"):
        scanned = kind == "scanned"
        save(path / kind, random_arrays(scanned), scanned)
    return path


@pytest.fixture(scope="module")
def converted(home):
    convert(home / "scanned", home / "overlay.yml", home / "model", Export(home / "tokenizer"))
    return home / "model"


def arguments(home, *flags: str, **changes) -> list[str]:
    values = {
        "checkpoint": home / "scanned",
        "config": home / "overlay.yml",
        "tokenizer": home / "tokenizer",
        "output": home / "other",
        **changes,
    }
    named = [word for key, value in values.items() for word in (f"--{key}", str(value))]
    return [*named, *flags]


@pytest.mark.processor
def test_parity_is_recorded(converted) -> None:
    record = json.loads((converted / "conversion.json").read_text())
    assert record["parity"]["max_abs_diff"] < 1e-4
    assert record["parity"]["argmax_agreement"] == 1.0
    assert record["parity"]["positions"] == 2 * parity.BATCH * (SIZES.context - 1)
    assert record["parameters"] == SIZES.parameters
    assert record["model_sha256"] == model_hash(converted)


def test_the_phases_of_pretraining_are_recorded(home, tmp_path) -> None:
    step = tmp_path / "long" / "checkpoints" / "7"
    step.parent.mkdir(parents=True)
    step.symlink_to(home / "scanned")
    mixture = MixtureHash(
        manifest_sha256=None, content_sha256=records.SHA, recipe="maths", file="mixture.json"
    )
    records.starts(records.start(mixture=mixture)).write(tmp_path / "long" / "provenance.json")
    output = tmp_path / "model"
    options = Export(home / "tokenizer")
    convert(step, home / "overlay.yml", output, options, skip_parity=True)
    assert Conversion.load(output / "conversion.json").phases == [
        Phase(run="long", recipe="maths", file="mixture.json", last_step=7)
    ]


def test_layers_apart_give_the_same_bytes(home, converted) -> None:
    arrays = random_arrays(True)
    apart = {
        path.replace("decoder.layers.", f"decoder.layers_{layer}."): array[:, layer]
        for path, array in arrays.items()
        for layer in (range(SIZES.layers) if ".layers." in path else [0])
        if ".layers." in path
    }
    save(
        home / "apart", {**{p: a for p, a in arrays.items() if ".layers." not in p}, **apart}, False
    )
    main(arguments(home, "--skip-parity", checkpoint=home / "apart", output=home / "model_apart"))
    file = "model.safetensors"
    assert (home / "model_apart" / file).read_bytes() == (converted / file).read_bytes()


def test_the_folder_loads_and_generates(converted) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(converted)
    loaded = AutoTokenizer.from_pretrained(converted)
    assert model.num_parameters() == SIZES.parameters
    assert model.generation_config.eos_token_id == [
        loaded.eos_token_id,
        loaded.convert_tokens_to_ids("<|im_end|>"),
    ]
    result = model.generate(**loaded("3 + 4", return_tensors="pt"), max_new_tokens=4)
    assert result.shape[1] > 4


def test_what_transformers_4_needs_is_there(converted) -> None:
    """Each found by loading exports with 4.46, 4.49 and 4.57; see also the rotary keys."""
    config = json.loads((converted / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["model_input_names"] == ["input_ids", "attention_mask"]
    assert config["chat_template"] == TEMPLATE.read_text()
    assert (converted / "chat_template.jinja").read_text() == TEMPLATE.read_text()
    model = json.loads((converted / "config.json").read_text())
    assert model["rope_theta"] == model["rope_parameters"]["rope_theta"]
    assert model["dtype"] == model["torch_dtype"] == "float32"
    with safetensors.safe_open(converted / "model.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}


def test_a_tokenizers_own_template_goes_first(home, tmp_path) -> None:
    save_tokenizer(SIZES.vocab, tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "chat_template.jinja").write_text("{{ messages }}")
    changes = {"tokenizer": tmp_path / "tokenizer", "output": tmp_path / "model"}
    main(arguments(home, "--skip-parity", **changes))
    assert (tmp_path / "model" / "chat_template.jinja").read_text() == "{{ messages }}"


@pytest.mark.processor
def test_ctranslate2_agrees(tmp_path) -> None:
    """An independent client, which takes head_dim to be hidden / heads."""
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    sizes = dataclasses.replace(SIZES, hidden=SIZES.heads * SIZES.head_dim)
    make_home(tmp_path, sizes)
    changes = {"checkpoint": tmp_path / "7", "output": tmp_path / "model"}
    main(arguments(tmp_path, "--skip-parity", **changes))
    TransformersConverter(str(tmp_path / "model")).convert(str(tmp_path / "ct2"))
    generator = ctranslate2.Generator(str(tmp_path / "ct2"), compute_type="float32")
    tokens = parity.tokens(tmp_path / "model", sizes.vocab, sizes.context)
    lengths = np.full(len(tokens), tokens.shape[1], np.int32)
    view = ctranslate2.StorageView.from_array
    result = np.array(generator.forward_batch(view(tokens), view(lengths)))
    parity.Parity.of(parity.hf_logits(tmp_path / "model", tokens), result).check()


def test_shards(home, converted, tmp_path) -> None:
    from transformers import AutoModelForCausalLM

    flags = ("--skip-parity", "--max-shard-size", "100KB")
    main(arguments(home, *flags, output=tmp_path / "model"))
    files = sorted((tmp_path / "model").glob("*.safetensors"))
    assert len(files) == 5
    sizes = [sum(t.nbytes for t in safetensors.numpy.load_file(file).values()) for file in files]
    assert max(sizes) <= 100_000
    one = AutoModelForCausalLM.from_pretrained(converted).state_dict()
    several = AutoModelForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    assert all(several[name].equal(tensor) for name, tensor in one.items())


@pytest.mark.parametrize(
    ("text", "value"), [("5GB", 5 * 10**9), ("512 MiB", 2**29), ("100", 100), ("1kb", 1000)]
)
def test_sizes_are_read(text: str, value: int) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize("text", ["", "0", "GB", "5TB", "-1GB", "1.5GB"])
def test_wrong_sizes_are_refused(home, text: str, capsys) -> None:
    with pytest.raises(SystemExit):
        main(arguments(home, f"--max-shard-size={text}"))
    assert "--max-shard-size" in capsys.readouterr().err


def test_failed_parity_leaves_nothing(home, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(parity, "maxtext_logits", lambda *a: np.zeros((8, 64, 320), np.float32))
    with pytest.raises(InputError, match="parity failed"):
        main(arguments(home, output=tmp_path / "model"))
    assert list(tmp_path.iterdir()) == []


def test_complete_output_is_left_alone_and_another_is_refused(home, converted, capsys) -> None:
    main(arguments(home, output=converted))
    assert "was already complete" in capsys.readouterr().out
    for other in ({"checkpoint": home / "unscanned"}, {"dtype": "bfloat16"}):
        with pytest.raises(InputError, match="already exists"):
            main(arguments(home, **{"output": converted, **other}))


def test_force_replaces(home, tmp_path) -> None:
    output = tmp_path / "model"
    output.mkdir()
    (output / "something").write_text("else")
    with pytest.raises(InputError, match="already exists"):
        main(arguments(home, "--skip-parity", output=output))
    assert [path.name for path in output.iterdir()] == ["something"]
    main(arguments(home, "--skip-parity", "--force", output=output))
    assert (output / "conversion.json").is_file()
    assert not (output / "something").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checkpoint": "nowhere"}, "not a MaxText checkpoint"),
        ({"config": "none.yml"}, "no such file"),
        ({"tokenizer": "nowhere"}, "no tokenizer.json there"),
    ],
)
def test_missing_input_is_one_line(home, changes, words) -> None:
    with pytest.raises(InputError, match=words):
        main(arguments(home, "--skip-parity", **changes))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("base_mlp_dim", 81, r"wi_0.kernel expected \(48, 3, 81\) found \(48, 3, 80\)"),
        ("base_num_decoder_layers", 4, "expected .* found"),
        ("vocab_size", 321, "the tokenizer has 320 entries, vocab_size is 321"),
        ("vocab_size", 319, "the tokenizer has 320 entries, vocab_size is 319"),
        ("vocab_size", 384, r"token_embedder.embedding expected \(384, 48\) found \(320, 48\)"),
        ("vocab_size", 640, "the tokenizer has 320 entries, vocab_size is 640"),
        ("head_dim", 0, "head_dim: expected 1 to"),
        ("model_name", "llama3.1-8b", "model_name: 'llama3.1-8b' cannot be converted"),
        ("vocab_size", 4096, "padded to a multiple of at most 1024"),
        ("logits_via_embedding", True, r"decoder.logits_dense.kernel expected none found"),
        ("rope_type", "yarn", "rope_type: 'yarn' cannot be converted; expected 'default' or"),
        ("scan_layer", False, "did you mean 'scan_layers'"),
    ],
)
def test_a_config_of_another_model_is_refused(home, tmp_path, key, value, words) -> None:
    (tmp_path / "overlay.yml").write_text(overlay(SIZES, **{key: value}))
    with pytest.raises(InputError, match=words):
        main(arguments(home, "--skip-parity", config=tmp_path / "overlay.yml"))
    assert not (home / "other").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite_weights_are_refused_unless_allowed(home, tmp_path, value) -> None:
    arrays = random_arrays(True)
    arrays["decoder.layers.mlp.wo.kernel"][7, 2, 5] = value
    save(tmp_path / "5", arrays, True)
    changes = {"checkpoint": tmp_path / "5", "output": tmp_path / "model"}
    name = r"model\.layers\.2\.mlp\.down_proj\.weight"
    for dtype in ("float32", "bfloat16"):
        with pytest.raises(InputError, match=f"{name} holds NaN or infinity"):
            main(arguments(home, "--skip-parity", dtype=dtype, **changes))
        assert not (tmp_path / "model").exists()
    main(arguments(home, "--skip-parity", "--allow-nonfinite", **changes))
    tensors = safetensors.numpy.load_file(tmp_path / "model" / "model.safetensors")
    assert not np.isfinite(tensors["model.layers.2.mlp.down_proj.weight"][5, 7])


def make_existing(folder: Path) -> dict[str, Path]:
    (folder / "model").mkdir()
    return {}


def make_small_tokenizer(folder: Path) -> dict[str, Path]:
    save_tokenizer(330, folder / "tokenizer")
    return {"tokenizer": folder / "tokenizer"}


def make_nan(folder: Path) -> dict[str, Path]:
    arrays = random_arrays(True)
    arrays["decoder.decoder_norm.scale"][0] = np.nan
    save(folder / "7", arrays, True)
    return {"checkpoint": folder / "7"}


def make_missing_data(folder: Path) -> dict[str, Path]:
    save(folder / "7", random_arrays(True), True)
    for file in folder.glob("7/items/ocdbt.process_0/d/*"):
        file.unlink()
    return {"checkpoint": folder / "7"}


def make_parent_a_file(folder: Path) -> dict[str, Path]:
    (folder / "file").write_text("")
    return {"output": folder / "file" / "model"}


def make_remote_output(folder: Path) -> dict[str, Path]:
    return {"output": "gs://bucket/model"}


@pytest.mark.parametrize(
    "make",
    [
        make_existing, make_small_tokenizer, make_nan, make_missing_data, make_parent_a_file,
        make_remote_output,
    ],
)  # fmt: skip
def test_faults_end_the_command_in_one_line(home, tmp_path, make) -> None:
    changes = {"output": tmp_path / "model", **make(tmp_path)}
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "conversion.to_hf", *arguments(home, "--skip-parity", **changes)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_force_spares_its_own_inputs(home, tmp_path) -> None:
    save(tmp_path / "7", random_arrays(True), True)
    for output in (tmp_path, tmp_path / "7"):
        with pytest.raises(InputError, match="replacing it would remove the input"):
            main(arguments(home, "--force", checkpoint=tmp_path / "7", output=output))
    assert (tmp_path / "7" / "items").is_dir()


def test_a_changed_config_or_tokenizer_is_another_conversion(tmp_path) -> None:
    make_home(tmp_path)
    changes = {"checkpoint": tmp_path / "7", "output": tmp_path / "model"}
    main(arguments(tmp_path, "--skip-parity", **changes))
    (tmp_path / "overlay.yml").write_text(overlay(SIZES, normalization_layer_epsilon=1e-6))
    with pytest.raises(InputError, match="already exists"):
        main(arguments(tmp_path, "--skip-parity", **changes))
    (tmp_path / "overlay.yml").write_text(overlay(SIZES))
    (tmp_path / "tokenizer" / "chat_template.jinja").write_text("")
    with pytest.raises(InputError, match="already exists"):
        main(arguments(tmp_path, "--skip-parity", **changes))


def test_a_failure_stops_the_other_threads() -> None:
    import threading

    from conversion.export import StoppedError

    budget, stopped = Budget(10), []

    def wait() -> None:
        try:
            with budget.hold(5):
                pass
        except StoppedError:
            stopped.append(True)

    with budget.hold(8):
        thread = threading.Thread(target=wait)
        thread.start()
        budget.close()
        thread.join(20)
    assert stopped == [True]
    with pytest.raises(StoppedError):
        budget.check()


def test_a_full_disk_is_one_line_and_leaves_nothing(home, tmp_path) -> None:
    # A limit on the size of a file stands for a disk without space for it.
    code = (
        "import resource, sys; from conversion.to_hf import main; from tinymathreason import cli;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); cli.run(main)"
    )
    options = arguments(home, "--skip-parity", output=tmp_path / "model")
    done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path / 'model'}: cannot be written (File too large")
    assert "a file may have at most 100.0 kB here" in done.stderr
    assert " kB needed" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_room_for_the_weights_is_looked_for_first(home, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=200_000))
    monkeypatch.setattr("conversion.companions.write", None)  # nothing is written
    with pytest.raises(
        InputError, match=r"model: cannot be written .*: 200\.0 kB free in .*needed"
    ):
        main(arguments(home, "--skip-parity", output=tmp_path / "model"))
    assert list(tmp_path.iterdir()) == []


def killed(command: list[str], seconds: float) -> None:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()


def kill_and_convert(home, converted, output: Path, moments: list[float]) -> None:
    """Kill the command at each moment: no output; the last run gives the bytes of any other."""
    command = [sys.executable, "-m", "conversion.to_hf"]
    command += arguments(home, "--skip-parity", output=output)
    for seconds in moments:
        killed(command, seconds)
        # Whole or absent: a moment may come after the end.
        assert not output.exists() or model_bytes(output) == model_bytes(converted)
    subprocess.run(command, check=True, capture_output=True)
    assert model_bytes(output) == model_bytes(converted)
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_killed_at_some_moments(home, converted, tmp_path) -> None:
    kill_and_convert(home, converted, tmp_path / "model", [0.3, 0.6, 0.9])


@pytest.mark.soak
def test_killed_at_twenty_random_moments(tmp_path) -> None:
    """A model of 70 million parameters, so that most moments fall into its weights."""
    sizes = dataclasses.replace(
        SIZES, layers=12, hidden=512, heads=8, kv_heads=2, head_dim=64, mlp=1536, vocab=30_000
    )
    save(tmp_path / "scanned", random_arrays(True, sizes), True)
    (tmp_path / "overlay.yml").write_text(overlay(sizes))
    save_tokenizer(300, tmp_path / "tokenizer")
    words = read_json(tmp_path / "tokenizer" / "tokenizer.json")
    for number in range(300, sizes.vocab):
        words["model"]["vocab"][f"word{number}"] = number
    write_json(tmp_path / "tokenizer" / "tokenizer.json", words)
    started = time.monotonic()
    main(arguments(tmp_path, "--skip-parity", output=tmp_path / "whole"))
    seconds = time.monotonic() - started + 0.7  # and the interpreter's start
    rng = random.Random(0)
    moments = [rng.uniform(0, seconds) for _ in range(20)]
    output = tmp_path / "outputs" / "model"
    kill_and_convert(tmp_path, tmp_path / "whole", output, moments)


def test_a_budget_is_shared_and_never_exceeded() -> None:
    import threading

    budget, held, most = Budget(10), [0], [0]

    def work(size: int) -> None:
        for _ in range(50):
            with budget.hold(size):
                held[0] += min(size, 10)
                most[0] = max(most[0], held[0])
                time.sleep(0)
                held[0] -= min(size, 10)

    threads = [threading.Thread(target=work, args=(size,)) for size in (3, 4, 6, 99)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert held == [0]
    assert most[0] <= 10
