#!/usr/bin/env bash
# Build a mixture of ArrayRecord files: bash data_prep/build_mixture.sh [RECIPE.yaml] [key=value ...]
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
python=python
[ -x "$here/../.venv/bin/python" ] && python=$here/../.venv/bin/python
exec "$python" -m data_prep.build "$@"
