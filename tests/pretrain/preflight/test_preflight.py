"""Preflight counts, estimates and judges a compiled step, and reports wrong input."""

import gzip
import importlib.metadata
import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from pretrain import overlay
from pretrain.gpus import GIB
from pretrain.model import Model
from pretrain.preflight import calibration, compiled_step, roofline, sweep
from pretrain.preflight.__main__ import main
from pretrain.preflight.calibration import CONSTANTS, PUBLISHED, Published, measured_seconds
from pretrain.preflight.compile_step import largest
from pretrain.preflight.compiled_step import CompiledStep, key, needed
from pretrain.preflight.costs import Costs
from pretrain.preflight.forecast import steps
from pretrain.preflight.roofline import Constants, estimate
from pretrain.preflight.summary import advice
from pretrain.topology import CHIPS, OFFERED, check, find, of_overlay
from tinymathreason.cli import InputError
from tinymathreason.config import load
from tinymathreason.files import write_json

V4_32 = Path("maxtext_configs/tinymathreason_1b_v4_32.yml")
TOO_SMALL = (
    "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory "
    "required for HLO temporaries (72.43G) exceeds available HBM (30.75G)."
)


# libtpu has no wheel for ARM.
pytestmark = pytest.mark.skipif(not find_spec("libtpu"), reason="libtpu is not installed")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache; compiling a step that is not in it fails the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiled_step, "_compile", lambda *_: pytest.fail("not in the cache"))
    return compiled_step.cache_directory()


def store(cache: Path, overrides: tuple[str, ...] = (), **changes) -> None:
    """Store a compiled step of the v4-32 overlay with a small program in the cache."""
    model = Model.from_config(overlay.load(V4_32))
    step = {
        "devices": 16,
        "tokens": 288 * 4096,
        "state_bytes": 13.5e9,
        "model": {name: getattr(model, name) for name in model.__dataclass_fields__},
        "memory": {"arguments": 1 * GIB, "temporaries": 24 * GIB, "host": 0},
        **changes,
    }
    entry = cache / key(overlay.load(V4_32, overrides), find("v4-32"))
    entry.mkdir(parents=True)
    write_json(entry / "step.json", step)
    with gzip.open(entry / "step.hlo.gz", "wt") as file:
        file.write(Path(__file__).with_name("program.hlo").read_text())


def test_the_table_and_the_verdict(cache, capsys, tmp_path) -> None:
    store(cache)
    main([str(V4_32), "--json", str(tmp_path / "out.json"), "--price", "2"])
    out = capsys.readouterr().out
    assert "1,123,117,056" in out
    assert "25.0 of 30.75 GiB" in out
    assert "fits v4-32 with 5.8 GiB of each device to spare" in out
    numbers = json.loads((tmp_path / "out.json").read_text())
    seconds = sum(numbers["estimate"][part] for part in ("fusions", "attention", "collectives"))
    assert numbers["seconds"] == seconds
    hours = numbers["token_budget"] / numbers["tokens_per_step"] * seconds / 3600 * 16
    assert numbers["chip_hours"] == pytest.approx(hours)
    assert numbers["dollars"] == pytest.approx(hours * 2)
    assert numbers["fits"]
    assert f"{hours * 2:,.0f} US dollars at 2.00 a chip-hour\n" in out
    assert numbers["token_budget"] == 254_313 * 288 * 4096


