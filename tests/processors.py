"""Runs the tests that depend on processor or load, as other and busier machines would.

python -m tests.processors [SETTING...]

One machine stands for others: its libraries use fewer of its instructions, or another number
of threads. As many settings run at once as there are cores. Prints a line for each setting
as it ends, and exits with 1 when a test failed in any.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

BUSY = "beside a busy process"
SETTINGS: dict[str, dict[str, str]] = {
    "as it is": {},
    "torch without AVX": {"ATEN_CPU_CAPABILITY": "default"},
    "torch with AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "MKL without AVX": {"MKL_CBWR": "COMPATIBLE"},
    "oneDNN with AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "XLA with AVX2": {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"},
    "2 threads": {"OMP_NUM_THREADS": "2"},
    # Otherwise MKL would limit torch to the number of cores.
    "4 threads": {"OMP_NUM_THREADS": "4", "MKL_DYNAMIC": "FALSE"},
    BUSY: {},
}
"""Environment variables by the name of a setting; `tests.test_processors` checks that they reach
the libraries. The number of threads is one unless a setting changes it."""
NAMES = sorted({name for values in SETTINGS.values() for name in values})


def run(setting: str) -> bool:
    """Run the tests of a setting and print its line; whether all passed."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    environment |= {"OMP_NUM_THREADS": "1", **SETTINGS[setting]}
    mark = "clock" if setting == BUSY else "processor"
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", mark]
    busy = f"import os\nwhile os.getppid() == {os.getpid()}: pass"
    beside = subprocess.Popen([sys.executable, "-c", busy]) if setting == BUSY else None
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    finally:
        if beside:
            beside.kill()
            beside.wait()
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or [""]
    if done.returncode:
        print(done.stdout, done.stderr, file=sys.stderr, flush=True)
    print(f"{setting:22} {lines[-1]}", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    chosen = sys.argv[1:] or list(SETTINGS)
    if unknown := set(chosen) - set(SETTINGS):
        sys.exit(f"unknown {', '.join(map(repr, unknown))}; accepted: {', '.join(SETTINGS)}")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        passed = list(pool.map(run, chosen))
    sys.exit(0 if all(passed) else 1)
