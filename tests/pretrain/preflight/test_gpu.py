"""Preflight estimates a step on NVIDIA GPUs from shapes: its memory, arithmetic, days and price."""

import json
import re
from pathlib import Path

import pytest

from pretrain import overlay
from pretrain.gpus import CARDS
from pretrain.model import Model
from pretrain.preflight import calibration, gpu_calibration, gpu_step, remat
from pretrain.preflight.__main__ import main
from pretrain.preflight.gpu_step import step
from pretrain.topology import cards_of_overlay, find
from tinymathreason.cli import InputError

OVERLAY = Path("maxtext_configs/tinymathreason_1b_gpu.yml")
FLASH = ["attention=flash"]


@pytest.fixture(scope="module")
def config() -> dict:
    """The overlay with one part of eight rows, as in the known run."""
    return overlay.load(OVERLAY, [*FLASH, "gradient_accumulation_steps=1", "num_vocab_tiling=1"])


def test_the_known_runs_have_the_shapes_of_their_sources() -> None:
    """A size that was copied wrongly would give another share of the peak than the source's."""
    runs = gpu_calibration.known()
    assert len(runs) == 8
    for run in runs:
        model = gpu_calibration.model(run)
        flops = model.matmul_flops_per_token
        flops += model.attention_flops_per_token * (2 if run.counts == "whole" else 1)
        share = flops * run.tokens_per_second / CARDS[run.card].peak_flops
        assert (run.mfu is None) == (run.counts == "none")
        if run.mfu is not None:
            assert share == pytest.approx(run.mfu, abs=0.005), run.name


def test_the_share_is_the_one_that_is_fitted() -> None:
    assert pytest.approx(gpu_calibration.fitted(), abs=0.001) == gpu_step.SHARE
    errors = {run.name: gpu_calibration.error(run) for run in gpu_calibration.known()}
    fitted = [error for run, error in errors.items() if run.endswith("minimal_with_context")]
    assert fitted == [pytest.approx(0, abs=0.002)]
    assert max(map(abs, errors.values())) < 0.35


def test_the_memory_is_within_a_twentieth_of_the_measured_peaks() -> None:
    measured = [run for run in gpu_calibration.known() if run.peak_gb is not None]
    assert [run.peak_gb for run in measured] == [50.5, 37.3]
    for run in measured:
        peak = step(gpu_calibration.settings(run), run.cards).memory.peak
        assert peak / 1e9 == pytest.approx(run.peak_gb, rel=0.05)


def test_memory_by_hand(config) -> None:
    memory, tokens = step(config, 1).memory, 8 * 4096
    parameters = 1_123_117_056
    assert (memory.weights, memory.moments) == (4 * parameters, 8 * parameters)
    assert (memory.gradients, memory.summed) == (4 * parameters, 0)
    # Input, queries, keys, values, attention's output product, gate and up, in bfloat16.
    kept = 2048 + 2048 + 512 + 512 + 2048 + 2 * 5632
    assert memory.kept == 2 * 22 * kept * tokens
    assert memory.logits == 2 * 4 * 32_000 * tokens
    assert memory.peak == sum(
        (memory.weights, memory.moments, memory.kept, memory.logits, gpu_step.CONTEXT)
    )
    tiled = step({**config, "num_vocab_tiling": 8}, 1).memory
    assert tiled.logits == memory.logits / 8
    # Now the backward pass needs the most.
    assert memory.peak - memory.logits < tiled.peak < memory.peak
    assert step({**config, "gradient_accumulation_steps": 2}, 1).memory.summed == 4 * parameters
    assert step({**config, "mu_dtype": "bfloat16"}, 1).memory.moments == 6 * parameters


def test_cards_of_a_node_share_the_state_and_nodes_do_not(config) -> None:
    one, node, two = (step(config, cards) for cards in (1, 8, 16))
    assert node.memory.weights == one.memory.weights / 8 == two.memory.weights
    assert node.memory.kept == one.memory.kept
    assert (one.sent, one.sent_between_nodes, node.sent_between_nodes) == (0, 0, 0)
    # Two gathers in bfloat16 and one scatter in float32, of seven eighths.
    assert node.sent == two.sent == 8 * 1_123_117_056 * 7 / 8
    # Half of an all-reduce over two nodes: each card sends its eighth once.
    assert two.sent_between_nodes == 4 * 1_123_117_056 / 8
    assert [s.tokens for s in (one, node, two)] == [32_768, 262_144, 524_288]
    assert one.mfu(CARDS["h100"], 1) > node.mfu(CARDS["h100"], 8) > two.mfu(CARDS["h100"], 16)


@pytest.mark.parametrize(
    ("policy", "kept", "repeated"),
    [
        ("minimal_with_context", 18_432, 0),
        ("save_dot_except_mlp", 7_168, 2 * 2048 * 5632),
        ("save_qkv_proj", 5_120, 2 * 2048 * 5632 + 2048 * 2048),
        ("full", 2_048, 2 * 2048 * 5632 + 2 * 2048 * 2048 + 2 * 2048 * 512),
    ],
)
def test_what_a_policy_keeps_and_repeats(config, policy, kept, repeated) -> None:
    layer = remat.layer(Model.from_config(config), {**config, "remat_policy": policy})
    assert (layer.kept, layer.repeated) == (kept, repeated)
    # tokamax's kernel has no name, so its forward pass is always repeated.
    assert layer.attention_products == 2 + 2 + 7


