"""Flags that change nothing beside the others: they are told of, not passed over in silence. The keys of a
file may be there for several trainings, which differ in their flags.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from prunus.errors import ConfigError

if TYPE_CHECKING:
    from prunus.runs.recipe import Recipe

_PRUNES = (lambda recipe: recipe.method != "none", "a method that prunes")
_SELECTS = (lambda recipe: recipe.select != "all", "a rule of select")
_POINTS = (
    lambda recipe: recipe.select in ("critical", "critical-softer", "fixed-ratio", "mean-division", "area"),
    "a rule of select that scores aggregated points",
)
_MIRRORS = (lambda recipe: recipe.augment not in ("none", "crop"), "an augmentation that mirrors")
_MOMENTUM = (lambda recipe: recipe.optimizer in ("sgd", "muon"), "the optimizer sgd or muon")
_OF_USE: Mapping[str, tuple[Callable[[Recipe], bool], str]] = {
    "tune_epochs": _PRUNES,
    "tune_lr": _PRUNES,
    **dict.fromkeys(("drop", "select_every", "warmup_epochs", "annealing", "least", "same_steps"), _SELECTS),
    **dict.fromkeys(("subset_size", "fine_ratio", "attributes"), _POINTS),
    "milestones": (lambda recipe: recipe.schedule == "step", "the schedule step"),
    "momentum": _MOMENTUM,
    "shift": (lambda recipe: recipe.augment != "none", "an augmentation that crops"),
    "flips": _MIRRORS,
    "full_size_from": (lambda recipe: recipe.first_size < 1, "a first_size below 1"),
}


def check_of_use(recipe: Recipe, given: Collection[str], names: Mapping[str, str]) -> None:
    """Raises ConfigError for a flag that is not the default, and that nothing looks at.

    Args:
        recipe: all settings.
        given: the keys of flags.
        names: what they are called there.
    """
    for key, (looked_at, needed) in _OF_USE.items():
        value = getattr(recipe, key)
        if key in given and value != getattr(type(recipe), key) and not looked_at(recipe):
            shown = list(value) if isinstance(value, tuple) else value
            raise ConfigError(
                f"{names[key]} = {shown} changes nothing without {needed}: give that too, or leave it out."
            )
