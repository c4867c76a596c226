"""An XLA program is parsed: loops, sizes, and the arithmetic and traffic of every instruction."""

import math
from pathlib import Path

import pytest

from pretrain.preflight import collectives, costs, hlo
from tinymathreason.cli import InputError

PROGRAM = Path(__file__).with_name("program.hlo").read_text()

PRODUCT = 2 * 64 * 32 * 128


def test_a_loop_counts_as_often_as_it_runs() -> None:
    """The counter goes from 3 to 47 in steps of 2, as when XLA unrolls a loop once."""
    result = costs.count(hlo.parse(PROGRAM), 16)
    assert result.matmul_flops == 22 * 2 * PRODUCT
    assert result.rematerialised_flops == 22 * PRODUCT
    assert result.cycles == result.matmul_cycles == 22 * 1500


def test_a_ring_sends_all_but_its_own_share() -> None:
    result = costs.count(hlo.parse(PROGRAM), 16)
    reduced = 22 * 2 * (64 * 128 * 2) * 3 / 4
    gathered = 256 * 128 * 2 * 7 / 8
    assert result.collective_bytes == pytest.approx(reduced + gathered)


def test_only_what_lies_in_main_memory_is_traffic() -> None:
    program = hlo.parse(PROGRAM)
    by_name = {
        i.name: costs._traffic(program, computation, i) for computation, i, _ in program.executed()
    }
    # One slice of the stack is read and the result written; the weight is on the chip.
    assert by_name["forward"] == 64 * 32 * 2 + 64 * 128 * 2
    assert by_name["stack"] == by_name["next"] == 0


def test_a_note_of_xla_on_the_trip_count_wins() -> None:
    noted = PROGRAM.replace(
        "body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"7"}}'
    )
    assert costs.count(hlo.parse(noted), 16).matmul_flops == 7 * 2 * PRODUCT


def test_a_loop_without_a_constant_is_refused() -> None:
    with pytest.raises(InputError, match="loop loop: its trip count is not a constant"):
        list(hlo.parse(PROGRAM.replace("constant(47)", "parameter(1)")).executed())


SPARSECORE = """
%gathering (shard: bf16[32,128]) -> bf16[256,128] {
  %shard = bf16[32,128]{1,0} parameter(0)
  ROOT %all-gather.1 = bf16[256,128]{1,0} all-gather(%shard), replica_groups={{0,1,2,3,4,5,6,7}}
}, execution_thread="sparsecore"

ENTRY %main (shard.1: bf16[32,128]) -> bf16[256,128] {
  %shard.1 = bf16[32,128]{1,0} parameter(0)
  %start = ((), (), (s32[8192]{0}, s32[0]{0:S(2)})) custom-call-start(), \
custom_call_target="x", called_computations={%gathering}
  %update = ((bf16[32,128]{1,0}), bf16[256,128]{1,0}, (s32[8192]{0})) \
custom-call-update(%start, %shard.1)
  ROOT %done = bf16[256,128]{1,0} custom-call-done(%update)
}
"""


def test_a_collective_on_the_sparsecores_runs_beside_the_arithmetic() -> None:
    """As on Ironwood: a call with a computation of its own, which ends with its thread's name."""
    result = costs.count(hlo.parse(SPARSECORE), 16)
    assert result.overlapped_bytes == 256 * 128 * 2 * 7 / 8
    assert result.collective_bytes == result.hbm_bytes == result.cycles == 0


@pytest.mark.parametrize("text", ["", "HloModule x", "%a = f32[] constant(1)"])
def test_other_text_is_refused(text) -> None:
    with pytest.raises(InputError, match="not the text of an XLA program"):
        hlo.parse(text)


def convolution(shapes: tuple[str, str, str], attributes: str) -> float:
    left, right, out = shapes
    text = f"""ENTRY %main (a: {left}, b: {right}) -> {out} {{
  %a = {left} parameter(0)
  %b = {right} parameter(1)
  ROOT %c = {out} convolution(%a, %b), {attributes}
}}
"""
    return costs.count(hlo.parse(text), 1).matmul_flops


def test_a_product_over_heads_written_as_a_padded_convolution() -> None:
    # x [6, 4096, 2048] times a weight [2048, 16, 128]: XLA slides 16 heads over one position.
    flops = convolution(
        ("bf16[6,4096,2048,1]", "bf16[2048,16,128,1]", "bf16[6,4096,16,128]"),
        "window={size=1x16 pad=0_0x15_15 rhs_reversal=0x1}, dim_labels=0bf1_i1o0->0b1f",
    )
    assert flops == 2 * 6 * 4096 * 2048 * 16 * 128


