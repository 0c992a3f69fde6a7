"""The small networks of `benchmarks.tuned`: what each way makes of one dense network, before it is tuned."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import prunus
from benchmarks.methods import SCORES as ONE_SHOT
from benchmarks.methods import compensated
from benchmarks.stages import Material
from prunus import scores
from prunus.methods.block_removal import leave_out
from prunus.methods.shrinking import shrink
from prunus.tasks import Task
from prunus.training import Calibration
from prunus.training.feeding import batches

JUDGED = 500  # samples of those that choices are made on, by which blocks are judged
CONTROL, DENSE, PEER = "l1 norm", "the dense network", "Torch-Pruning"
DEFAULT = "the default of prunus"
Scope = Literal["uniform", "global"]


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a small network is made from.

    Attributes:
        dense: trained, in evaluation mode; never changed.
        about: the samples.
        macs: share of the dense network's MACs that is left.
        seed: of the calibration samples, and of new weights.
    """

    dense: nn.Module
    about: Material
    macs: float
    seed: int

    @property
    def inputs(self) -> Calibration:
        """Drawn training samples."""
        return Calibration(self.about.train, self.about.normalise, seed=self.seed)


SCORES = ONE_SHOT | {"l2 norm": lambda graph, inputs, seed: scores.norm(graph, 2)}
Begin = Callable[[Lesson], nn.Module]


def pruned(score: str, compensation: str = "none", scope: Scope = "uniform") -> Begin:
    """Channels of all layers go by a score, streams included."""

    def begun(lesson: Lesson) -> nn.Module:
        return narrowed(lesson, lesson.dense, lesson.macs, score, compensation, scope)

    return begun


def narrowed(
    lesson: Lesson, network: nn.Module, macs: float, score: str, compensation: str, scope: Scope
) -> nn.Module:
    """The network with so much of its own MACs, or so many, left."""
    graph = prunus.trace(network, lesson.about.example)
    plan = prunus.plan(graph, SCORES[score](graph, lesson.inputs, lesson.seed), macs=macs, scope=scope)
    return prunus.compact(compensated(compensation, network, plan, graph, lesson.inputs), plan)


def by_default(lesson: Lesson) -> nn.Module:
    """What `prunus prune --macs` makes: widths by measured losses, reconstruction error, refitting."""
    about = lesson.about
    task = Task(about.train, about.choosing, normalise=about.normalise)
    return shrink(lesson.dense, task, macs=lesson.macs, seed=lesson.seed).model


def shorter(lesson: Lesson, macs: float) -> nn.Module:
    """Residual blocks are left out, evenly over the stages, until no more than these MACs are left."""

    def enough(network: nn.Module) -> bool:
        return cost(network, lesson.about.example) <= macs

    some = lesson.about.choosing.subset(torch.arange(min(JUDGED, len(lesson.about.choosing))))
    ((images, labels),) = batches(some, lesson.about.normalise, JUDGED)

    def loss(network: nn.Module) -> float:
        with torch.no_grad():
            return float(F.cross_entropy(network(images), labels))

    return leave_out(lesson.dense, lesson.about.example, loss, enough, evenly=True).model


def blocks(lesson: Lesson) -> nn.Module:
    """Nothing but blocks goes, as many as the MACs ask for."""
    return shorter(lesson, lesson.macs * cost(lesson.dense, lesson.about.example))


def blocks_and_channels(lesson: Lesson) -> nn.Module:
    """Half of the way (in ratios) by blocks, the rest by channels."""
    whole = cost(lesson.dense, lesson.about.example)
    short = shorter(lesson, math.sqrt(lesson.macs) * whole).eval()
    return narrowed(lesson, short, int(lesson.macs * whole), "reconstruction", "refit", "uniform")


def anew(begin: Begin) -> Begin:
    """A network of the same shape with new weights, drawn as the dense network's own class draws them."""

    return lambda lesson: renewed(begin(lesson), lesson.seed)


def renewed(network: nn.Module, seed: int) -> nn.Module:
    """The network with new weights, in place."""
    torch.manual_seed(seed)
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return network


def by_torch_pruning(lesson: Lesson) -> nn.Module:
    """Torch-Pruning's default: group L2 norms, the same ratio everywhere, the classifier's outputs kept; the
    smallest ratio, to a hundredth, that leaves no more than the MACs. What adds to a residual stream stays
    whole: it cannot follow shortcuts that pad with zeros, and what it leaves of them does not run.
    """
    import torch_pruning

    goal = lesson.macs * cost(lesson.dense, lesson.about.example)
    for hundredth in range(1, 100):
        network = copy.deepcopy(lesson.dense)
        whole = [
            one
            for name, one in network.named_modules()
            if name in ("conv1", "linear") or name.endswith(".conv2")
        ]
        torch_pruning.pruner.BasePruner(
            network,
            lesson.about.example,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=hundredth / 100,
            ignored_layers=whole,
        ).step()
        if cost(network, lesson.about.example) <= goal:
            return network
    raise SystemExit(f"Torch-Pruning leaves more than {lesson.macs:.0%} of the MACs at every ratio.")


def dense(lesson: Lesson) -> nn.Module:
    """The dense network, which is tuned as all others are."""
    return copy.deepcopy(lesson.dense)


WAYS: Mapping[str, Begin] = {
    CONTROL: pruned("l1 norm"),
    DEFAULT: by_default,
    "l1 norm, global": pruned("l1 norm", scope="global"),
    "reconstruction + refit": pruned("reconstruction", "refit"),
    "reconstruction + refit, global": pruned("reconstruction", "refit", "global"),
    "similarity + merge": pruned("similarity", "merge"),
    "similarity + refit": pruned("similarity", "refit"),
    "blocks": blocks,
    "blocks + channels": blocks_and_channels,
    PEER: by_torch_pruning,
    "l1 norm's shape from scratch": anew(pruned("l1 norm")),
    "blocks' shape from scratch": anew(blocks),
    DENSE: dense,
    **{name: pruned(name) for name in SCORES if name not in (CONTROL, "similarity", "reconstruction")},
}


def cost(network: nn.Module, example: Tensor) -> float:
    """MACs of one input."""
    return float(prunus.trace(network, example).cost().macs)
