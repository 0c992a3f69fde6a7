"""Network slimming: a penalty on the scales of batch norms while training, then the smallest scales of the
whole network go.

Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming" (arXiv 1708.06519): L =
cross-entropy + s * sum |gamma|, s = 1e-4 for VGG and 1e-5 for deep ResNets. The choice is `prunus.plan(graph,
prunus.scores.bn_scale(graph), rate=..., scope="global")`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunus import scores
from prunus._foundation.arguments import at_least, door
from prunus._foundation.made import begins
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus.errors import PlanError, TargetError
from prunus.methods.common import FIRST, Journal, Outcome, Target, wish
from prunus.methods.removal import remove
from prunus.paint import trace
from prunus.planning.targets import plan
from prunus.tasks import Task
from prunus.tasks.placed import example_of
from prunus.training import TrainConfig
from prunus.training.objective import Loss, with_penalty

STRENGTH = 1e-4


@door(TargetError)
@begins
def slimming(
    model: nn.Module,
    task: Task,
    *,
    rate: float | None = None,
    macs: float | None = None,
    params: float | None = None,
    strength: float = STRENGTH,
    scope: Literal["uniform", "global"] = "global",
    protect: tuple[str, ...] = (),
    config: TrainConfig | None = None,
    tuning: TrainConfig | None = None,
    journal: Journal = Journal(),  # noqa: B008 (it never changes)
    watch: Watch = unwatched,
) -> Outcome:
    """Train a copy of a network with the penalty, and remove the channels with the smallest scales.

    Args:
        model: trained or not; it needs batch norms with scales.
        task: what it is for.
        rate: share of the channels that goes; half of them, where nothing else is asked for.
        macs: MACs that may be left: a share of all up to 1, a number above.
        params: parameters that may be left, likewise.
        strength: weight of the penalty in the loss (s): 1e-4 for VGG and 1e-5 for deep ResNets in the paper.
        scope: "global" compares the scales of the whole network, as in the paper; "uniform" those of each
            layer.
        protect: glob patterns of layers that stay whole.
        config: how to train; None = its defaults.
        tuning: how to fine-tune what is left; None leaves it out.
        journal: how the training is kept and told about.
        watch: told about progress.

    Raises:
        PlanError: the model has no batch norm with a scale.
        TargetError: several targets, or one that cannot be reached.
        PrunusError: whatever training and compaction raise.
    """
    at_least(0, strength=strength)
    kind, value = wish({"rate": rate, "macs": macs, "params": params}, ("rate", 0.5))
    target, clock = Target(kind, value, scope, protect=protect), Clock(watch)
    trained, config = copy.deepcopy(model), config or TrainConfig()
    penalty = scale_norm(trained)
    with clock.steps(FIRST):
        history = task.fit(
            trained, config, besides=lambda: strength * penalty(), **journal.options(FIRST, watch)
        )
    trained.eval()
    graph = clock.time("tracing", lambda: trace(trained, example_of(task, trained)))
    chosen = plan(graph, scores.bn_scale(graph), **{kind: value}, scope=scope, protect=protect)  # type: ignore[arg-type]
    return replace(
        remove(trained, graph, chosen, target, task, clock, tuning=tuning, before={"slimmed": trained}),
        training=history,
    )


@door()
def scale_norm(model: nn.Module) -> Callable[[], Tensor]:
    """sum |gamma| over the batch norms of a network, as a function of nothing, for losses of one's own.

    Its subgradient at 0 is 0, as in the authors' code, which adds s * sign(gamma) to the gradients.

    Raises:
        PlanError: the model has no batch norm with a scale.
    """
    scales = [module.weight for module in model.modules() if isinstance(module, _BatchNorm) and module.affine]
    if not scales:
        raise PlanError(
            f"{type(model).__name__} has no batch norm with a scale, so there is nothing to slim by."
        )
    return lambda: torch.stack([scale.abs().sum() for scale in scales]).sum()


@door()
def slimming_loss(model: nn.Module, strength: float = STRENGTH) -> Loss:
    """Cross-entropy and the penalty, a loss for `prunus.training.train`.

    Args:
        model: the network that is trained.
        strength: s.

    Raises:
        PlanError: the model has no batch norm with a scale.
    """
    penalty = scale_norm(model)
    return with_penalty(F.cross_entropy, lambda: strength * penalty())
