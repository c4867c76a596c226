"""The benchmarks of answering run as `benchmarks.gpu` calls them, at a tiny size."""

import json

import pytest

from benchmarks import chat, gpu_parts, sampling

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.xdist_group("answering"),
]
TINY = """
base_config: {base}
base_emb_dim: 16
head_dim: 8
base_mlp_dim: 16
base_num_decoder_layers: 1
vocab_size: 512
"""


@pytest.fixture
def lines(tmp_path, monkeypatch, capsys):
    """The lines of a part's command, in this process."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    overlay = tmp_path / "tiny.yml"
    base = gpu_parts.__file__.replace("benchmarks/gpu_parts.py", "maxtext_configs/quickstart.yml")
    overlay.write_text(TINY.format(base=base))

    def run(name: str, main, *options: str) -> list[dict]:
        parts = gpu_parts.parts("cpu", tmp_path, None)
        (part,) = gpu_parts.chosen(parts, [name])
        main([*part.limited(60)[3:], "--overlay", str(overlay), *options])
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def test_sampling_compares_each_way_with_the_plain_loop(lines) -> None:
    found = lines("sampling", sampling.main, "--new-tokens", "2", "--limit", "0")
    ways = [(line["cache"], line["rows"]) for line in found]
    assert ways == [("dynamic", 16), ("static", 16), ("dynamic", 64), ("static", 64)]
    assert found[0]["times_plain"] == 1
    for line in found:
        assert line["tokens"] == line["batches"] * line["rows"] * line["new_tokens"]
        rate = line["tokens_per_second"] / found[0]["tokens_per_second"]
        assert line["times_plain"] == pytest.approx(rate, abs=0.01)


def test_chat_answers_all_users_at_once_and_in_turn(lines) -> None:
    found = lines("chat", chat.main, "--new-tokens", "3", "--users", "1,3")
    assert [(line["users"], line["parallel"]) for line in found] == [(1, 1), (3, 3), (3, 1)]
    for line in found:
        assert line["ended_in_time"], line
        assert line["tokens"] == 3 * line["users"]
