"""The commit of a checkout is recorded as git has it, and git's files are not changed."""

import os
import subprocess

from tinymathreason import provenance


def test_the_commit_of_a_checkout(tmp_path, monkeypatch) -> None:
    def git(*words: str) -> str:
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.check_output(["git", "-C", tmp_path, *author, *words], text=True).strip()

    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "package" / "provenance.py"))
    assert provenance.commit() is None
    git("init", "--quiet")
    assert provenance.commit() is None
    file = tmp_path / "file"
    file.write_text("one")
    git("add", "file")
    git("commit", "--quiet", "--message", "one")
    head = git("rev-parse", "HEAD")
    (tmp_path / "untracked").touch()
    os.utime(file, (0, 0))  # git would note the new time in its index
    index = (tmp_path / ".git" / "index").read_bytes()
    assert provenance.commit() == head
    assert (tmp_path / ".git" / "index").read_bytes() == index
    file.write_text("two")
    assert provenance.commit() == f"{head}-dirty"