def test_a_list_price_is_printed_with_its_month(cache, capsys) -> None:
    store(cache)
    main([str(V4_32)])
    assert "at 3.22 a chip-hour, the list price of 2025-06\n" in capsys.readouterr().out
    assert all(re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", chip.priced) for chip in CHIPS.values())


def test_collectives_that_run_beside_the_arithmetic_are_traffic_too(
    cache, capsys, monkeypatch
) -> None:
    store(cache)
    sent = Costs(matmul_flops=1e12, collective_bytes=1e9, overlapped_bytes=2e9)
    monkeypatch.setattr(compiled_step.costs, "count", lambda *_: sent)
    main([str(V4_32)])
    assert re.search(r"collective traffic +3\.0 GB\n", capsys.readouterr().out)


def test_too_tight_fails_and_says_what_to_change(cache, capsys) -> None:
    store(cache, memory={"arguments": 1 * GIB, "temporaries": 28 * GIB, "host": 0})
    with pytest.raises(InputError, match=r"too tight for v4-32: 1\.8 GiB to spare") as error:
        main([str(V4_32)])
    assert "per_device_batch_size=3 gradient_accumulation_steps=6" in str(error.value)
    three = overlay.load(V4_32, ["per_device_batch_size=3"])
    # One sequence instead of three; the number per step stays the same.
    assert "per_device_batch_size=1 gradient_accumulation_steps=9" in advice(three)
    assert "num_vocab_tiling=8" in str(error.value)


def test_out_of_memory_is_one_line_with_the_largest_arrays(cache, capsys) -> None:
    arrays = [["bf16[22x288x4096x5632]", 292e9], ["f32[288x4096x32000]", 151e9]]
    store(cache, out_of_memory=TOO_SMALL, largest=arrays)
    with pytest.raises(InputError) as error:
        main([str(V4_32)])
    line = str(error.value)
    assert "\n" not in line
    assert "does not fit v4-32: 72.43 of 30.75 GiB" in line
    assert "bf16[22x288x4096x5632] 292 GB, f32[288x4096x32000] 151 GB" in line


def test_advice_leaves_out_what_is_done_already() -> None:
    config = overlay.load(
        V4_32, ["num_vocab_tiling=8", "per_device_batch_size=1", "remat_policy=full"]
    )
    assert advice(config) == "use more or larger devices"


def test_the_numbers_behind_xlas_two_messages() -> None:
    assert needed(TOO_SMALL) == "72.43 of 30.75 GiB"
    assert needed("Ran out of memory: Used 33.10G of 30.75G hbm. Exceeded") == "33.10 of 30.75 GiB"
    assert needed("something else\nand more") == "something else"


def test_the_largest_arrays_of_a_program() -> None:
    text = "tensor<4x8xbf16> tensor<2x2xf32>, tensor<100xi8> tensor<4x8xbf16> tensor<f32>"
    assert largest(text, 2) == [("i8[100]", 100), ("bf16[4x8]", 64)]


def test_the_cache_key_depends_on_the_program_alone() -> None:
    slice_, other = find("v4-32"), find("v4-64")
    config = overlay.load(V4_32)
    assert key(config, slice_) != key(config, other)
    assert key(config, slice_) != key({**config, "remat_policy": "full"}, slice_)
    same = {"run_name": "x", "base_output_directory": "gs://x", "tokenizer_path": "y"}
    assert key(config, slice_) == key({**config, **same}, slice_)


def test_a_refused_alternative_is_reported_and_the_others_are_ranked(
    cache, capsys, monkeypatch
) -> None:
    listed = {
        "smaller": ["remat_policy=full"],
        "wrong": ["no_key=1"],
        "no room": ["scan_layers=true"],
    }
    monkeypatch.setattr(sweep, "alternatives", lambda _: listed)
    store(cache)
    program = Path(__file__).with_name("program.hlo").read_text()
    store(cache, ("remat_policy=full",))
    entry = cache / key(overlay.load(V4_32, ["remat_policy=full"]), find("v4-32"))
    with gzip.open(entry / "step.hlo.gz", "wt") as file:
        file.write(program.replace("constant(47)", "constant(25)"))
    store(cache, ("scan_layers=true",), out_of_memory=TOO_SMALL)
    main([str(V4_32), "--sweep"])
    out, progress = capsys.readouterr()
    rows = [line.split("|")[1].strip() for line in out.splitlines()[2:]]
    assert rows == ["smaller", "as it is", "no room"]
    assert "wrong: refused: command line: unknown key 'no_key'" in progress


def test_every_listed_alternative_is_one_that_maxtext_knows() -> None:
    for file in sweep.LISTS.glob("*.yaml"):
        where = find(file.stem)
        path = Path(f"maxtext_configs/tinymathreason_1b_{file.stem.replace('-', '_')}.yml")
        for arguments in sweep.alternatives(where).values():
            assert overlay.load(path, arguments) != overlay.load(path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([str(V4_32), "--topology", "v4-33x"], "'v4-33x' is not known; did you mean 'v4-32'"),
        ([str(V4_32), "--topology", "gpu"], "without its CUDA plugin"),
        ([str(V4_32), "--price", "-1"], "--price: expected dollars"),
        ([str(V4_32), "--price", "1", "--sweep"], "use --price without --sweep"),
        (["maxtext_configs/tinymathreason_20m.yml"], "use --topology, such as v4-32"),
        ([str(V4_32), "--topology", "v5e-16", "--sweep"], "no list of alternatives for v5e-16"),
        (["none.yml"], "none.yml: no such file"),
    ],
)
def test_wrong_input_is_one_line(cache, arguments, words) -> None:
    with pytest.raises(InputError) as error:
        main(arguments)
    assert words in str(error.value)


