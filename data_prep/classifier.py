"""A linear classifier of texts: trained on two kinds of examples, applied to every document.

It is the model of fastText's text classification (Joulin et al. 2016, arXiv 1607.01759) without the
hidden layer: a weight for each word and each pair of neighbouring words, by their hash. The words
are those of `data_prep.text_hashing`, which the search for duplicates hashes anyway.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep.text_hashing import hashed_pieces, mix
from tinymathreason.cli import InputError
from tinymathreason.files import new_file

BITS = 20
"""Of a feature's number: 2**20 weights."""
WORDS = 1000
"""A text is judged by its first words."""
EPOCHS = 10
"""Passes over the examples."""
REGULARISATION = 1e-6
"""Weight of the squared norm of the weights in the loss."""
FORM = 1
"""Of the features and of the file; another one is trained anew."""
METADATA = "classifier"
"""The key of the file's header that holds what is known of the training, as JSON."""

Floats = npt.NDArray[np.float32]


def features(text: str) -> tuple[npt.NDArray[np.int64], Floats]:
    """Numbers of the words and pairs of words in a text, ascending, and a value for each.

    A value is the square root of how often it occurs; the values' norm is 1.
    """
    words = hashed_pieces(text)[0].words[:WORDS]
    pairs = mix(words[:-1] + mix(words[1:]))
    numbers, counts = np.unique(
        np.concatenate([words, pairs]) >> np.uint64(64 - BITS), return_counts=True
    )
    # The squares of the values are the counts, so that their norm is known.
    return numbers.astype(np.int64), np.sqrt(counts / max(1, counts.sum())).astype(np.float32)


@dataclass(frozen=True)
class Classifier:
    """The weights, and what is known of their training."""

    weights: Floats
    """A weight for each number of a feature, float32[2**BITS]."""
    bias: float
    """Added to the weighted sum of a text's values."""
    training: dict[str, Any]
    """Counts of the examples and the figures of held-out ones, as JSON; empty if untrained."""

    @classmethod
    def untrained(cls) -> "Classifier":
        """One that is sure of every text; a plan measures its speed."""
        return cls(np.zeros(1 << BITS, dtype=np.float32), 50.0, {})

    def probability(self, text: str) -> float:
        """How likely a text is of the positive kind, between 0 and 1."""
        numbers, values = features(text)
        score = float(np.dot(self.weights[numbers], values)) + self.bias
        return float(1 / (1 + np.exp(-score)))

    def save(self, path: Path) -> None:
        """Write a safetensors file, with the training as JSON in its header."""
        import safetensors.numpy

        tensors = {"weights": self.weights, "bias": np.array([self.bias], dtype=np.float64)}
        metadata = {METADATA: json.dumps(self.training, sort_keys=True)}
        with new_file(path) as aside:
            aside.write_bytes(safetensors.numpy.save(tensors, metadata))

    @classmethod
    def load(cls, path: Path) -> "Classifier":
        """The classifier in a file; `InputError` naming it when it is none."""
        import safetensors

        try:
            with safetensors.safe_open(path, framework="np") as file:
                weights, bias = file.get_tensor("weights"), file.get_tensor("bias")
                training = json.loads(file.metadata()[METADATA])
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: is no classifier: {error}") from error
        if weights.shape != (1 << BITS,) or bias.shape != (1,):
            raise InputError(f"{path}: is a classifier of another form; remove it")
        return cls(weights, float(bias[0]), training)


def matrix(texts: Iterable[str]) -> Any:
    """The features of texts, a `scipy.sparse.csr_array` of float32[texts, 2**BITS]."""
    import scipy.sparse

    parts = [features(text) for text in texts]
    ends = np.cumsum([0, *(len(numbers) for numbers, _ in parts)])
    numbers = np.concatenate([np.zeros(0, np.int64), *(numbers for numbers, _ in parts)])
    values = np.concatenate([np.zeros(0, np.float32), *(values for _, values in parts)])
    return scipy.sparse.csr_array(
        (values, numbers.astype(np.int32), ends.astype(np.int32)), shape=(len(parts), 1 << BITS)
    )


def regression(seed: int = 0) -> Any:
    """Logistic regression by averaged stochastic gradient descent; both kinds count alike."""
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(
        loss="log_loss",
        alpha=REGULARISATION,
        max_iter=EPOCHS,
        tol=None,
        average=True,
        class_weight="balanced",
        random_state=seed,
    )


def train(positives: Sequence[str], negatives: Sequence[str], seed: int = 0) -> Classifier:
    """The `regression` of the features of examples.

    The same examples in the same order give the same weights: there is one thread and one seed.
    """
    model = regression(seed)
    labels = np.repeat([1, 0], [len(positives), len(negatives)])
    model.fit(matrix([*positives, *negatives]), labels)
    return Classifier(model.coef_[0].astype(np.float32), float(model.intercept_[0]), {})


def quality(
    classifier: Classifier, positives: Sequence[str], negatives: Sequence[str]
) -> dict[str, float | None]:
    """Precision and recall on examples that were not trained on, at a probability of 0.5.

    The precision is that of equally many examples of both kinds. A figure without an example to
    measure it on is None.
    """
    hits, alarms = (
        sum(classifier.probability(text) >= 0.5 for text in texts) / len(texts) if texts else None
        for texts in (positives, negatives)
    )
    precision = None if hits is None or alarms is None or not hits else hits / (hits + alarms)
    return {"precision": precision, "recall": hits, "false_alarms": alarms}
