#!/usr/bin/env bash
# Make .venv with every package of requirements.txt, checked by hash, or say in one line what is
# missing. With another lock as its argument, add its packages to the .venv that is there. uv, which installs in a tenth of pip's time, is fetched with pip unless it is on the path.
set -euo pipefail
LOCK=${1:-requirements.txt}
case $LOCK in
  requirements.txt) SIZE=9000 ;; # megabytes of .venv
  *) SIZE=1000 ;;                # megabytes that the other lock adds
esac

fail() { echo "error: $1" >&2 && exit 2; }

# The end of a failed command's output, on one line.
words() { grep -v WARNING <<<"$1" | tail -n 8 | tr -s '[:space:]' ' '; }

# try WHAT COMMAND...: run a command without its output; when it fails, say what failed and why.
try() {
  local output what=$1
  shift
  output=$("$@" 2>&1) || fail "$what: $(words "$output")"
}

[ "$(uname -s)" = Linux ] ||
  fail "$(uname -s): some packages are made for Linux alone; use a container or virtual machine of it"
for name in awk df flock git; do
  command -v "$name" >/dev/null || fail "$name is missing; on Debian and Ubuntu: apt install $name"
done
exec 9<requirements.txt
flock --nonblock 9 || fail "another set-up is under way in this folder; wait for it"

is_312() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null; }
for python in ${PYTHON:+"$PYTHON"} python3.12 python3 python ""; do
  [ -n "$python" ] || fail "Python 3.12 is needed; set PYTHON=/path/to/python3.12"
  is_312 "$python" && break
  [ -z "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is not Python 3.12"
done
# From a link to a Python that was built for another folder, venv makes one that does not start.
python=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
  fail "$python has no venv; on Debian and Ubuntu: apt install python3.12-venv"

# The newest glibc that a wheel requires: libtpu's; on ARM, where libtpu has no wheel, xprof's.
machine=$("$python" -c 'import sysconfig; print(sysconfig.get_platform())')
case $machine in
  linux-x86_64) glibc=2.31 absent="" ;;
  linux-aarch64) glibc=2.35 absent=libtpu ;;
  *) fail "$machine: some packages are made for Linux on x86_64 and aarch64 alone" ;;
esac
libc=$("$python" -c 'import os; print(os.confstr("CS_GNU_LIBC_VERSION"))' 2>/dev/null) ||
  libc="another libc"
minor=${libc#glibc 2.}
[[ $libc == "glibc 2."* && ${minor%%[!0-9]*} -ge ${glibc#2.} ]] ||
  fail "the packages need glibc $glibc or newer, and this system has $libc"

echo "Setting up .venv: $((SIZE / 1000)) GB of packages, one to a few minutes"
[ "$LOCK" != requirements.txt ] ||
  try "no .venv can be made here" "$python" -m venv --clear .venv
export PATH="$PWD/.venv/bin:$PATH"
if ! command -v uv >/dev/null; then
  # The lines of requirements.txt that pin uv and its hashes.
  awk '/^uv==/ {p = 1} p {print} p && !/\\$/ {exit}' requirements.txt >.venv/uv.txt
  try "the package index (pip's setting index-url) cannot be reached or has no uv" \
    env PIP_USER=0 python -m pip install --quiet --require-hashes --requirement .venv/uv.txt
fi
# uv does not read pip's configuration, so pip's index and certificates are passed on to uv.
# ("pip config get" would read the user's file alone.)
setting() { python -m pip config list 2>/dev/null | sed -n "s/^global\.$1='\(.*\)'\$/\1/p"; }
index=${PIP_INDEX_URL:-$(setting index-url)} certificates=${PIP_CERT:-$(setting cert)}
[ -z "$index" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
[ -z "$certificates" ] || export SSL_CERT_FILE=${SSL_CERT_FILE:-$certificates}

# uv unpacks into a cache and links from there. If the home is not writable, the cache is in .venv.
cache=$(uv cache dir)
if ! mkdir -p "$cache" 2>/dev/null || ! [ -w "$cache" ]; then
  cache=$PWD/.venv/cache
  mkdir "$cache"
fi
if [ -n "$absent" ]; then
  echo "Without $absent, which has no wheel for $machine"
  echo "$absent" >.venv/absent.txt
fi
install=(uv pip install --cache-dir "$cache" --python .venv/bin/python --require-hashes
  --requirement requirements.txt ${absent:+--excludes .venv/absent.txt})
[ "$LOCK" = requirements.txt ] || install+=(--requirement "$LOCK")
plan=$("${install[@]}" --dry-run 2>&1) || fail "not every package can be had: $(words "$plan")"
new=0
[[ ! $plan =~ "Would download "([0-9]+) ]] || new=${BASH_REMATCH[1]}
all=$(grep -c '^[^ #]*==' "$LOCK")

# room FOLDER MEGABYTES: fail unless they are free there.
filesystem() { df -Pk "$1" | awk 'NR == 2 {print $NF}'; }
room() {
  local free
  free=$(df -Pk "$1" | awk 'NR == 2 {print int($4 / 1000)}')
  [ "$free" -ge "$2" ] || fail "$1: the packages need $2 MB there, and $free MB are free"
}
room "$cache" $((new * SIZE / all))
[ "$(filesystem "$cache")" = "$(filesystem .)" ] || room "$PWD" "$SIZE"
try "the packages could not be installed" "${install[@]}" --quiet
rm -rf .venv/cache
