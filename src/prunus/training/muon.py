"""Orthogonalised momentum for the kernels of convolutions, and AdamW for everything else.

Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"): the momentum of a matrix
is replaced by the orthogonal matrix nearest to it, so that a step changes all directions alike. Its length
is that of an AdamW step (Liu et al. 2025, "Muon is scalable for LLM training", arXiv 2502.16982), so that one
learning rate serves both.

Weights of linear layers get AdamW, which is our choice: the last one, which tells classes apart, is known to
be better off, and for a wide one the products cost more than a whole step of a small network on a processor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Jordan's quintic: singular values come to lie in (0.7, 1.2)
ITERATIONS = 5
_LENGTH = 0.2  # root mean square of an AdamW step, of its learning rate
_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class Muon(Optimizer):
    """See the module.

    Args:
        parameters: of a network; those of three and more dimensions are taken for kernels, (out, in, …).
        lr: learning rate.
        momentum: of the kernels, in Nesterov's form.
        weight_decay: decoupled, of all parameters.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 1e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """A step along the gradients that there are."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                if parameter.dim() > 2:
                    change = self._orthogonal(parameter, group["momentum"])
                else:
                    change = self._adaptive(parameter)
                parameter.add_(change, alpha=-group["lr"])

    def _orthogonal(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """The change of a kernel, but for the learning rate."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(state["momentum_buffer"], momentum)
        matrix = ahead.flatten(1)
        change = orthogonalised(matrix) * (_LENGTH * math.sqrt(max(matrix.shape)))
        return change.reshape(parameter.shape)

    def _adaptive(self, parameter: nn.Parameter) -> Tensor:
        """The change of anything else."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if "step" not in state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        first, second, (low, high) = state["exp_avg"], state["exp_avg_sq"], _BETAS
        first.lerp_(gradient, 1 - low)
        second.mul_(high).addcmul_(gradient, gradient, value=1 - high)
        steps = float(state["step"])
        root = (second / (1 - high**steps)).sqrt_().add_(_EPSILON)
        change: Tensor = first / (1 - low**steps) / root
        return change


def orthogonalised(matrix: Tensor) -> Tensor:
    """Nearly the orthogonal matrix nearest to one, (rows, columns), by Newton and Schulz's iteration: its
    singular values become about 1, and its singular vectors stay.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.mT if tall else matrix
    x = x / (torch.linalg.vector_norm(x) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x
