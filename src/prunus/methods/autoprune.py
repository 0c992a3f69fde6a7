"""AutoPrune: every channel has an auxiliary number m, its gate is h(m) = 1[m > 0], and m learns on samples
that the weights do not see.

Xiao, Wang and Rajasekaran 2019, "AutoPrune: Automatic Network Pruning by Regularizing Auxiliary Parameters"
(NeurIPS 2019):

    w~ = w h(m)
    w <- w - lr dL_train/dw~ h(m)
    m <- m - gate_lr (sum dL_validation/dw~ sgn(w) h'(m) + regulariser)

in turns. h has no gradient, so h' is that of softplus; and sgn(w) stands for w, so that a channel's gradient
does not fade with its weights and a closed gate can open again. Our choices: gates on coupled channels, over
whose numbers the gradient is summed; the regulariser is the l1 norm of the open gates' m alone, for that of a
closed one would pull it open; and the m of a group begin between 0 and 1 in the order of their filters'
norms, as channels that all stood at one height would all fall at one time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from prunus._foundation.arguments import door
from prunus._foundation.made import begins, remembers
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus.errors import TargetError
from prunus.methods._data import Passes, callback
from prunus.methods.common import FIRST, Journal, Outcome
from prunus.methods.soft import filter_norms
from prunus.methods.trained_masks import finish, traced_copy
from prunus.paint.graph import ChannelGraph
from prunus.surgery.channel_scaling import ChannelFactors, straight_through
from prunus.tasks import Task
from prunus.tasks.placed import example_of
from prunus.training import TrainConfig
from prunus.training.hooks import Pruning

CONFIG = TrainConfig(lr=0.01)


@door(TargetError)
@begins
def autoprune(
    model: nn.Module,
    task: Task,
    *,
    strength: float = 0.3,
    gate_lr: float = 0.01,
    config: TrainConfig | None = None,
    tuning: TrainConfig | None = None,
    journal: Journal = Journal(),  # noqa: B008 (it never changes)
    watch: Watch = unwatched,
) -> Outcome:
    """Train a copy of a model together with the gates of its channels, and remove the closed ones.

    Args:
        model: trained or not.
        task: what it is for; weights learn on its training samples, gates on its validation samples, which
            are read over and over.
        strength: of the regulariser.
        gate_lr: learning rate of the gates, constant.
        config: how to train the weights; None = at a learning rate of 0.01.
        tuning: how to fine-tune what is left; None leaves it out.
        journal: how the training is kept and told about.
        watch: told about progress.

    Returns:
        The auxiliary numbers are "numbers" in `found`.

    Raises:
        TargetError: numbers out of range, or no held-out samples.
        PlanError: no channels, or what `ChannelFactors` raises.
    """
    if not gate_lr > 0 or strength < 0:
        raise TargetError(
            f"A learning rate is above 0 and a strength is 0 or more; not {gate_lr} and {strength}."
        )
    if task.validation is None:
        raise TargetError(
            "The gates learn on held-out samples, so the task needs some: give it `validation`."
        )
    config, clock = replace(config or CONFIG, keep="last"), Clock(watch)
    trained, graph = traced_copy(model, example_of(task, model))
    gates = Gates(_ranks(graph))
    factors = ChannelFactors(trained, graph, gates, BySign.apply)
    learner = GateLearner(gates, trained, task, config, gate_lr, strength)
    with clock.steps(FIRST):
        history = task.fit(
            trained, config, pruning=callback(learner, trained), **journal.options(FIRST, watch)
        )
    outcome = finish(
        trained, graph, factors, gates.numbers, strength, task, clock, tuning, {"trained with gates": trained}
    )
    return replace(outcome, training=history)


@remembers()
class GateLearner(Pruning):
    """One step of the gates on held-out samples after every step of the weights: a callback of the training.

    Args:
        gates: what learns.
        model: what they are in.
        task: whose validation samples are read.
        config: how they are cut into batches.
        lr: learning rate.
        strength: of the regulariser.
    """

    def __init__(
        self, gates: Gates, model: nn.Module, task: Task, config: TrainConfig, lr: float, strength: float
    ) -> None:
        self._gates, self._model, self._task, self._lr, self._strength = gates, model, task, lr, strength
        self._passes = Passes(task, "validation", model, config)
        self._done, self._stream = 0, self._again()
        gates.numbers.requires_grad_(False)  # the optimiser of the weights leaves them alone

    def _again(self) -> Iterator[Any]:
        """The held-out batches without end; raises TargetError if there are none."""
        while True:
            seen = False
            for batch in self._passes:
                seen = True
                yield batch
            if not seen:
                raise TargetError("The gates learn on held-out batches, so there must be at least one.")

    def after_step(self, model: nn.Module) -> None:
        """m <- m - gate_lr (slope + strength [m > 0])."""
        numbers = self._gates.numbers.requires_grad_()
        inputs, targets = next(self._stream)
        (slope,) = torch.autograd.grad(self._task.batch_loss(self._model, inputs, targets), [numbers])
        self._done += 1
        with torch.no_grad():
            numbers.sub_(self._lr * (slope + self._strength * (numbers > 0)))
        numbers.requires_grad_(False)

    def state(self) -> dict[str, Any]:
        """How many batches were read."""
        return {"done": self._done}

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self._done = state["done"]
        self._stream = islice(self._again(), self._done, None)


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
        found[torch.from_numpy(group.channels)[norms[group.channels].argsort()]] = (
            torch.arange(1.0, group.size + 1) / group.size
        )
    return found
