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
    import numpy as np

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
    labels, count = samples.samples("train").labels.numpy(), len(samples.samples("train"))
    chooser: Any
    if recipe.select == "random":
        chooser = selection.Random(count, 1 - recipe.drop, recipe.seed)
    elif recipe.select == "easy-dropped":
        chooser = selection.EasyDropped(count, recipe.drop, recipe.seed)
    else:
        pixels = samples.samples("train").images.numpy()
        components = selection.principal_components(
            pixels, min(recipe.attributes, int(np.prod(pixels.shape[1:])))
        )
        subsets = selection.aggregate(
            labels, components, subset_size=recipe.subset_size, fine_ratio=recipe.fine_ratio
        )
        rules: dict[str, Any] = {
            "critical": selection.critical,
            "fixed-ratio": lambda effects, subsets, fine: selection.fixed_ratio(
                effects, subsets, recipe.drop
            ),
            "mean-division": lambda effects, subsets, fine: selection.mean_division(effects, subsets),
            "area": lambda effects, subsets, fine: selection.area(effects, subsets, recipe.drop),
        }
        chooser = selection.Aggregated(
            selection.Points(pixels, subsets, samples.normalisation),
            rules[recipe.select],
            recipe.select_every,
        )
    return selection.Scheduled(
        chooser,
        labels,
        warmup=recipe.warmup_epochs,
        annealing=recipe.annealing,
        least=recipe.least,
        seed=recipe.seed,
        keep_record=partial(kept.write, folder),
    )
