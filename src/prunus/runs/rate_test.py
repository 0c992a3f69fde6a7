"""The learning rate for a training, before there is one."""

from __future__ import annotations

from typing import Any

from prunus._foundation.arguments import door
from prunus._foundation.progress import Watch, unwatched
from prunus.errors import ConfigError
from prunus.runs import recipe_parts as parts
from prunus.runs.data import read_data
from prunus.runs.recipe import Recipe, resolve
from prunus.runs.run import opened
from prunus.runs.train_own import task_of
from prunus.training.config import TrainConfig


@door(ConfigError)
def find_lr(
    recipe: Recipe, *, sized: bool | None = None, command: str = "", watch: Watch = unwatched
) -> dict[str, Any]:
    """The peak learning rate for the training of a recipe, by a range test on its held-out samples. Nothing
    is written.

    Args:
        recipe: what on, and how.
        sized: as for `prunus.runs.train`.
        command: what the user typed, if it was a command.
        watch: told about progress.

    Returns:
        "lr", and the "rates" and "losses" that it was read from; "command" and "model".

    Raises:
        ConfigError: a recipe without held-out samples, or data that the network does not learn from.
        PrunusError: data or a network that cannot be.
    """
    import torch

    from prunus.methods.rate_range import find_lr as tested
    from prunus.training.distributed import Ranks

    recipe = resolve(recipe.values(), "The recipe")
    if not recipe.validation:
        raise ConfigError("The learning rate is found on held-out samples: validation must be above 0.")
    sized = recipe.batch_size != TrainConfig.batch_size if sized is None else sized
    source = read_data(parts.data_in(recipe, sized), None, watch)
    torch.manual_seed(recipe.seed)
    network, source = opened(recipe, source, watch=watch)
    model = network.model.to(Ranks().device)
    found = tested(model, task_of(recipe, source), config=parts.config(recipe, source.images), watch=watch)
    return {"command": command, "model": recipe.model, **found.to_dict()}
