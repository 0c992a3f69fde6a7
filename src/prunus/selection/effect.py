"""Effect values: how much a network can still learn from an aggregated point; higher = more."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._foundation.arguments import checked, one_each, shaped
from prunus.errors import ConfigError


@checked(ConfigError)
def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """log(sum_p exp(y_p - y_max)) + y_max - y_t, shape (n,) float32: cross-entropy with the largest output
    taken out first.

    Our reading of paper A's symbols (its Eq. 1 is not in the public record).
    """
    _check(logits, labels)
    y = logits.float()
    top = y.amax(1)
    return (y - top[:, None]).exp().sum(1).log() + top - _true(y, labels)


@checked(ConfigError)
def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """y_max - y_t, shape (n,): 0 where the prediction is right."""
    _check(logits, labels)
    y = logits.float()
    return y.amax(1) - _true(y, labels)


@checked(ConfigError)
def doubt(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - softmax(y)_t, shape (n,): the probability given to the wrong classes."""
    _check(logits, labels)
    return 1 - _true(logits.float().softmax(1), labels)


@checked(ConfigError)
def pixel_divergence(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy of every pixel above the least that it can be, averaged over the picture, shape (n,) (our
    choice for segmentation).

    An aggregated point's mask is blurred, and no network can know it better than by its shares: what is left
    is the Kullback-Leibler divergence.

    Args:
        logits: (n, classes, H, W); or (n, 1, H, W), where the logistic function gives the probability of the
            second of two classes.
        shares: (n, classes, H, W), of the classes in every pixel.
    """
    shaped("n, classes, H, W", logits=logits, shares=shares)
    y = logits.float()
    log_p = torch.cat([F.logsigmoid(-y), F.logsigmoid(y)], 1) if y.shape[1] == 1 else y.log_softmax(1)
    return (torch.xlogy(shares, shares) - shares * log_p).sum(1).mean((1, 2))


@checked(ConfigError)
def gradient_norm(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Squared L2 norm of the gradient of each point's own cross-entropy by the weights of the first
    convolution, shape (n,).

    SlimML (Han et al., TKDE 2021) scores by what a point would change there. The model must be in evaluation
    mode, so that points do not meet.

    Raises ConfigError if there is no convolution over images, or the first one works in groups.
    """
    shaped("n, planes, H, W", images=images)
    one_each("labels", labels, "images", len(images))
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None or first.groups != 1 or isinstance(first.padding, str) or first.padding_mode != "zeros":
        raise ConfigError(
            f"The gradient norm needs a plain convolution as first layer, which {type(model).__name__} does"
            " not have."
        )
    seen: list[tuple[Tensor, Tensor]] = []
    hook = first.register_forward_hook(lambda module, args, output: seen.append((args[0], output)))
    try:
        with torch.enable_grad():
            loss = F.cross_entropy(model(images).float(), labels, reduction="sum")
            inputs, outputs = seen[0]
            (slopes,) = torch.autograd.grad(loss, outputs)
    finally:
        hook.remove()
    # (n, C k k, pixels)
    patches = F.unfold(inputs.detach(), first.kernel_size, first.dilation, first.padding, first.stride)
    gradients: Tensor = slopes.flatten(2) @ patches.transpose(1, 2)  # (n, filters, C k k)
    return gradients.flatten(1).float().square().sum(1)


@checked(ConfigError)
def el2n(logits: Tensor, labels: Tensor) -> Tensor:
    """||softmax(y) - onehot(t)||_2, shape (n,): a static score of samples early in a training (Paul et al.,
    NeurIPS 2021).
    """
    _check(logits, labels)
    wrong = logits.float().softmax(1) - F.one_hot(labels, logits.shape[1])
    distance: Tensor = torch.linalg.vector_norm(wrong, dim=1)
    return distance


def _check(logits: Tensor, labels: Tensor) -> None:
    shaped("n, classes", logits=logits)
    one_each("labels", labels, "rows of logits", len(logits))


def _true(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(1, labels[:, None])[:, 0]
