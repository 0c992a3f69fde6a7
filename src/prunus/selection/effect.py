"""Effect values: how much a network can still learn from an aggregated point; higher = more. All take logits (n, classes) and labels (n,)."""

from __future__ import annotations

from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """log(sum_p exp(y_p - y_max)) + y_max - y_t, shape (n,) float32: cross-entropy with the largest output taken out first.

    Our reading of paper A's symbols (its Eq. 1 is not in the public record).
    """
    y = logits.float()
    top = y.amax(1)
    return (y - top[:, None]).exp().sum(1).log() + top - _true(y, labels)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """y_max - y_t, shape (n,): 0 where the prediction is right."""
    y = logits.float()
    return y.amax(1) - _true(y, labels)


def doubt(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - softmax(y)_t, shape (n,): the probability given to the wrong classes."""
    return 1 - _true(logits.float().softmax(1), labels)


def _true(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(1, labels[:, None])[:, 0]
