"""A trained network teaches a smaller one (Hinton, Vinyals and Dean 2015, arXiv 1503.02531)."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._foundation.arguments import checked, one_each, shaped

TEMPERATURE, SHARE = (
    4.0,
    0.9,
)  # of the loss that comes from the teacher; the rest is cross-entropy with the labels


class Taught(nn.Module):
    """A network beside its teacher, so that a loss sees what both say about the same augmented images; train
    it with `taught`.

    Args:
        network: is trained, in place.
        teacher: logits of the same shape; a copy of it is frozen, in eval mode.
    """

    @checked()
    @checked()
    def __init__(self, network: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.network, self.teacher = network, copy.deepcopy(teacher).requires_grad_(False)

    def forward(self, x: Any) -> Tensor:
        """Logits of both in training, (batch, 2, classes); in evaluation those of the network."""
        own: Tensor = self.network(x)
        if not self.training:
            return own
        return torch.stack([own, self.teacher.eval()(x)], 1)


@checked()
def taught(outputs: Tensor, labels: Tensor, temperature: float = TEMPERATURE, share: float = SHARE) -> Tensor:
    """share * T^2 * KL(teacher || network), both softened by the temperature T, + (1 - share) *
    cross-entropy; of every sample, shape (batch,).
    """
    shaped("batch, 2, classes", outputs=outputs)
    one_each("labels", labels, "outputs", len(outputs))
    own, other = outputs.float().unbind(1)
    apart = F.kl_div(
        F.log_softmax(own / temperature, 1),
        F.log_softmax(other / temperature, 1),
        reduction="none",
        log_target=True,
    ).sum(1)
    return share * temperature**2 * apart + (1 - share) * F.cross_entropy(own, labels, reduction="none")
