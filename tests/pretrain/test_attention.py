"""Documents of a packed row stay apart, and what would mix them is refused before the start."""

from pathlib import Path

import pytest
from tabulate import tabulate

from pretrain import attention, isolation, overlay
from pretrain.attention import Isolation
from pretrain.train import check_inputs
from tinymathreason.cli import InputError

OVERLAY = Path("maxtext_configs/tinymathreason_1b_gpu.yml")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["attention=cudnn_flash_jax"], "would attend across the documents of a row: .* ignored"),
        (
            ["attention=cudnn_flash_jax", "hardware=gpu_multiprocess"],
            "on gpu_multiprocess would attend across",
        ),
        (["attention=cudnn_flash_te"], "transformer_engine is not installed; accepted: dot_prod"),
        (["hardware=cpu"], "flash on cpu: .* needs a GPU; accepted: dot_product, autoselected$"),
        (["attention=paged"], "paged is for serving"),
        (["attention=flahs"], "did you mean 'flash'"),
    ],
)
def test_what_mixes_documents_or_cannot_run_is_one_line(overrides, message) -> None:
    with pytest.raises(InputError, match=message) as error:
        check_inputs(overlay.load(OVERLAY, overrides))
    assert "\n" not in str(error.value)


def test_transformer_engine_needs_the_most_documents_of_a_row(monkeypatch) -> None:
    words = ["attention=cudnn_flash_te", "hardware=gpu_multiprocess"]
    unset, given = (
        overlay.load(OVERLAY, [*words, *more]) for more in ([], ["max_segments_per_seq=64"])
    )
    monkeypatch.setattr(attention.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(InputError, match=r"max_segments_per_seq .* \(got -1\)"):
        attention.check(unset)
    attention.check(given)


def test_rows_of_one_document_may_have_any_attention() -> None:
    attention.check(overlay.load(OVERLAY, ["attention=cudnn_flash_jax", "packing=false"]))


def test_every_overlay_keeps_documents_apart() -> None:
    for path in sorted(OVERLAY.parent.glob("*.yml")):
        attention.check(overlay.load(path))


def test_the_documentation_has_the_table() -> None:
    rows = tabulate(attention.table(), headers="keys", tablefmt="github").splitlines()
    page = Path("docs/pretraining.md").read_text().splitlines()
    missing = [row for row in rows[2:] if row not in page]
    assert not missing, "\n".join(rows)


@pytest.mark.processor
@pytest.mark.xdist_group("maxtext")
@pytest.mark.filterwarnings("ignore")
def test_one_documents_tokens_move_no_other_ones_logits(monkeypatch) -> None:
    """By MaxText's own attention on a CPU, and by the GPU's kernel in Pallas's interpreter."""
    found = isolation.probe("dot_product", "cpu")
    assert found["documents"] == "apart"
    assert found["own_document"] > 0.1
    assert found["other_document"] == 0.0
    with isolation.interpreted():
        assert isolation.probe("flash", "gpu")["documents"] == "apart"
    # The probe notices documents that are mixed.
    monkeypatch.setattr(isolation, "BOUNDARY", isolation.CHANGED)
    with pytest.raises(AssertionError, match="moved no logit of its own document"):
        isolation.probe("dot_product", "cpu")


def test_every_value_has_an_entry_for_all_hardware() -> None:
    for rows in attention.TABLE.values():
        assert rows.keys() == attention.TABLE["gpu"].keys()
    gpu = attention.TABLE["gpu"]
    assert {name for name in gpu if gpu[name].documents is Isolation.MIXED} == {"cudnn_flash_jax"}


def test_a_kernel_for_one_card_is_refused_on_several() -> None:
    for kind in ("gpu", "gpu_multiprocess"):
        for name in attention.ONE_CARD:
            config = {"hardware": kind, "attention": name}
            attention.check_cards(config, 1, "1")
            with pytest.raises(InputError, match=f"{name} is for one card, not for 8 cards"):
                attention.check_cards(config, 8, "8 cards")
    attention.check_cards({"hardware": "gpu", "attention": "dot_product"}, 8, "8")
    attention.check_cards({"hardware": "tpu", "attention": "autoselected"}, 8, "8")
