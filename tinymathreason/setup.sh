#!/usr/bin/env bash
# Make .venv with every package of requirements.txt, checked by hash. Needs Python 3.12 alone: uv,
# which installs in a tenth of pip's time, is fetched with pip where it is not on the path.
set -euo pipefail
is_312() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null; }
for python in "${PYTHON:-python3.12}" python3.12 python3 python ""; do
  [ -n "$python" ] || { echo "error: Python 3.12 is needed; set PYTHON=/path/to/python3.12" >&2; exit 2; }
  is_312 "$python" && break
done
echo "Setting up .venv: 7.7 GB of packages, one to a few minutes"
"$python" -m venv --clear .venv
export PATH="$PWD/.venv/bin:$PATH"
if ! command -v uv >/dev/null; then
  # The block of lines of requirements.txt that pins uv and its hashes.
  awk '/^uv==/ {p = 1} p {print} p && !/\\$/ {exit}' requirements.txt > .venv/uv.txt
  python -m pip install --quiet --require-hashes --requirement .venv/uv.txt
fi
# uv does not read pip's configuration: where pip was told of another index, uv is told too.
index=${PIP_INDEX_URL:-$(python -m pip config get global.index-url 2>/dev/null || true)}
[ -z "$index" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
uv pip install --quiet --python .venv/bin/python --require-hashes --requirement requirements.txt
