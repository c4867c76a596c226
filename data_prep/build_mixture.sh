#!/usr/bin/env bash
# Build a mixture of ArrayRecord files: bash data_prep/build_mixture.sh [RECIPE.yaml] [--key value ...]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)/..
python=python
[ -z "${VIRTUAL_ENV:-}" ] && [ -x "$root/.venv/bin/python" ] && python=$root/.venv/bin/python
exec "$python" -m data_prep.build "$@"
