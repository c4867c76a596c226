"""The forms of the scaling law: a measured value in the size of the model and the tokens.

Every form is a case of one function of N, the weights that multiply each token, and D, the tokens:

    value = E + (A / N^alpha + B / (N^kappa D^beta))^gamma

N counts the output head and not the embedding that is read, so that 6 N D are the operations of the
matrix products. Leaving out the head explains a part of why the laws of Kaplan and of Hoffmann
disagree (Porian et al. 2024, arXiv 2406.19146).
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def ends(level: float) -> tuple[float, float]:
    """The quantiles between which a central interval has a share ``level`` of the draws."""
    return (1 - level) / 2, (1 + level) / 2


NAMES = ("e", "a", "b", "alpha", "beta", "gamma", "kappa")
"""The parameters of a law: log E, log A, log B and the exponents."""
NONE = -30.0
"""The logarithm of a term that is absent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LawForm:
    """A form of the law."""

    formula: str
    """As it is printed."""
    source: str
    """Where it comes from."""
    fixed: Mapping[str, float]
    """Parameters that have this value."""
    free: tuple[tuple[str, ...], ...]
    """Parameters that are fitted; those of one group have the same value."""

    @property
    def base(self) -> Array:
        """The fixed parameters, [7], with zeros for the free ones."""
        return np.array([self.fixed.get(name, 0.0) for name in NAMES])

    @property
    def matrix(self) -> Array:
        """From the free values to the parameters, [7, free]."""
        return np.array([[float(name in group) for group in self.free] for name in NAMES])


FORMS = {
    "hoffmann": LawForm(
        formula="E + A / N^alpha + B / D^beta",
        source="Hoffmann et al. 2022, arXiv 2203.15556, equation 2",
        fixed={"gamma": 1.0, "kappa": 0.0},
        free=(("e",), ("a",), ("b",), ("alpha",), ("beta",)),
    ),
    "shared": LawForm(
        formula="E + A / N^alpha + B / D^alpha",
        source="Hoffmann's form with one exponent, as Besiroglu et al. 2024, arXiv 2404.10102, "
        "find it for Hoffmann's own runs (0.35 and 0.37)",
        fixed={"gamma": 1.0, "kappa": 0.0},
        free=(("e",), ("a",), ("b",), ("alpha", "beta")),
    ),
    "kaplan": LawForm(
        formula="(A / N^alpha + B / D)^gamma",
        source="Kaplan et al. 2020, arXiv 2001.08361, equation 1.5",
        fixed={"e": NONE, "beta": 1.0, "kappa": 0.0},
        free=(("a",), ("b",), ("alpha",), ("gamma",)),
    ),
    "product": LawForm(
        formula="E + B / (N^kappa D^beta)",
        source="Zhang et al. 2024, arXiv 2402.17193, equation 1: the size helps less the more "
        "tokens there are",
        fixed={"a": NONE, "alpha": 0.0, "gamma": 1.0},
        free=(("e",), ("b",), ("beta",), ("kappa",)),
    ),
}
"""The forms that are compared, by name."""


def log_value(parameters: Array, weights: Array, tokens: Array) -> Array:
    """The logarithm of the law's value for ``parameters`` [..., 7]; shapes broadcast.

    Parameters [draws, 1, 7] and runs' weights and tokens [runs] give [draws, runs].
    """
    return value_and_jacobian(np.moveaxis(parameters, -1, 0), np.log(weights), np.log(tokens))[0]


def value_and_jacobian(p: Array, n: Array, d: Array) -> tuple[Array, Array]:
    """The logarithm of the value at log N and log D, and its derivatives, [7, ...].

    ``p`` has the parameters in its first axis, in the order of `NAMES`.
    """
    e, a, b, alpha, beta, gamma, kappa = p
    of_size, of_tokens = a - alpha * n, b - kappa * n - beta * d
    inner = np.logaddexp(of_size, of_tokens)
    share = np.exp(of_size - inner)
    total = np.logaddexp(e, gamma * inner)
    above = np.exp(gamma * inner - total)
    by_size, by_tokens = above * gamma * share, above * gamma * (1 - share)
    jacobian = (
        1 - above, by_size, by_tokens, -by_size * n, -by_tokens * d, above * inner, -by_tokens * n,
    )  # fmt: skip
    return total, np.stack(np.broadcast_arrays(*jacobian))
