"""A stand-in for the gcloud binary: hosts are folders here, host commands really run in them.

The folder in $WORLD holds scenario.json (what Google replies, in sequence, and how each start of
the training ends), state.json, calls.jsonl (every command line), bucket/ (steps saved) and a home
per host. Also plays, by its first word, the uv and the training of those hosts.

scenario.json:
  hosts         how many
  queue         states of the queued resource after a creation, in sequence; the last one stays
  create_error  what a creation is refused with
  ssh_errors    how many looks at the log fail before one does not
  attempts      for each start: step (saved), status (exit status for each host; "term" waits for
                SIGTERM, "deaf" outlives it, "vanish" leaves none, as a reboot), log, delay_s (for
                each host), leaves (the first host's leaves a process behind), then (what the queued
                resource is when this attempt has been seen once; PREEMPTED is a node's, under an
                active queued resource)
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

WORLD = Path(os.environ["WORLD"])
SCENARIO = json.loads((WORLD / "scenario.json").read_text())
STATE = WORLD / "state.json"


def load():
    if not STATE.exists():
        return {"exists": False, "looks": 0, "starts": 0, "lost": "", "ssh_errors": 0}
    return json.loads(STATE.read_text())


def fail(message, status=1):
    print(message, file=sys.stderr)
    sys.exit(status)


def homes():
    return [WORLD / f"host-{i}" for i in range(SCENARIO.get("hosts", 2))]


def wipe(state):
    for home in homes():
        # A file that is on its way aside may come after the listing.
        shutil.rmtree(home, ignore_errors=True)
    state["lost"] = ""


def queue_state(state):
    if state["lost"] not in ("", "PREEMPTED"):
        return state["lost"]
    queue = SCENARIO.get("queue", ["ACTIVE"])
    return queue[min(state["looks"], len(queue) - 1)]


def attempt(state):
    return SCENARIO["attempts"][state["starts"] - 1]


def begun(number):
    """Whether the training of a start has begun on every host."""
    return all((WORLD / f"begun-{number}-{i}").exists() for i in range(len(homes())))


def wait_until(true):
    end = time.monotonic() + 60
    while not true() and time.monotonic() < end:
        time.sleep(0.01)


def ssh(state, worker, command):
    if queue_state(state) != "ACTIVE" or state["lost"]:
        fail("ERROR: (gcloud.compute.tpus.tpu-vm.ssh) the TPU is in an unusable state", 255)
    words = command.split()
    if "log" in words and state["ssh_errors"] < SCENARIO.get("ssh_errors", 0):
        state["ssh_errors"] += 1
        STATE.write_text(json.dumps(state))
        fail("ERROR: (gcloud.compute.tpus.tpu-vm.ssh) [/usr/bin/ssh] exited with code [255].", 255)
    if "start" in words:
        state["starts"] += 1
    if " probe;" in command:
        state["ended"] = all((home / "tinymathreason.state/status").exists() for home in homes())
    statuses = []
    for i, home in enumerate(homes()):
        if worker not in ("all", str(i)):
            continue
        home.mkdir(exist_ok=True)
        environment = {
            "PATH": f"{WORLD / 'bin'}:{os.environ['PATH']}",
            "HOME": str(home),
            "WORLD": str(WORLD),
            "HOST": str(i),
            "ATTEMPT": str(state["starts"]),
        }
        found = subprocess.run(["bash", "-c", command], cwd=home, env=environment)
        statuses.append(found.returncode)
    # What follows in a test follows the training's beginning, however slow the machine is.
    if "start" in words and not any(statuses):
        wait_until(lambda: begun(state["starts"]))
    if "log" in words and state["starts"]:
        mine = attempt(state)
        # Hosts that end by themselves have been seen to end before the slice goes.
        if state.get("ended") or not all(isinstance(status, int) for status in mine["status"]):
            state["lost"] = mine.get("then", "")
    return max(statuses)


def gcloud(words):
    with (WORLD / "calls.jsonl").open("a") as file:
        file.write(json.dumps(words) + "\n")
    state = load()
    status = 0
    if words[:2] == ["storage", "ls"]:
        saved = [path.name for path in (WORLD / "bucket").iterdir()]
        if not saved:
            fail("ERROR: (gcloud.storage.ls) One or more URLs matched no objects.")
        print("\n".join(word.replace("*", name) for word in words[2:] for name in saved))
        return
    flags = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--"))
    group, verb = words[2:4]
    missing = f"ERROR: (gcloud.compute.tpus.{group}.{verb}) NOT_FOUND: Resource not found"
    if (group, verb) == ("queued-resources", "create"):
        if "create_error" in SCENARIO:
            fail(f"ERROR: (gcloud.compute.tpus.queued-resources.create) {SCENARIO['create_error']}")
        wipe(state)
        state |= {"exists": True, "looks": 0}
    elif not state["exists"] or state["lost"] == "ABSENT":
        fail(missing)
    elif (group, verb) == ("queued-resources", "describe"):
        if flags["format"] != "value(state.state)":
            print("no capacity here")
        else:
            print(queue_state(state))
            state["looks"] += 1
    elif verb == "describe":
        print("PREEMPTED" if state["lost"] else "READY")
    elif verb == "delete":
        wipe(state)
        state["exists"] = False
    elif verb == "scp":
        for home in homes():
            home.mkdir(exist_ok=True)
            shutil.copy(words[4], home)
    elif verb == "ssh":
        status = ssh(state, flags["worker"], flags["command"])
    else:
        fail(f"unknown command: {words}", 2)
    STATE.write_text(json.dumps(state))
    sys.exit(status)


def uv(words):
    with (WORLD / "uv.jsonl").open("a") as file:
        file.write(json.dumps(words) + "\n")
    if words[0] == "venv":
        python = Path(".venv/bin/python")
        python.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(WORLD / "bin" / "trainer", python)


def trainer(words):
    host = int(os.environ["HOST"])
    mine = SCENARIO["attempts"][int(os.environ["ATTEMPT"]) - 1]
    status = mine["status"][host]
    ended = []
    if status in ("term", "deaf"):
        signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    print(f"training {' '.join(words[2:])}", flush=True)
    if mine.get("step") is not None:
        (WORLD / "bucket" / str(mine["step"])).touch()
    (WORLD / f"begun-{os.environ['ATTEMPT']}-{host}").touch()
    wait_until(lambda: begun(os.environ["ATTEMPT"]))
    print(mine.get("log", f"attempt {os.environ['ATTEMPT']} on host {host}"), flush=True)
    time.sleep(mine.get("delay_s", [0] * 9)[host])
    if mine.get("leaves") and host == 0:
        subprocess.Popen(["sleep", "30"], close_fds=False)
    if status == "vanish":
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    home = Path(os.environ["HOME"])
    # A test that was killed leaves its folder there: nothing outlives it for long.
    end = time.monotonic() + 120
    while status in ("term", "deaf") and home.exists() and time.monotonic() < end:
        if ended and status == "term":
            sys.exit(75)
        time.sleep(0.01)
    sys.exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    {"gcloud": gcloud, "uv": uv, "trainer": trainer}[sys.argv[1]](sys.argv[2:])
