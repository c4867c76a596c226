"""A fresh machine: set-up makes .venv, or says in one line what is missing.

The script runs with the machine's real tools on a path of nothing else. What they would find there
is stood in for: uname and df by scripts, Python's view of itself by modules on PYTHONPATH.
"""

import contextlib
import fcntl
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tinymathreason import provenance

SCRIPT = Path("pipeline/setup.sh").resolve()
TOOLS = [
    "awk",
    "bash",
    "df",
    "env",
    "flock",
    "git",
    "grep",
    "mkdir",
    "rm",
    "sed",
    "sh",
    "tail",
    "tr",
    "uname",
]
PYTHON = """import os, sysconfig
sysconfig.get_platform = lambda: "{machine}"
os.confstr = {libc}.__getitem__
"""
GLIBC = {"CS_GNU_LIBC_VERSION": "glibc 2.36"}
VENV = """import sys, pathlib, shutil
if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[-1])
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
"""
# As pip says it when the index does not answer.
PIP = """import sys
if "install" in sys.argv:
    print("WARNING: Retrying", file=sys.stderr)
    sys.exit("ERROR: Could not find a version\\nERROR: No matching distribution found for uv")
for key, value in {settings}.items():
    print(f"{{key}}={{value!r}}")
"""
UV = """#!/bin/sh
echo "$UV_DEFAULT_INDEX $SSL_CERT_FILE $*" >> "$ASKED"
case "$*" in
  "cache dir") echo "$CACHE" ;;
  *--dry-run) echo "Would download $NEW packages" ;;
esac
"""
DF = """#!/bin/sh
case "$2" in "$CACHE") mount=/home ;; *) mount=/ ;; esac
printf 'Filesystem 1024-blocks Used Available Capacity Mounted on\\n'
printf '/dev/vda 0 0 %s 0%% %s\\n' "$FREE" "$mount"
"""


