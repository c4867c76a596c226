"""Every reader of answers takes time linear in the length of any text."""

import subprocess
import sys

import pytest

from benchmarks.answers import FRAMES, PARTS, readers, texts

CHARACTERS = 100_000
SECONDS = 60
"""Of the processor, for all texts of a reader: they take half a second each at most, together; what
is quadratic would take minutes for one."""
CODE = """
import resource, sys, time
from benchmarks.answers import readers, seconds, texts
limit = resource.getrlimit(resource.RLIMIT_CPU)[1]
read = readers()[sys.argv[1]]
resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + {seconds}, limit))
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
for name, text in texts({characters}):
    print(name, flush=True)
    seconds(read, text, time.process_time)
print("done")
"""


def test_there_are_texts_of_every_kind() -> None:
    assert len(PARTS) >= 47
    made = list(texts(10_000))
    assert len(made) == len({name for name, _ in made}) == len(PARTS) * len(FRAMES)
    assert all(5_000 < len(text) < 12_000 for _, text in made)


@pytest.mark.parametrize("reader", ["canonical", "boxes", "row", "final", "typeset"])
def test_a_reader_ends(reader: str) -> None:
    assert reader in readers()
    code = CODE.format(characters=CHARACTERS, seconds=SECONDS, memory=8 << 30)
    done = subprocess.run([sys.executable, "-c", code, reader], capture_output=True, text=True)
    assert done.stdout.endswith("done\n"), done.stdout.rpartition("\n")[0][-100:] + done.stderr