def test_topologies() -> None:
    assert [find(name).chips for name in OFFERED if name != "gpu"] == [16, 32, 16, 8, 16, 4, 1]
    slices = ("v4-32", "v5e-16", "v5p-16", "tpu7x-8", "tpu7x-16")
    assert [find(name).hosts for name in slices] == [4, 4, 2, 1, 2]
    assert of_overlay("tinymathreason_1b_tpu7x_8", "tpu") == "tpu7x-8"
    assert of_overlay("tinymathreason_1b_wsd_v4_32", "tpu") == "v4-32"
    assert of_overlay("quickstart", "cpu") == "cpu"


def test_the_peak_is_what_the_matrix_units_do_in_a_second() -> None:
    """Rows times columns times units, with two operations each, at the roofline's clock."""
    units = {
        "v4": 8 * 128**2, "v5e": 4 * 128**2, "v5p": 8 * 128**2, "v6e": 4 * 256**2,
        "tpu7x": 8 * 256**2,
    }  # fmt: skip
    for name, chip in CHIPS.items():
        assert 2 * units[name] * chip.clock == pytest.approx(chip.peak_flops, rel=0.01)


def test_the_roofline_adds_its_parts() -> None:
    chip = CHIPS["v4"]
    costs = Costs(cycles=chip.clock, attention_flops=chip.peak_flops * 0.45, collective_bytes=1e11)
    step = estimate(costs, chip, Constants(slowdown=1.5))
    assert (step.fusions, step.attention, step.collectives) == pytest.approx((1.5, 1, 1))
    assert step.seconds == pytest.approx(3.5)


def test_a_device_that_is_half_a_chip_has_half_of_what_the_chip_has() -> None:
    chip = CHIPS["tpu7x"]
    costs = Costs(
        cycles=chip.clock, attention_flops=chip.peak_flops / 2 * 0.45, collective_bytes=1e11,
        matmul_flops=chip.peak_flops / 2, matmul_cycles=1, hbm_bytes=chip.hbm_bandwidth / 2,
    )  # fmt: skip
    step = estimate(costs, chip, Constants())
    assert (step.fusions, step.attention, step.collectives) == pytest.approx((2, 1, 1))
    assert (step.arithmetic_bound, step.memory_bound) == pytest.approx((1.45, 1))


def test_asynchronous_collectives_hide_behind_arithmetic_or_do_not() -> None:
    chip = CHIPS["v4"]
    costs = Costs(cycles=chip.clock, overlapped_bytes=3e11)
    assert estimate(costs, chip, Constants()).collectives == pytest.approx(3)
    assert estimate(costs, chip, Constants(overlap=True)).collectives == pytest.approx(2)