class Machine:
    """A fresh machine's folder of programs, and the project's folder."""

    def __init__(self, home: Path) -> None:
        self.open_files = contextlib.ExitStack()
        self.bin, self.modules, self.project = home / "bin", home / "modules", home / "a prøject"
        for folder in (self.bin, self.modules, self.project):
            folder.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        # The one under .venv: a venv made from a venv is of the same Python.
        (self.bin / "python3.12").symlink_to(Path(sys.executable).resolve())
        self.python()
        (self.modules / "venv.py").write_text(VENV)
        (self.modules / "ensurepip.py").write_text("")
        self.pip()
        (self.project / "requirements.txt").write_text("a==1 \\\n --hash=b\nuv==2 \\\n --hash=c\n")
        self.environment = {
            "PATH": str(self.bin),
            "PYTHONPATH": str(self.modules),
            "CACHE": str(home / "cache"),
            "ASKED": str(home / "asked"),
            "NEW": "2",
            "FREE": "99000000",
        }

    def python(self, machine: str = "linux-x86_64", libc: dict[str, str] = GLIBC) -> None:
        """What Python finds about itself."""
        (self.modules / "sitecustomize.py").write_text(PYTHON.format(machine=machine, libc=libc))

    def pip(self, **settings: str) -> None:
        """What pip has been told."""
        message = {f"global.{name.replace('_', '-')}": value for name, value in settings.items()}
        (self.modules / "pip.py").write_text(PIP.format(settings=message))

    def program(self, name: str, text: str) -> None:
        """A stand-in for a program."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def asked(self) -> list[str]:
        """What uv was asked for, with the two settings it was given."""
        return Path(self.environment["ASKED"]).read_text().splitlines()

    def setup(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Exit status and stderr of set-up."""
        result = subprocess.run(
            [self.bin / "bash", SCRIPT, *arguments],
            cwd=self.project,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        return result.returncode, result.stderr


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    with machine.open_files:
        yield machine


def another_setup(machine) -> None:
    lock = machine.open_files.enter_context((machine.project / "requirements.txt").open("rb"))
    fcntl.flock(lock, fcntl.LOCK_EX)


def no_index(machine) -> None:
    pass  # uv is not there, and the stand-in for pip finds none


def no_python(machine) -> None:
    (machine.bin / "python3.12").unlink()


def another_python(machine) -> None:
    machine.program("python", "#!/bin/sh\nexit 1\n")
    machine.environment["PYTHON"] = "python"


def no_venv(machine) -> None:
    (machine.modules / "ensurepip.py").write_text("raise ImportError")


def no_git(machine) -> None:
    (machine.bin / "git").unlink()


def macos(machine) -> None:
    machine.program("uname", "#!/bin/sh\necho Darwin\n")


def small_processor(machine) -> None:
    machine.python("linux-armv7l")


def musl(machine) -> None:
    machine.python(libc={})


def old_glibc(machine) -> None:
    machine.python(libc={"CS_GNU_LIBC_VERSION": "glibc 2.28"})


def old_glibc_on_arm(machine) -> None:
    machine.python("linux-aarch64", {"CS_GNU_LIBC_VERSION": "glibc 2.34"})


def not_ours(machine) -> None:
    wrong = 'if __name__ == "__main__":\n    raise SystemExit("Error: Permission denied")\n'
    (machine.modules / "venv.py").write_text(wrong)


def full_cache(machine) -> None:
    machine.program("uv", UV)
    machine.program("df", DF)
    machine.environment["FREE"] = "5000000"


def full_project(machine) -> None:
    full_cache(machine)
    machine.environment["NEW"] = "1"


def broken_index(machine) -> None:
    machine.program(
        "uv", "#!/bin/sh\n[ $1 = cache ] || { echo 'error: a\n  cause: b' >&2 && exit 2; }"
    )
    machine.environment["CACHE"] = ""


FAULTS = {
    another_setup: "another set-up is under way in this folder; wait for it",
    no_index: r"the package index .* cannot be reached or has no uv: .* distribution found for uv",
    no_python: "Python 3.12 is needed; set PYTHON=",
    another_python: "PYTHON=python is not Python 3.12",
    no_venv: "has no venv; on Debian and Ubuntu: apt install python3.12-venv",
    no_git: "git is missing; on Debian and Ubuntu: apt install git",
    macos: "Darwin: some packages are made for Linux alone",
    small_processor: "linux-armv7l: some packages are made for Linux on x86_64 and aarch64 alone",
    musl: "need glibc 2.31 or newer, and this system has another libc",
    old_glibc: "need glibc 2.31 or newer, and this system has glibc 2.28",
    old_glibc_on_arm: "need glibc 2.35 or newer, and this system has glibc 2.34",
    not_ours: "no .venv can be made here: Error: Permission denied",
    full_cache: "cache: the packages need 9000 MB there, and 5000 MB are free",
    full_project: "a prøject: the packages need 9000 MB there, and 5000 MB are free",
    broken_index: "not every package can be had: error: a cause: b",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_what_is_missing_is_said_in_one_line(machine, fault) -> None:
    fault(machine)
    status, said = machine.setup()
    assert status == 2, said
    assert re.fullmatch(rf"error: .*{FAULTS[fault]}.*\n", said), said


def test_every_package_is_installed(machine, tmp_path) -> None:
    machine.program("uv", UV)
    assert machine.setup() == (0, "")
    made = machine.project / ".venv/bin/python"
    assert made.readlink() == Path(sys.executable).resolve()  # of the Python, not of a link to it
    packages = "pip install --cache-dir {} --python .venv/bin/python --require-hashes --requirement"
    packages = packages.format(tmp_path / "cache") + " requirements.txt"
    assert machine.asked() == ["  cache dir", f"  {packages} --dry-run", f"  {packages} --quiet"]


def test_the_packages_for_a_gpu_are_added_to_what_is_there(machine, tmp_path) -> None:
    """And take room for themselves alone: 1,000 MB for the two of them, of which one is new."""
    machine.program("uv", UV)
    machine.program("df", DF.replace("/home", "/"))
    (machine.project / "requirements-gpu.txt").write_text(
        "c==3 \\\n --hash=d\ne==4 \\\n --hash=f\n"
    )
    assert machine.setup() == (0, "")
    (machine.project / ".venv/marker").touch()
    assert machine.setup("requirements-gpu.txt", NEW="1", FREE="600000") == (0, "")
    assert (machine.project / ".venv/marker").exists()
    for line in machine.asked()[-2:]:
        assert "--requirement requirements.txt --requirement requirements-gpu.txt" in line
    status, message = machine.setup("requirements-gpu.txt", NEW="2", FREE="600000")
    assert (status, "the packages need 1000 MB there, and 600 MB are free" in message) == (2, True)


def test_the_lock_for_a_gpu_shares_its_libraries_with_torch() -> None:
    """Every package is in one of the two locks, and jax's plugin is of jax's version."""
    common, gpu = (
        dict(re.findall(r"^([^ =]+)==(\S+)", Path(name).read_text(), re.MULTILINE))
        for name in ("requirements.txt", "requirements-gpu.txt")
    )
    assert not common.keys() & gpu.keys()
    assert gpu["jax-cuda13-plugin"] == gpu["jax-cuda13-pjrt"] == common["jax"]
    assert {"nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-nccl-cu13"} <= common.keys()
    # The compiler is of the toolkit with which torch was built.
    assert gpu["nvidia-cuda-nvcc"].split(".")[:2] == common["cuda-toolkit"].split(".")[:2]
    for name in ("requirements.txt", "requirements-gpu.txt"):
        assert "://" not in Path(name).read_text()


def test_arm_goes_without_what_has_no_wheel(machine) -> None:
    machine.program("uv", UV)
    machine.python("linux-aarch64")
    assert machine.setup() == (0, "")
    assert all("--excludes .venv/absent.txt" in line for line in machine.asked()[1:])
    assert (machine.project / ".venv/absent.txt").read_text() == "libtpu\n"


def test_uv_is_reported_of_pips_index(machine) -> None:
    machine.program("uv", UV)
    machine.pip(index_url="http://index", cert="/pem")
    assert machine.setup() == (0, "")
    assert machine.setup(PIP_INDEX_URL="http://a", SSL_CERT_FILE="/b") == (0, "")
    assert machine.asked()[2].startswith("http://index /pem pip install")
    assert machine.asked()[5].startswith("http://a /b pip install")


def test_a_home_that_cannot_be_written_is_not_needed(machine) -> None:
    machine.program("uv", UV)
    machine.environment["CACHE"] = "/proc/none/cache"
    assert machine.setup() == (0, "")
    aside = machine.project / ".venv/cache"
    assert f"--cache-dir {aside} " in machine.asked()[2]
    assert not aside.exists()


def test_what_is_cached_takes_no_room(machine) -> None:
    machine.program("uv", UV)
    machine.program("df", DF.replace("/home", "/"))
    assert machine.setup(FREE="6000000", NEW="1") == (0, "")  # half of the packages are new
    assert machine.setup(FREE="0", NEW="none") == (0, "")


@pytest.mark.parametrize(
    ("place", "made"), [(None, True), ("", True), ("/elsewhere", True), ("{here}", False)]
)
def test_a_moved_environment_is_made_again(tmp_path, place: str | None, made: bool) -> None:
    shutil.copy("Makefile", tmp_path)
    shutil.copytree("pretrain", tmp_path / "pretrain")
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    if place is not None:
        (tmp_path / ".venv/bin").mkdir(parents=True)
        (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
        (tmp_path / ".venv/.complete").write_text(place.format(here=tmp_path) + "\n")
    result = subprocess.run(
        ["make", "--dry-run", "setup"], cwd=tmp_path, capture_output=True, text=True
    )
    assert ("setup.sh" in result.stdout) == made
    if not made:  # neither is one whose Python has gone whole
        (tmp_path / ".venv/bin/python").unlink()
        result = subprocess.run(
            ["make", "-n", "setup"], cwd=tmp_path, capture_output=True, text=True
        )
        assert "setup.sh" in result.stdout


def test_set_up_asks_for_the_glibc_of_the_lock() -> None:
    locked = re.search(r"--python-platform x86_64-manylinux_2_(\d+) ", Path("Makefile").read_text())
    assert f"linux-x86_64) glibc=2.{locked[1]} " in SCRIPT.read_text()


def test_the_commit_of_another_users_checkout_is_known(tmp_path, monkeypatch) -> None:
    (tmp_path / "tinymathreason").mkdir()
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "tinymathreason/provenance.py"))
    assert provenance.commit() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert re.fullmatch(r"[0-9a-f]{40}", provenance.commit())


def test_the_machines_own_pip_configuration_is_read(tmp_path) -> None:
    """Where an administrator or a container's image has written it, not the user."""
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "pip.conf").write_text("[global]\nindex-url = file:///simple\n")
    line = next(line for line in SCRIPT.read_text().splitlines() if line.startswith("setting()"))
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-c", f"{line}\nsetting index-url; setting cert"],
        env={"PATH": path, "HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == "file:///simple"
