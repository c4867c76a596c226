"""What would waste a minute or an allocation is told before MaxText is imported."""

import subprocess
import sys

import pytest

from pretrain.train import main
from tinymathreason.cli import InputError
from tinymathreason.files import write_json

OVERLAY = "maxtext_configs/quickstart.yml"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.yml"], "none.yml: no such file"),
        ([OVERLAY, "learning_rte=1"], "unknown key 'learning_rte'; did you mean 'learning_rate'"),
        ([OVERLAY, "steps=lots"], "key 'steps': expected a number"),
        (
            [OVERLAY, "grain_train_mixture_config_path=none.json"],
            "no file none.json; build it first",
        ),
        ([OVERLAY, "run_name=''"], "run_name and base_output_directory must be set"),
    ],
)
def test_bad_input_is_one_line(arguments, words) -> None:
    with pytest.raises(InputError) as error:
        main(arguments)
    assert words in str(error.value)


def test_a_tokenizer_of_another_size_is_refused(tmp_path) -> None:
    (tmp_path / "mixture.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text(
        '{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 999, "content": "b"}]}'
    )
    mixture = f"grain_train_mixture_config_path={tmp_path / 'mixture.json'}"
    with pytest.raises(InputError, match="the tokenizer has 1000 entries, vocab_size is 448"):
        main([OVERLAY, mixture, f"tokenizer_path={tmp_path}"])


def test_a_finished_run_is_not_started_again(tmp_path, capsys) -> None:
    (tmp_path / "mixture.json").write_text("{}")
    vocabulary = {str(i): i for i in range(448)}
    write_json(tmp_path / "tokenizer.json", {"model": {"vocab": vocabulary}, "added_tokens": []})
    (tmp_path / "run" / "checkpoints" / "250").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "251.orbax-checkpoint-tmp").mkdir()
    words = [
        OVERLAY,
        f"grain_train_mixture_config_path={tmp_path / 'mixture.json'}",
        f"base_output_directory={tmp_path}",
        "run_name=run",
        f"tokenizer_path={tmp_path}",
    ]
    main(words)
    assert "nothing is left to do" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"another configuration: base_mlp_dim was 352, is 64"):
        main([*words, "base_mlp_dim=64"])
    main([*words, "eval_interval=7"])


def test_the_entry_in_maxtext_is_ours() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "maxtext.train", "none.yml"], capture_output=True, text=True
    )
    assert (found.returncode, found.stderr) == (2, "error: none.yml: no such file\n")
