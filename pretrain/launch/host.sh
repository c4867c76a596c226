#!/usr/bin/env bash
# What `python -m pretrain.launch` runs on every host of a slice, in the checkout that it made there:
#   free                fails when a training runs or another installation is under way
#   install [COMMAND]   Python 3.12 and what pretraining needs, by the lock's hashes; then COMMAND
#   start WORD...       start `python -m maxtext.train WORD...`, unless it runs; returns at once
#   probe               one line of tabs, read by pretrain/launch/outcome.py
#   log OFFSET          the training's log from this byte on
#   stop                SIGTERM, so that it saves; remembered as the operator's wish
#   halt                SIGKILL, for a host that outlives the others
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# Beside the checkout. The lock is held as long as the training runs: unlike a process id it is never
# another's, and after a reboot it is free.
state=../tinymathreason.state
mkdir -p "$state"

fail() { echo "error: $(hostname): $1" >&2 && exit 1; }

# Probes share the lock, so that one never takes another for a training.
running() { ! flock --shared --nonblock "$state/lock" true; }

free() {
  ! running || fail "a training runs here"
  flock --nonblock "$state/install.lock" true || fail "another installation is under way"
}

install() {
  exec 8>"$state/install.lock"
  flock --nonblock 8 || fail "another installation is under way"
  export PATH="$HOME/.local/bin:$PATH"
  if ! command -v uv >/dev/null; then
    # The lines of the lock that pin uv and its hashes. The images' own Python is older than 3.12.
    awk '/^uv==/ {p = 1} p {print} p && !/\\$/ {exit}' requirements.txt >"$state/uv.txt"
    python3 -m pip install --quiet --user --require-hashes --requirement "$state/uv.txt"
  fi
  uv venv --quiet --clear --python 3.12 .venv
  # The extra says what is needed, the lock which version; uv checks the hashes of its constraints.
  # hatchling and editables build the project itself.
  printf 'hatchling\neditables\n' >"$state/build.txt"
  uv pip install --quiet --python .venv/bin/python --constraint requirements.txt \
    --requirement pyproject.toml --extra pretrain --requirement "$state/build.txt"
  PATH="$PWD/.venv/bin:$PATH" uv pip install --quiet --python .venv/bin/python --no-deps \
    --no-build-isolation --editable .
  # Without the lock, which what COMMAND leaves behind (gcsfuse does) would go on holding.
  [ -z "${1:-}" ] || bash -euo pipefail -c "$1" 8>&-
}

start() {
  exec 9>"$state/lock"
  flock --wait 5 9 || { echo "$(hostname): runs already"; return; }
  rm -f "$state/status" "$state/pid" "$state/stopped"
  [ ! -f "$state/log" ] || mv "$state/log" "$state/log.previous"
  printf '\t%s' "$@" >"$state/words"
  # A session of its own: the end of the ssh connection does not reach it.
  setsid bash pretrain/launch/host.sh work "$@" >"$state/log" 2>&1 </dev/null &
}

work() {
  # Without the lock, which a process that the training leaves behind would go on holding.
  .venv/bin/python -m maxtext.train "$@" 9>&- &
  echo $! >"$state/pid"
  local status=0
  wait $! || status=$?
  echo "$status" >"$state/status.partial"
  mv "$state/status.partial" "$state/status"
}

probe() {
  local kind=idle status=- ended=0 memory=- stopped=- size=0 words=
  [ ! -f "$state/words" ] || { kind=lost && words=$(<"$state/words"); }
  if running; then
    kind=running
  elif [ -f "$state/status" ]; then
    kind=ended status=$(<"$state/status") ended=$(stat --format %.3Y "$state/status")
    # Not `grep -q`, which would end before tail has written everything.
    if [ "$status" != 0 ] && tail -n 200 "$state/log" | grep RESOURCE_EXHAUSTED >/dev/null; then
      memory=out_of_memory
    fi
  fi
  [ ! -f "$state/stopped" ] || stopped=stopped
  [ ! -f "$state/log" ] || size=$(stat --format %s "$state/log")
  printf '@host\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s%s\n' "$(hostname)" "$kind" "$status" "$ended" \
    "$memory" "$stopped" "$size" "$(git rev-parse HEAD)" "$words"
}

log() { tail -c "+$(($1 + 1))" "$state/log"; }

signal() {
  running || return 0
  until [ -s "$state/pid" ] || ! running; do sleep 0.1; done
  # It may have ended in between.
  kill "-$1" "$(<"$state/pid")" 2>/dev/null || true
}

stop() { touch "$state/stopped" && signal TERM; }

halt() { signal KILL; }

"$@"