def test_published_runs_are_named_after_their_weights() -> None:
    """A script that was copied wrongly would give a model of another size."""
    runs = load(Published, PUBLISHED).runs
    compared = {find(run.topology).chip.name for run in runs if run.use != "fit"}
    assert compared == calibration.ERROR.keys()
    for run in runs:
        config = overlay.load(calibration.BASE, run.overrides)
        if config["global_parameter_scale"] == 1:
            billions = Model.from_config(config).parameters / 1e9
            assert billions == pytest.approx(float(run.name.split("B")[0]), rel=0.02)


def test_the_fit_makes_the_estimate_the_measurement() -> None:
    run = load(Published, PUBLISHED).runs[0]
    config = overlay.load(calibration.BASE, run.overrides)
    costs = Costs(cycles=20e9, attention_flops=1e14, collective_bytes=1e11)
    step = CompiledStep(
        model=Model.from_config(config), devices=64, tokens=64 * 13 * 2048, state_bytes=0,
        costs=costs, hbm=0, host=0, out_of_memory="", largest=[],
    )  # fmt: skip
    fitted = calibration.fitted(run, step, overlap=False)
    seconds = roofline.estimate(costs, CHIPS["v4"], fitted).seconds
    assert seconds == pytest.approx(measured_seconds(run, step))
    assert calibration.error(run, step, fitted) == pytest.approx(0)


def test_no_product_is_faster_than_the_peak() -> None:
    for name, chip in CHIPS.items():
        costs = Costs(cycles=1.0, matmul_cycles=1.0, matmul_flops=chip.peak_flops / chip.devices)
        assert estimate(costs, chip, CONSTANTS[name]).fusions == pytest.approx(1)


def test_a_run_that_continues_from_a_checkpoint_takes_the_steps_after_it() -> None:
    stable, decay = (
        overlay.load(f"maxtext_configs/tinymathreason_1b_{name}_v4_32.yml")
        for name in ("wsd", "anneal")
    )
    assert (steps(stable), steps(decay)) == (228_882, 25_431)
    assert steps(overlay.load(V4_32, ["steps=-1"])) == 254_313


def test_an_overlay_named_after_a_slice_runs_on_no_other() -> None:
    check(V4_32, "v4-32")
    check(Path("tinymathreason_1b_v5e_16.yml"), "v5litepod-16")
    check(Path("mine.yml"), "v4-64")
    with pytest.raises(InputError, match="is for v4-32, not for v4-64"):
        check(V4_32, "v4-64")


@pytest.mark.processor
@pytest.mark.xdist_group("maxtext")
@pytest.mark.parametrize(
    ("name", "verdict", "ratio"),
    [
        ("v4-32", "fits v4-32 with", "1.0000"),
        # XLA for CPU does not mark recomputed operations: attention's two forward products.
        ("cpu", "compiles for cpu", "1.0489"),
    ],
)
def test_a_small_step_really_compiles(name, verdict, ratio, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    hardware = ["hardware=tpu", "head_dim=128"] if name != "cpu" else []
    arguments = ["maxtext_configs/quickstart.yml", "--topology", name, *hardware]
    main(arguments)
    out = capsys.readouterr().out
    assert verdict in out
    assert f"the rest is {ratio} of the analytic count" in out
    monkeypatch.setattr(compiled_step, "_compile", lambda *_: pytest.fail("not cached"))
    main(arguments)
    assert capsys.readouterr().out == out


def test_a_compiler_that_is_not_installed_is_named(tmp_path, monkeypatch) -> None:
    def version(name: str) -> str:
        if name == "libtpu":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(
        InputError, match="libtpu is not installed; it is needed to compile a step for v4-32"
    ):
        key({}, find("v4-32"))
    assert key({}, find("cpu"))
