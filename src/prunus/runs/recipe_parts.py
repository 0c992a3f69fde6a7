"""From a recipe to the objects of the library."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus.errors import ConfigError
from prunus.runs import sample_gallery as kept
from prunus.runs.data import Data
from prunus.runs.loading import usual_augmentation
from prunus.runs.recipe import Recipe

if TYPE_CHECKING:
    from prunus.data import ImageData
    from prunus.selection import Aggregated, Proxy
    from prunus.tasks import Task
    from prunus.training import Curriculum, TrainConfig


def data_in(recipe: Recipe, sized: bool) -> Data:
    """The data of a recipe; `sized`: the size of batches was given, rather than the default."""
    return Data(
        recipe.data,
        Path(recipe.data_dir) if recipe.data_dir else None,
        recipe.mean,
        recipe.std,
        recipe.validation,
        recipe.seed,
        recipe.block,
        recipe.ignore,
        recipe.limit or None,
        recipe.batch_size if sized else None,
        recipe.workers,
        recipe.window,
        recipe.windows,
    )


def config(recipe: Recipe, images: ImageData | None) -> TrainConfig:
    """How to train; None for batches that are augmented already."""
    from dataclasses import fields

    from prunus.training import TrainConfig

    own = {f.name: getattr(recipe, f.name) for f in fields(TrainConfig)}
    if recipe.augment == "auto":
        own["augment"] = usual_augmentation(images) if images else "none"
    return TrainConfig(**own)


def curriculum(recipe: Recipe, samples: Task, folder: Path) -> Curriculum | None:
    """What the epochs train on; the samples that they keep are written to the folder."""
    from prunus import selection

    if recipe.select == "all":
        return None
    if not 0 < recipe.drop < 1:
        raise ConfigError(f"drop is a part of the samples between 0 and 1, not {recipe.drop}.")
    if recipe.warmup_epochs >= recipe.epochs:
        raise ConfigError(
            f"warmup_epochs = {recipe.warmup_epochs} leaves none of {recipe.epochs} epochs to select samples"
            " for: lower it."
        )
    chooser = _chooser(recipe, samples)
    return selection.Scheduled(
        chooser,
        samples.samples("train").labels.numpy(),
        warmup=recipe.warmup_epochs,
        annealing=recipe.annealing,
        least=recipe.least,
        seed=recipe.seed,
        keep_record=partial(kept.write, folder),
    )


def _chooser(recipe: Recipe, samples: Task) -> Any:
    """What chooses between the epochs that train on all samples."""
    from prunus import selection

    count, keep, seed = len(samples.samples("train")), 1 - recipe.drop, recipe.seed
    match recipe.select:
        case "random":
            return selection.Random(count, keep, seed)
        case "lower-bound":
            return selection.LowerBound(count)
        case "easy-dropped":
            return selection.EasyDropped(count, recipe.drop, seed)
        case "importance":
            return selection.ImportanceSampled(count, keep, seed)
        case "sliding-window":
            return selection.SlidingWindow(count, width=keep, seed=seed)
        case "proxy":
            return selection.Filtered(_proxy(samples, seed), count, keep, seed=seed)
    return _aggregated(recipe, samples)


def _proxy(samples: Task, seed: int) -> Proxy:
    """A small network for the samples."""
    import torch

    from prunus.selection.proxy import Proxy, small_network

    split = samples.samples("train")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = small_network(split.images.shape[1], int(split.labels.max()) + 1)
    return Proxy(network, split.images, split.labels, samples.normalisation)


def _aggregated(recipe: Recipe, samples: Task) -> Aggregated:
    """The rules that look at aggregated points."""
    import numpy as np

    from prunus import selection

    split = samples.samples("train")
    pixels, sides = split.images.numpy(), split.images.shape[1:]
    components = selection.principal_components(pixels, min(recipe.attributes, int(np.prod(sides))))
    subsets = selection.aggregate(
        split.labels.numpy(), components, subset_size=recipe.subset_size, fine_ratio=recipe.fine_ratio
    )
    rules: dict[str, Any] = {
        "critical": selection.critical,
        "critical-softer": partial(selection.critical, softer=True),
        "fixed-ratio": lambda effects, subsets, fine: selection.fixed_ratio(effects, subsets, recipe.drop),
        "mean-division": lambda effects, subsets, fine: selection.mean_division(effects, subsets),
        "area": lambda effects, subsets, fine: selection.area(effects, subsets, recipe.drop),
    }
    points = selection.Points(pixels, subsets, samples.normalisation)
    return selection.Aggregated(points, rules[recipe.select], recipe.select_every)
