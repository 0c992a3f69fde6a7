"""AutoPrune: every channel has an auxiliary number m, its gate is h(m) = 1[m > 0], and m learns on samples that the weights do not see.

Xiao, Wang and Rajasekaran 2019, "AutoPrune: Automatic Network Pruning by Regularizing Auxiliary Parameters" (NeurIPS 2019):

    w~ = w h(m)
    w <- w - lr dL_train/dw~ h(m)
    m <- m - gate_lr (sum dL_validation/dw~ sgn(w) h'(m) + regulariser)

in turns. h has no gradient, so h' is that of softplus; and sgn(w) stands for w, so that a channel's gradient does not fade with its weights and a
closed gate can open again. Our choices: gates on coupled channels, over whose numbers the gradient is summed; the regulariser is the l1 norm of the
open gates' m alone, for that of a closed one would pull it open; and the m of a group begin between 0 and 1 in the order of their filters' norms, as
channels that all stood at one height would all fall at one time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, repeat
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from prunus._arguments import at_least, door
from prunus.channels import ChannelGraph
from prunus.channels.factors import ChannelFactors, straight_through
from prunus.errors import TargetError
from prunus.methods.gates import Pruned, finish, traced_copy
from prunus.methods.soft import filter_norms
from prunus.training.evaluation import mode, placement

Batches = Iterable[tuple[Any, Any]]


@door()
def autoprune(
    model: nn.Module,
    example_inputs: Any,
    batches: Batches,
    held_out: Batches,
    *,
    epochs: int,
    strength: float,
    lr: float = 0.01,
    gate_lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    loss: Callable[[Any, Any], Tensor] = F.cross_entropy,
) -> Pruned:
    """Train a copy of a model together with the gates of its channels, and remove the closed ones.

    Args:
        model: trained or not.
        example_inputs: what it is called with, for its channels.
        batches: (inputs, targets) for the weights, as of a `DataLoader` or `prunus.training.Shuffled`; one pass is an epoch.
        held_out: (inputs, targets) for the gates, read over and over.
        epochs: passes.
        strength: of the regulariser.
        lr, momentum, weight_decay: of the weights; along a cosine down to zero.
        gate_lr: of the gates, constant.
        loss: (outputs, targets) -> a number.

    Returns:
        The auxiliary numbers are `numbers`.

    Raises:
        TargetError: numbers out of range, or no held-out batch.
        PlanError: no channels, or what `ChannelFactors` raises.
    """
    at_least(0, momentum=momentum, weight_decay=weight_decay)
    if epochs < 1 or not (lr > 0 and gate_lr > 0) or strength < 0:
        raise TargetError(
            f"There is at least one epoch, rates are above 0 and a strength is 0 or more; not {epochs}, {lr}, {gate_lr} and {strength}."
        )
    trained, graph = traced_copy(model, example_inputs)
    gates = Gates(_ranks(graph))
    weights = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    factors = ChannelFactors(trained, graph, gates, BySign.apply)
    learner = torch.optim.SGD(weights, lr, momentum, weight_decay=weight_decay, nesterov=momentum > 0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(learner, epochs)
    validation = chain.from_iterable(_again(held_out))
    device, _ = placement(model)

    def on(batch: tuple[Any, Any]) -> Tensor:
        return loss(trained(batch[0].to(device)), batch[1].to(device))

    with mode(trained, training=True):
        for _ in range(epochs):
            for batch in batches:
                learner.zero_grad()
                on(batch).backward()  # type: ignore[no-untyped-call]
                learner.step()
                (slope,) = torch.autograd.grad(on(next(validation)), [gates.numbers])
                with torch.no_grad():
                    gates.numbers.sub_(gate_lr * (slope + strength * (gates.numbers > 0)))
            schedule.step()
    return finish(trained, graph, factors, gates.numbers)


class Gates(nn.Module):
    """One auxiliary number per channel.

    Attributes:
        numbers: m, shape (num_channels,).
    """

    def __init__(self, first: Tensor) -> None:
        super().__init__()
        self.numbers = nn.Parameter(first)

    def forward(self) -> Tensor:
        """h(m), with the gradient of softplus."""
        return straight_through((self.numbers > 0).to(self.numbers.dtype), F.softplus(self.numbers))


class BySign(torch.autograd.Function):
    """w h, whose gradient with respect to h is that of w~ times sgn(w), not w."""

    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, gates: Tensor) -> Tensor:
        """Weights, and gates that broadcast over them."""
        ctx.save_for_backward(weight, gates)
        return weight * gates

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the two."""
        weight, gates = ctx.saved_tensors
        return gradient * gates, (gradient * weight.sign()).sum_to_size(gates.shape)


def _ranks(graph: ChannelGraph) -> Tensor:
    """1/n, 2/n, ... 1 for the n channels of a group, the smallest filter first, (num_channels,)."""
    norms, found = filter_norms(graph), torch.empty(graph.num_channels)
    for group in graph.groups:
        found[torch.from_numpy(group.channels)[norms[group.channels].argsort()]] = torch.arange(1.0, group.size + 1) / group.size
    return found


def _again(held_out: Batches) -> Iterable[Batches]:
    """The held-out batches without end; raises TargetError if there are none."""
    if not any(True for _ in held_out):
        raise TargetError("The gates learn on held-out batches, so there must be at least one.")
    return repeat(held_out)
