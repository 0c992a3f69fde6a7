"""A data filter: a small network learns beside the large one, and says what is worth the large one's time.

Jordan 2024, airbench96 (github.com/KellerJordan/cifar10-airbench): a proxy sees larger batches, and the large
network trains on the half of each that has the largest losses there. There the proxy is trained first and the
batches are written down; here both go on together, epoch by epoch, so that nothing need be kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus._foundation.arguments import checked
from prunus._foundation.made import remembers
from prunus.errors import ConfigError
from prunus.selection.losses import batchwise_largest
from prunus.selection.rules import Selection, checked_keep

BATCH = 1024  # samples that are weighed against each other
_EVERY = 4  # the proxy learns from every fourth batch of what was kept


class Proxy:
    """A small network of its own, which learns with momentum at a rate that falls to nothing.

    Args:
        network: images (n, C, H, W) to logits (n, classes); it is changed.
        images, labels: (N, C, H, W) bytes and (N,), the training samples.
        normalise: (mean, std) of every plane, in units of 0..1.
        lr: the rate it begins with.
    """

    @checked(ConfigError)
    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        normalise: tuple[Sequence[float], Sequence[float]],
        lr: float = 0.1,
    ) -> None:
        self._network, self._images, self._labels, self._lr = network, images, labels, lr
        self._mean, self._std = (
            255 * torch.tensor(list(one), device=images.device).view(-1, 1, 1) for one in normalise
        )
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        if not parameters:
            raise ConfigError("The proxy has no parameter that requires a gradient, so it cannot learn.")
        self._optimizer = torch.optim.SGD(parameters, lr, momentum=0.9, nesterov=True, weight_decay=5e-4)

    @torch.no_grad()
    def losses(self) -> NDArray[np.float64]:
        """Its loss on every sample, (N,), in evaluation mode."""
        self._network.eval()
        parts = torch.split(torch.arange(len(self._images)), BATCH)
        return np.asarray(torch.cat([self._loss(part) for part in parts]).double().cpu().numpy())

    def learn(self, samples: NDArray[np.int64], progress: float) -> None:
        """A step from every fourth batch of some samples, in their order; `progress` is the part of the
        training that is done.
        """
        self._network.train()
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr * (1 - progress)
        with torch.enable_grad():
            for part in torch.split(torch.from_numpy(samples), BATCH // _EVERY)[::_EVERY]:
                if len(part) > 1:  # batch norm has nothing to normalise one by
                    self._optimizer.zero_grad(set_to_none=True)
                    self._loss(part).mean().backward()  # type: ignore[no-untyped-call]
                    self._optimizer.step()

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {"network": dict(self._network.state_dict()), "optimizer": self._optimizer.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _loss(self, part: Tensor) -> Tensor:
        device = next(self._network.parameters()).device
        images = ((self._images[part.to(self._images.device)] - self._mean) / self._std).to(device)
        targets = self._labels[part.to(self._labels.device)].to(device)
        return F.cross_entropy(self._network(images), targets, reduction="none")


@remembers()
class Filtered:
    """A curriculum that keeps of every batch what a proxy has the largest losses on.

    Args:
        proxy: learns beside the network.
        count: samples.
        keep: part of every batch.
        batch: samples that are weighed against each other.
        seed: of the batches.
    """

    @checked(ConfigError)
    def __init__(
        self, proxy: Proxy, count: int, keep: float = 0.5, batch: int = BATCH, seed: int = 0
    ) -> None:
        self._proxy, self._count, self._keep, self._batch, self._seed = (
            proxy,
            count,
            checked_keep(keep),
            batch,
            seed,
        )
        self._learned = False

    def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
        """What the proxy finds hard, all in the first epoch; then it learns from that as well."""
        rng = np.random.default_rng((self._seed, epoch))
        if self._learned:
            found = batchwise_largest(self._proxy.losses(), self._keep, self._batch, rng)
        else:
            found = Selection(np.ones(self._count, dtype=bool))
        self._proxy.learn(rng.permutation(found.indices), epoch / epochs)
        self._learned = True
        return found

    def observe(self, samples: Tensor, losses: Tensor, correct: Tensor) -> None:
        """The losses of the large network are not looked at."""

    def state(self) -> dict[str, Any]:
        """That of the proxy."""
        return {**self._proxy.state(), "learned": self._learned}

    def restore(self, state: Mapping[str, Any]) -> None:
        """That of the proxy."""
        self._proxy.restore(state)
        self._learned = state["learned"]


def small_network(planes: int, classes: int) -> nn.Module:
    """What a proxy may be: two strided convolutions of 16 and 32 filters, and a classifier."""
    return nn.Sequential(
        nn.Conv2d(planes, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, classes),
    )
