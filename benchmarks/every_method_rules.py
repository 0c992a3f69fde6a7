"""The rules by which `benchmarks.every_method` chooses the samples of a tuning: those of `prunus train
--select`, and the static scores of the literature.

The first epoch has all samples; after that half of them is asked for, where a rule can be asked. Forgetting
events are counted on all samples for half of the epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.every_method_course import Course
from prunus import selection
from prunus.runs.recipe import Recipe, Select
from prunus.runs.recipe_parts import curriculum
from prunus.selection.rules import Selection
from prunus.training.evaluation import mode

KEPT = 0.5
STATIC = ("el2n", "forgetting", "representatives")
Rule = Callable[[Course, nn.Module], Any]


def selected(name: Any) -> Rule:
    """As `prunus train --select` does it."""

    def rule(course: Course, network: nn.Module) -> Any:
        recipe = Recipe(
            "cifar10",
            course.network,
            seed=course.lesson.seed,
            epochs=course.epochs,
            select=name,
            drop=1 - KEPT,
            warmup_epochs=warm_up(course),
        )
        return curriculum(recipe, course.task, course.folder / f"{course.name}.kept")

    return rule


def by_error(course: Course, network: nn.Module) -> Any:
    """EL2N of the trained network, which has seen these samples."""
    return after_warm_up(course, selection.Static(_over_samples(course, network, _el2n).numpy(), KEPT))


def by_forgetting(course: Course, network: nn.Module) -> Any:
    """Forgetting events of the first half of the epochs choose the samples of the others."""
    return Remembered(len(course.lesson.about.train), course.half)


def by_clusters(course: Course, network: nn.Module) -> Any:
    """One sample of each cluster of principal components."""
    train = course.lesson.about.train
    features = selection.principal_components(train.images.numpy(), 16)
    chosen = selection.representatives(features, train.labels.numpy(), KEPT)
    return after_warm_up(course, selection.Static(chosen.kept, float(chosen.kept.mean())))


def after_warm_up(course: Course, chooser: Any) -> Any:
    """Behind as many epochs on all samples as the other rules have, though nothing is learned in them that
    the choice looks at: so that all see equally many samples.
    """
    labels = course.lesson.about.train.labels.numpy()
    return selection.Scheduled(chooser, labels, warmup=warm_up(course))


def warm_up(course: Course) -> int:
    """Epochs on all samples, where that is not all of them."""
    return min(1, course.epochs - 1)


class Remembered(selection.Forgetting):
    """Counts forgetting events on all samples, and then keeps those that were forgotten most often.

    Args:
        count: samples.
        counted: epochs in which events are counted.
    """

    def __init__(self, count: int, counted: int) -> None:
        super().__init__(count)
        self._until = np.array(counted)

    def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
        """All, and then half; of samples that were forgotten equally often the first."""
        if epoch < int(self._until):
            return None
        return selection.Static(self.events, KEPT).choose(model, epoch, epochs)


def _el2n(logits: Tensor, labels: Tensor) -> Tensor:
    return selection.el2n(logits, labels)


@torch.no_grad()
def _over_samples(course: Course, network: nn.Module, value: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A value of every training sample, (N,)."""
    with mode(network, training=False):
        return torch.cat(
            [value(network(inputs), labels) for inputs, labels in course.task.batches("train", 500)]
        )


BY_SAMPLES: Mapping[str, Rule] = {
    **{name: selected(name) for name in get_args(Select) if name != "all"},
    "el2n": by_error,
    "forgetting": by_forgetting,
    "representatives": by_clusters,
}