def test_a_list_of_tensors_is_a_policy(config) -> None:
    model = Model.from_config(config)
    own = {**config, "remat_policy": "custom", "mlpwi_0": "device", "mlpwi_1": "offload"}
    layer = remat.layer(model, own)
    assert layer.kept == 2048 + 5632
    assert layer.repeated == 2048 * (2048 + 2 * 512 + 2048)
    te = {**config, "attention": "cudnn_flash_te"}
    assert remat.layer(model, te).attention_products == 2 + 5
    assert remat.layer(model, te).kept == 18_432 + 2_048
    dot = remat.layer(model, {**config, "attention": "dot_product"})
    assert dot.attention_products == 2 * (2 + 2 + 4)


def test_every_policy_of_maxtext_is_known() -> None:
    source = overlay.upstream_configs().parent.joinpath("layers", "nnx_decoders.py").read_text()
    body = source.split("def get_remat_policy", 1)[1].split("\n  def ", 1)[0]
    compared = [line for line in body.splitlines() if re.search(r"remat_policy (==|in) ", line)]
    names = {name for line in compared for name in re.findall(r'"(\w+)"', line)}
    assert names - {"custom"} == remat.KEPT.keys()


def test_the_table_of_one_topology(capsys, tmp_path) -> None:
    main([str(OVERLAY), *FLASH, "--topology", "h100", "--json", str(tmp_path / "out.json")])
    out = capsys.readouterr().out
    numbers = json.loads((tmp_path / "out.json").read_text())
    assert "from shapes, not compiled or run" in out
    assert "fits h100 with" in out
    assert numbers["token_budget"] == 254_313 * 288 * 4096
    assert numbers["tokens_per_step"] == 288 * 4096
    hours = numbers["token_budget"] / numbers["tokens_per_second"] / 3600
    assert numbers["chip_hours"] == pytest.approx(hours)
    assert numbers["dollars"] == pytest.approx(hours * CARDS["h100"].price)
    assert numbers["mfu"] == pytest.approx(
        numbers["tokens_per_second"] * Model.from_config(overlay.load(OVERLAY)).flops_per_token
        / CARDS["h100"].peak_flops
    )  # fmt: skip


def test_the_comparison_keeps_the_tokens_of_a_step(capsys) -> None:
    main([str(OVERLAY), *FLASH])
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if "|" in line]
    cells = [[cell.strip() for cell in row] for row in rows[2:]]
    assert len(cells) == 5 * (1 + 2 + 2) + 2
    for name, _, rows_at_a_time, parts, *_ in cells:
        if rows_at_a_time != "does not fit":
            cards = find(name).chips
            assert int(rows_at_a_time) * int(parts) * cards == 288
    speed = {
        cell[0]: float(cell[7].replace(",", ""))
        for cell in cells
        if cell[1] == "flash" and cell[2] != "does not fit"
    }
    assert speed["b200-1"] > speed["h200-1"] >= speed["h100-1"] > speed["a100-80gb-1"]
    node = {cell[1]: float(cell[7].replace(",", "")) for cell in cells if cell[0] == "h100-8"}
    # The kernel that one card has does not work on several.
    assert node.keys() == {"dot_product", "cudnn_flash_te"}
    assert node["cudnn_flash_te"] > 7.5 * speed["h100-1"] > 2 * node["dot_product"]


def test_what_does_not_fit_says_what_to_change() -> None:
    with pytest.raises(InputError, match=r"too tight for a100-40gb: .*num_vocab_tiling=8"):
        main([str(OVERLAY), *FLASH, "--topology", "a100-40gb"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--topology", "h100-0"], "'h100-0' is not known"),
        (["--topology", "a100"], "did you mean 'a10'"),
        (["--topology", "h100-8", "attention=flash"], "attention: flash is for one card, not"),
        (["--topology", "h100", "--sweep"], "--sweep: only for TPU slices"),
        (["--price", "2"], "need --topology"),
        (["--topology", "h100", "opt_type=lion"], "opt_type: expected one of adamw"),
        (["--topology", "h100", "remat_policy=some"], "remat_policy: expected one of"),
        (["--topology", "h100", "attention=ring"], "attention: expected one of flash"),
        (["--topology", "h100", "per_device_batch_size=0.5"], "whole numbers of at least 1"),
    ],
)
def test_wrong_input_is_one_line(arguments, words) -> None:
    with pytest.raises(InputError) as error:
        main([str(OVERLAY), *arguments])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_names_of_cards() -> None:
    assert [find(name).chips for name in ("h100", "h100-8", "a100-80gb-16")] == [1, 8, 16]
    assert [find(name).hosts for name in ("h100", "h100-8", "a100-80gb-16")] == [1, 1, 2]
    assert [cards_of_overlay(stem) for stem in ("x_gpu", "x_gpu_8", "quickstart")] == [1, 8, 1]


def test_the_page_has_the_tables_of_today(capsys) -> None:
    """Its first command and `pretrain.calibration --gpu` print them."""
    page = Path("docs/gpu.md").read_text()
    command = re.search(r"python -m pretrain.preflight (.*)", page)[1]
    main(command.split())
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert "\n".join(table) in page, "put the table of its first command into docs/gpu.md"
    assert gpu_calibration.table() in page, "put `pretrain.calibration --gpu` into docs/gpu.md"
    assert f"at {gpu_step.SHARE:.0%}".replace("%", " %") in page


def test_the_table_of_known_runs(capsys) -> None:
    calibration.main(["--gpu"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(gpu_calibration.known())
    assert [line.count("fitted") for line in lines].count(1) == 1
