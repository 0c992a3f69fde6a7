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
from collections.abc import Iterable, Sequence
from typing import cast

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
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not moving:
                continue
            torch._foreach_mul_(moving, 1 - group["lr"] * group["weight_decay"])
            self._turn([one for one in moving if one.dim() > 2], group["lr"], group["momentum"])
            self._adapt([one for one in moving if one.dim() < 3], group["lr"])

    def _turn(self, kernels: list[nn.Parameter], lr: float, momentum: float) -> None:
        """The step of kernels, as matrices (out, in * …); those of one shape at once."""
        if not kernels:
            return
        for kernel in kernels:
            if "momentum_buffer" not in self.state[kernel]:
                self.state[kernel]["momentum_buffer"] = torch.zeros_like(kernel)
        gradients = _gradients(kernels)
        buffers = [self.state[kernel]["momentum_buffer"] for kernel in kernels]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        ahead = torch._foreach_lerp(gradients, buffers, momentum)
        for places in _alike(ahead):
            matrices = torch.stack([ahead[place].flatten(1) for place in places])
            length = lr * _LENGTH * math.sqrt(max(matrices.shape[1:]))
            for place, change in zip(places, orthogonalised(matrices), strict=True):
                kernels[place].add_(change.view(kernels[place].shape), alpha=-length)

    def _adapt(self, parameters: list[nn.Parameter], lr: float) -> None:
        """The step of anything else."""
        if not parameters:
            return
        states = [self.state[parameter] for parameter in parameters]
        for state, parameter in zip(states, parameters, strict=True):
            if "step" not in state:
                state["step"] = torch.zeros(())
                for name in ("exp_avg", "exp_avg_sq"):
                    state[name] = torch.zeros_like(parameter)
            state["step"] += 1
        gradients = _parts(_gradients(parameters))
        firsts, seconds = (_parts([state[name] for state in states]) for name in ("exp_avg", "exp_avg_sq"))
        low, high = _BETAS
        torch._foreach_lerp_(firsts, gradients, 1 - low)
        torch._foreach_mul_(seconds, high)
        torch._foreach_addcmul_(seconds, gradients, gradients, 1 - high)
        steps = [float(state["step"]) for state in states]
        roots = torch._foreach_div(seconds, [1 - high**step for step in steps])
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, _EPSILON)
        torch._foreach_addcdiv_(_parts(parameters), firsts, roots, [-lr / (1 - low**step) for step in steps])


def orthogonalised(matrices: Tensor) -> Tensor:
    """Nearly the orthogonal matrix nearest to one, (…, rows, columns), by Newton and Schulz's iteration: its
    singular values become about 1, and its singular vectors stay.

    A step multiplies a matrix by a polynomial of its products with itself, (…, rows, rows). All of these have
    the same singular vectors, so the steps are made on them, which are smaller, and the matrix is multiplied
    once.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mH if tall else matrices
    x = x / (torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True) + 1e-7)
    square = x @ x.mH
    turn: Tensor | None = None
    for number in range(ITERATIONS):
        factor = b * square + c * square @ square
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        turn = factor if turn is None else factor @ turn
        if number + 1 < ITERATIONS:
            square = factor @ square @ factor
    assert turn is not None
    x = turn @ x
    return x.mH if tall else x


def _parts(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Real tensors as they are, and complex ones as their real and imaginary parts, which lie in the same
    memory.
    """
    return [torch.view_as_real(one) if one.is_complex() else one for one in tensors]


def _gradients(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [cast(Tensor, parameter.grad) for parameter in parameters]


def _alike(tensors: Sequence[Tensor]) -> Iterable[list[int]]:
    """Places of those that can be computed with together."""
    found: dict[object, list[int]] = {}
    for place, tensor in enumerate(tensors):
        alike = (tensor.shape[0], tensor.numel(), tensor.dtype, tensor.device)
        found.setdefault(alike, []).append(place)
    return found.values()
