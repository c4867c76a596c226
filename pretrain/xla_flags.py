"""XLA's flags from MaxText's key ``compile_xla_flags``, for the program that trains.

MaxText 0.2.5 compiles the step with these flags only to print its memory, and drops the result:
the program that trains is compiled again by jax, without them. XLA reads flags for every program
from an environment variable as well, so `applied` puts them there.
"""

import os
from collections.abc import Mapping
from typing import Any

KEY = "compile_xla_flags"
VARIABLES = {"tpu": "LIBTPU_INIT_ARGS"}
"""The variable from which a library reads flags, by hardware; others read ``XLA_FLAGS``."""


def applied(config: Mapping[str, Any]) -> list[str]:
    """Set the variable of the flags in ``config``; the arguments for MaxText that replace the key.

    Call this before jax starts. Flags that the user has set in the variable come last and win.
    """
    flags = " ".join(config[KEY].replace("\\", " ").split())
    if not flags:
        return []
    variable = VARIABLES.get(config["hardware"], "XLA_FLAGS")
    os.environ[variable] = f"{flags} {os.environ.get(variable, '')}".strip()
    return [f'{KEY}=""']  # else the step is compiled twice
