"""The input shape that a model is for: by its name, its plan, or what it says itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prunus._foundation.sizes import shape_fault
from prunus.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

# Our networks are for CIFAR, but these.
OUR_SHAPES = {
    "lenet5": (1, 1, 28, 28),
    "lenet300": (1, 1, 28, 28),
    "unet": (1, 3, 256, 256),
    "ternausnet": (1, 3, 256, 256),
}
CIFAR_SHAPE = (1, 3, 32, 32)
TORCHVISION_SIZES = {"inception_v3": 299}


def natural_shape(name: str) -> tuple[int, ...] | None:
    """The input shape that a name stands for, without its weights; None where only the user can know it."""
    source, _, rest = name.partition("/")
    if source == "timm" and rest:
        return (1, *_timm_size(rest))
    if source == "torchvision" and rest:
        side = TORCHVISION_SIZES.get(rest, 224)
        return (1, 3, side, side)
    if ":" in name:
        return None
    return OUR_SHAPES.get(name, CIFAR_SHAPE)


def planned_shape(model: nn.Module) -> tuple[int, ...] | None:
    """What the model's plan was made with, of several tensors the one that tells most."""
    from prunus.deploy.inputs import main_shape
    from prunus.plans.described import rebuild_inputs

    origin: Any = getattr(model, "prunus", None)
    return main_shape(rebuild_inputs(origin.plan.inputs)) if origin is not None else None


def planned_arguments(model: nn.Module, seed: int = 0) -> tuple[Any, ...] | dict[str, Any] | None:
    """Seeded arguments, by place or by name, such as the model's plan was made with; None where these are one
    tensor of numbers with a point, which its shape says all about, or are no longer known.
    """
    import torch
    from torch.utils._pytree import tree_map_only

    from prunus.deploy.inputs import tensors
    from prunus.plans.described import rebuild_inputs
    from prunus.training.evaluation import placement

    origin: Any = getattr(model, "prunus", None)
    if origin is None or not origin.plan.inputs:
        return None
    args, kwargs = rebuild_inputs(origin.plan.inputs)
    every = tensors((args, kwargs))
    if not every or (args and kwargs) or (len(every) == 1 and every[0].is_floating_point()):
        return None
    generator, (_, kind) = torch.Generator().manual_seed(seed), placement(model)

    def drawn(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point():
            return torch.zeros(tensor.shape, dtype=tensor.dtype)
        return torch.randn(tensor.shape, generator=generator).to(kind)

    found: tuple[Any, ...] | dict[str, Any] = tree_map_only(torch.Tensor, drawn, args or kwargs)
    return found


def _timm_size(architecture: str) -> tuple[int, ...]:
    """The input size (C, H, W) in timm's own table."""
    import torch

    from prunus import models

    with torch.device("meta"):
        model = models.build(f"timm/{architecture}")
    found: Any = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
    return tuple(found.get("input_size", (3, 224, 224)))


def own_shape(model: nn.Module) -> tuple[int, ...] | None:
    """A model may say what it takes by an attribute `input_shape`, batch axis included."""
    found: Any = getattr(model, "input_shape", None)
    if not isinstance(found, (tuple, list)):
        return None
    shape = tuple(int(length) if hasattr(length, "__index__") else length for length in found)
    if fault := shape_fault(shape):
        raise ConfigError(
            f"The attribute input_shape of {type(model).__name__} is {str(shape)[:60]}: {fault}."
        )
    return shape
