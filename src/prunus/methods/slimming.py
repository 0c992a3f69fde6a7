"""Network slimming: a penalty on the scales of batch norms while training, then the smallest scales of the whole network go.

Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming" (arXiv 1708.06519): L = cross-entropy + s * sum |gamma|, s =
1e-4 for VGG and 1e-5 for deep ResNets. The choice is `prunus.plan(graph, prunus.scores.bn_scale(graph), rate=..., scope="global")`; the removal is
any of `prunus.compact`.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunus._arguments import door
from prunus.errors import PlanError
from prunus.training.objective import Loss

STRENGTH = 1e-4


@door()
def slimming_loss(model: nn.Module, strength: float = STRENGTH) -> Loss:
    """Cross-entropy and the penalty, a loss for `prunus.training.train`.

    Its subgradient at 0 is 0, as in the authors' code, which adds s * sign(gamma) to the gradients.

    Args:
        model: the network that is trained.
        strength: s.

    Raises:
        PlanError: the model has no batch norm with a scale.
    """
    scales = [module.weight for module in model.modules() if isinstance(module, _BatchNorm) and module.affine]
    if not scales:
        raise PlanError(f"{type(model).__name__} has no batch norm with a scale, so there is nothing to slim by.")

    def loss(outputs: Tensor, targets: Any) -> Tensor:
        penalty = sum((scale.abs().sum() for scale in scales), start=outputs.new_zeros(()))
        return F.cross_entropy(outputs, targets) + strength * penalty

    return loss
