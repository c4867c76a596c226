#!/usr/bin/env bash
# Commands for a host of a slice, run by `python -m pretrain.launch` in the host's checkout:
#   free                fail when a training or an installation is running
#   install [COMMAND]   install Python 3.12 and the locked packages of pretraining; run COMMAND
#   start ARGUMENT...   start `python -m maxtext.train ARGUMENT...` unless it runs; do not wait
#   probe               print a tab-separated line for pretrain/launch/outcome.py
#   log OFFSET          print the training's log from this byte on
#   stop                send SIGTERM, so that the training saves; note that the operator wants it
#   halt                send SIGKILL, to a host that outlives the others
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# The state lies beside the checkout. The lock is held while the training runs. Unlike a process id, a
# lock cannot belong to another process, and a reboot releases it.
state=../tinymathreason.state
mkdir -p "$state"

fail() { echo "error: $(hostname): $1" >&2 && exit 1; }

# Probes take a shared lock, so that one probe does not take another for a training.
running() { ! flock --shared --nonblock "$state/lock" true; }

free() {
  ! running || fail "a training runs here"
  flock --nonblock "$state/install.lock" true || fail "another installation is running"
}

install() {
  exec 8>"$state/install.lock"
  flock --nonblock 8 || fail "another installation is running"
  export PATH="$HOME/.local/bin:$PATH"
  if ! command -v uv >/dev/null; then
    # The lines of requirements.txt that pin uv. The images' own Python is older than 3.12.
    awk '/^uv==/ {p = 1} p {print} p && !/\\$/ {exit}' requirements.txt >"$state/uv.txt"
    python3 -m pip install --quiet --user --require-hashes --requirement "$state/uv.txt"
  fi
  uv venv --quiet --clear --python 3.12 .venv
  # The extra lists the packages, the lock gives their versions, and uv checks the lock's hashes.
  # hatchling and editables build the project itself.
  printf 'hatchling\neditables\n' >"$state/build.txt"
  uv pip install --quiet --python .venv/bin/python --constraint requirements.txt \
    --requirement pyproject.toml --extra pretrain --requirement "$state/build.txt"
  PATH="$PWD/.venv/bin:$PATH" uv pip install --quiet --python .venv/bin/python --no-deps \
    --no-build-isolation --editable .
  # Without the lock: a process that COMMAND leaves behind, as gcsfuse does, would keep it.
  [ -z "${1:-}" ] || bash -euo pipefail -c "$1" 8>&-
}

start() {
  exec 9>"$state/lock"
  flock --wait 5 9 || { echo "$(hostname): already running"; return; }
  rm -f "$state/status" "$state/pid" "$state/stopped"
  [ ! -f "$state/log" ] || mv "$state/log" "$state/log.previous"
  printf '\t%s' "$@" >"$state/arguments"
  # In a session of its own, so that it outlives the ssh connection.
  setsid bash pretrain/launch/host.sh work "$@" >"$state/log" 2>&1 </dev/null &
}

work() {
  # Without the lock: a process that the training leaves behind would keep it.
  .venv/bin/python -m maxtext.train "$@" 9>&- &
  echo $! >"$state/pid"
  local status=0
  wait $! || status=$?
  echo "$status" >"$state/status.partial"
  mv "$state/status.partial" "$state/status"
}

probe() {
  local training=idle status=- ended=0 memory=- stopped=- size=0 arguments=
  [ ! -f "$state/arguments" ] || { training=lost && arguments=$(<"$state/arguments"); }
  if running; then
    training=running
  elif [ -f "$state/status" ]; then
    training=ended status=$(<"$state/status") ended=$(stat --format %.3Y "$state/status")
    # Not `grep -q`: it ends early, and then tail fails.
    if [ "$status" != 0 ] && tail -n 200 "$state/log" | grep RESOURCE_EXHAUSTED >/dev/null; then
      memory=out_of_memory
    fi
  fi
  [ ! -f "$state/stopped" ] || stopped=stopped
  [ ! -f "$state/log" ] || size=$(stat --format %s "$state/log")
  printf '@host\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s%s\n' "$(hostname)" "$training" "$status" "$ended" \
    "$memory" "$stopped" "$size" "$(git rev-parse HEAD)" "$arguments"
}

log() { tail -c "+$(($1 + 1))" "$state/log"; }

signal() {
  running || return 0
  until [ -s "$state/pid" ] || ! running; do sleep 0.1; done
  # The training may have ended meanwhile.
  kill "-$1" "$(<"$state/pid")" 2>/dev/null || true
}

stop() { touch "$state/stopped" && signal TERM; }

halt() { signal KILL; }

"$@"
