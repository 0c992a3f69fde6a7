"""What an ONNX file says of its use, for whoever gets the file alone: the classes, and how pixels become
inputs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from prunus._foundation.arguments import check_fields
from prunus.errors import ConfigError
from prunus.tasks.words import normalisation_of

if TYPE_CHECKING:
    from prunus.tasks import Task


@dataclass(frozen=True)
class DataSheet:
    """What a file says of its use.

    Attributes:
        classes: their names, in the order of the outputs; empty if there are none.
        mean: of every plane, in units of 0..1; empty if the inputs are no pixels.
        std: likewise, the standard deviations.
    """

    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)

    def properties(self, takes_pixels: bool = False) -> dict[str, str]:
        """The entries of a file's metadata, as JSON texts; `takes_pixels`: the file normalises its inputs
        itself.
        """
        found: dict[str, str] = {}
        if self.classes:
            found["classes"] = json.dumps(list(self.classes), ensure_ascii=False)
        if takes_pixels:
            found["inputs"] = "pixels from 0 to 255"
        elif self.mean:
            found["inputs"] = "(pixels / 255 - mean) / std, plane by plane"
            found |= {"mean": json.dumps(list(self.mean)), "std": json.dumps(list(self.std))}
        return found


def sheet_of(task: Task | None) -> DataSheet:
    """What a task tells of classes and normalisation."""
    if task is None:
        return DataSheet()
    mean, std = normalisation_of(task) or ((), ())
    return DataSheet(tuple(task.classes), tuple(map(float, mean)), tuple(map(float, std)))


class FromPixels(nn.Module):
    """A model behind the normalisation of its inputs: it takes pixels from 0 to 255 as floating-point
    numbers, (batch, planes, ...).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if not mean or len(mean) != len(std):
            raise ConfigError(
                "Nothing says how pixels are normalised for this model: give the mean and the standard"
                " deviation of every plane."
            )
        self.model = model
        deviations = torch.tensor(list(std), dtype=torch.float64)
        self.register_buffer("scale", (1 / (255 * deviations)).float())
        self.register_buffer("shift", (-torch.tensor(list(mean), dtype=torch.float64) / deviations).float())

    def forward(self, pixels: Tensor) -> object:
        """Normalise, plane by plane, and call the model."""
        shape = (1, -1, *[1] * (pixels.dim() - 2))
        return self.model(pixels * self.scale.view(shape) + self.shift.view(shape))
