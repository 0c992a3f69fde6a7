"""A trained network teaches a smaller one (Hinton, Vinyals and Dean 2015, arXiv 1503.02531)."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._foundation.arguments import checked, one_each, shaped
from prunus._foundation.wording import given
from prunus.errors import ConfigError

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
    def __init__(self, network: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.network, self.teacher = network, copy.deepcopy(teacher).requires_grad_(False)

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Logits of both in training, (batch, 2, classes); in evaluation those of the network. Raises
        ConfigError where they are not of one shape.
        """
        own: Tensor = self.network(*inputs, **named)
        if not self.training:
            return own
        other = self.teacher.eval()(*inputs, **named)
        if not isinstance(own, Tensor) or not isinstance(other, Tensor) or own.shape != other.shape:
            raise ConfigError(
                f"Network and teacher must give logits of one shape (batch, classes), not {given(own)} and"
                f" {given(other)}."
            )
        return torch.stack([own, other], 1)


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