def test_a_product_over_heads_summed_in_the_window() -> None:
    flops = convolution(
        ("bf16[6,4096,16,128]", "bf16[1,128,2048,16]", "bf16[6,4096,2048,1]"),
        "window={size=1x16}, dim_labels=0b1f_0io1->0bf1",
    )
    assert flops == 2 * 6 * 4096 * 16 * 128 * 2048


def kernel(name: str, blocks: dict[str, int], results: int = 2) -> hlo.Instruction:
    metadata = ", ".join(f'\\"{key}\\": {value}' for key, value in blocks.items())
    return hlo.Instruction(
        name,
        "custom-call",
        [hlo.Array("bf16", (2, 4, 4096, 128), 0)] * results,
        [],
        "",
        ', custom_call_target="tpu_custom_call", '
        "operand_layout_constraints={s8[1,4,4]{2,1,0}, bf16[2,4,4096,128]{3,2,1,0}, "
        f'bf16[2,1,4096,128]{{3,2,1,0}}}}, "xprof_metadata":"{{{metadata}}}"',
    )


@pytest.mark.parametrize(
    ("name", "results", "products"),
    [
        ("splash_mha_fwd", 2, 2),
        ("splash_mha_dq", 1, 3),
        ("splash_mha_dkv", 2, 4),
        ("splash_mha_dkv", 3, 5),
    ],
)
@pytest.mark.parametrize("block", [512, 1024])
def test_splash_visits_the_blocks_on_and_below_the_diagonal(name, results, products, block) -> None:
    keys = ("block_q", "block_kv", "block_q_dkv", "block_kv_dkv", "block_q_dq", "block_kv_dq")
    flops = costs.splash_flops(kernel(name, {**dict.fromkeys(keys, block), "q_layout": 1}, results))
    side = 4096 // block
    visited = side * (side + 1) // 2 * block**2
    assert flops == 2 * products * 2 * 4 * 128 * visited


def test_blocks_that_are_not_square() -> None:
    blocks = {"block_q": 1024, "block_kv": 2048, "q_layout": 1}
    flops = costs.splash_flops(kernel("splash_mha_fwd", blocks))
    assert flops == 2 * 2 * 2 * 4 * 128 * (1 + 1 + 2 + 2) * 1024 * 2048


def test_an_unknown_kernel_is_not_taken_for_attention() -> None:
    with pytest.raises(ValueError, match="not a kernel of Splash attention"):
        costs.splash_flops(kernel("other", {"block_q": 1, "block_kv": 1, "q_layout": 1}))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("replica_groups=mesh['a'=4,'b'=2] {'a','b'}", 8),
        ("replica_groups=[4,4]<=[16]", 4),
        ("replica_groups={{0,1},{2,3}}", 2),
        ("channel_id=1", 16),
    ],
)
def test_groups_in_all_of_their_spellings(text, size) -> None:
    instruction = hlo.Instruction("x", "all-gather", [], [], "", ", " + text)
    assert collectives.group_size(instruction, 16) == size


@pytest.mark.parametrize(
    ("opcode", "shape", "sent"),
    [
        ("all-gather", "bf16[16,8]", 256 * 15 / 16),
        ("all-gather-start", "(bf16[1,8], bf16[16,8])", 256 * 15 / 16),
        ("reduce-scatter", "bf16[1,8]", 256 * 15 / 16),
        ("all-reduce", "(bf16[8,8], bf16[8,8])", 2 * 256 * 15 / 16),
        ("all-reduce-start", "(bf16[8,8], bf16[8,8])", 2 * 256 * 15 / 16),
        ("collective-permute", "bf16[16,8]", 256),
        ("collective-permute-start", "(bf16[16,8], bf16[16,8], u32[], u32[])", 256),
        ("all-reduce-done", "bf16[8,8]", 0),
        ("add", "bf16[8,8]", None),
    ],
)
def test_bytes_that_a_chip_sends(opcode, shape, sent) -> None:
    instruction = hlo.Instruction("x", opcode, hlo.arrays(shape), [], "", "")
    assert collectives.sent(hlo.Program({}, ""), instruction, 16) == sent


def test_bytes_of_a_tuple() -> None:
    arrays = hlo.arrays("(bf16[2,3]{1,0:T(8,128)(2,1)S(3)}, /*index=1*/f32[]{:T(128)}, pred[5]{0})")
    assert [(a.bytes, a.space) for a in arrays] == [(12, 3), (4, 0), (5, 0)]
    assert math.prod(arrays[0].dimensions) == 6
