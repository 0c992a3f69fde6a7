"""Scores and compensations by name: the one place where names that users type become functions of the
library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor, nn

from prunus.errors import ConfigError
from prunus.paint.graph import ChannelGraph
from prunus.plans.plan import Plan
from prunus.tasks.placed import Placed

if TYPE_CHECKING:
    from prunus.methods.common import Compensate
    from prunus.scores import Similarity
    from prunus.tasks import Task

OF_WEIGHTS = ("norm-l1", "norm-l2", "bn-scale", "geometric-median", "similarity", "random")
OF_INPUTS = ("similarity-inputs", "activation-mean", "reconstruction", "thinet", "lasso", "nisp")
OF_LABELS = ("taylor", "pls", "car")
SCORES = (*OF_WEIGHTS, *OF_INPUTS, *OF_LABELS)
COMPENSATIONS = ("refit", "means", "merge", "none")
JUDGED = 1024  # training samples by which "car" measures


def score_named(name: str, task: Task | None, seed: int = 0) -> Callable[[ChannelGraph], Tensor]:
    """A score as a function of a graph.

    Raises:
        ConfigError: there is none of this name, or it looks at data, and there are none; or it is one of
            another package, and broken.
    """
    if name not in SCORES:
        from prunus.scores.extended import extended_score, extended_scores

        found = extended_score(name, SCORES)
        if found is None:
            known = ", ".join((*SCORES, *extended_scores(SCORES)))
            raise ConfigError(f"There is no score {name!r}; there are {known}.")
        return found
    if name not in OF_WEIGHTS and task is None:
        raise ConfigError(f"The score {name} looks at training samples, and there are none.")
    return lambda graph: _scored(name, graph, task, seed)


def _scored(name: str, graph: ChannelGraph, task: Task | None, seed: int) -> Tensor:
    from prunus import scores

    def inputs() -> Placed:
        assert task is not None
        return Placed(task.calibration(seed=seed), graph.model)

    match name:
        case "norm-l1":
            return scores.norm(graph, p=1)
        case "norm-l2":
            return scores.norm(graph, p=2)
        case "bn-scale":
            return scores.bn_scale(graph)
        case "geometric-median":
            return scores.geometric_median(graph)
        case "random":
            return scores.random(graph, seed=seed)
        case "similarity" | "similarity-inputs":
            return similarity_named(name, graph, task, seed).scores
        case "pls":
            return scores.pls(graph, inputs().pairs())
    assert task is not None
    match name:
        case "taylor":
            loss = task.per_sample_loss
            return scores.taylor(
                graph, inputs().pairs(), lambda outputs, targets: loss(outputs, targets).mean()
            )
        case "car":
            few = task.few("train", JUDGED)
            return scores.car(graph, few.value)
    by_inputs = {
        "activation-mean": scores.activation_mean,
        "reconstruction": scores.reconstruction,
        "thinet": scores.thinet,
        "lasso": scores.lasso,
        "nisp": scores.nisp,
    }
    return by_inputs[name](graph, inputs())


def similarity_named(name: str, graph: ChannelGraph, task: Task | None, seed: int) -> Similarity:
    """How alike channels are, by weights or by calibration inputs."""
    from prunus.scores import similarity

    if name == "similarity":
        return similarity(graph)
    assert task is not None
    return similarity(graph, "empirical", Placed(task.calibration(seed=seed), graph.model))


def compensation_named(name: str | None, task: Task | None, seed: int = 0) -> Compensate | None:
    """A compensation as a function of a model and a plan; None stands for refitting where there are samples,
    and nothing else.

    Raises:
        ConfigError: there is none of this name, or it looks at data, and there are none.
    """
    if name is not None and name not in COMPENSATIONS:
        raise ConfigError(f"There is no compensation {name!r}; there are {', '.join(COMPENSATIONS)}.")
    if name in ("refit", "means") and task is None:
        raise ConfigError(f"The compensation {name} looks at training samples, and there are none.")
    if name == "none" or (name is None and task is None):
        return None

    def compensate(model: nn.Module, plan: Plan, on_step: Callable[[int, int], None]) -> nn.Module:
        from prunus.compensation import merge, refit, restore_means
        from prunus.plans.resolve import graph_for
        from prunus.scores import similarity

        if name == "merge":
            graph = graph_for(model, plan)
            into, scales = similarity(graph).representatives(plan, graph)
            return merge(model, plan, into, scales)
        assert task is not None
        inputs = Placed(task.calibration(seed=seed), model)
        return (restore_means if name == "means" else refit)(model, plan, inputs, on_step=on_step)

    return compensate
