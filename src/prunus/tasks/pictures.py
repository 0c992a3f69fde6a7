"""Pictures with masks as a task: trained on as windows, measured whole, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.confidence import Rows
from prunus.data.picture_sets import PictureSet
from prunus.data.pictures import IGNORED, Example, void_label
from prunus.errors import ConfigError
from prunus.segmentation.evaluation import picture_by_picture
from prunus.segmentation.losses import cross_entropy
from prunus.segmentation.patches import Patches
from prunus.segmentation.predict import reader, reflected
from prunus.tasks.segmentation import MeanIoU
from prunus.tasks.task import Part, Task
from prunus.training.feeding import Normalise
from prunus.training.objective import Loss


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures as batches of one window each: what is at the top left, of one size."""

    examples: Sequence[Example]
    normalise: Normalise
    side: int

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def larger(self) -> bool:
        """Whether there are pictures of which a window is a part only."""
        return any(max(example.picture.shape[1:]) > self.side for example in self.examples)

    def subset(self, indices: Tensor) -> Pictures:
        """These of the pictures alone."""
        return replace(self, examples=[self.examples[index] for index in indices.tolist()])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for example in self.examples:
            _, height, width = example.picture.shape
            rows, columns = min(self.side, height), min(self.side, width)
            image = reflected(
                reader(example.picture, self.normalise, example.name)(0, 0, rows, columns),
                self.side,
                self.side,
            )
            mask = torch.full((self.side, self.side), IGNORED, dtype=torch.int64)
            if example.mask is not None:
                mask[:rows, :columns] = example.mask.read(0, 0, rows, columns)[0].long()
            yield image[None], mask[None]


@dataclass(frozen=True, eq=False)
class PictureTask(Task):
    """Segmentation of whole pictures: validation and test pictures are predicted in tiles of the windows'
    size, which overlap by an eighth.
    """

    side: int = 256
    block: int = 1

    def kind(self, part: Part) -> str:
        """Pictures."""
        return "pictures"

    def count(self, part: Part) -> int:
        """Pictures of a part, also where they are trained on as windows."""
        return (
            self.train.pictures
            if part == "train" and isinstance(self.train, Patches)
            else super().count(part)
        )

    @property
    def normalisation(self) -> Normalise:
        """(mean, std) of the planes."""
        assert isinstance(self.test, Pictures)
        return self.test.normalise

    def entries(self, model: nn.Module, part: Part = "test") -> list[Any]:
        """Counts of pixels by true and found class of every picture; of windows where it is trained on."""
        found = getattr(self, part)
        if not isinstance(found, Pictures):
            return super().entries(model, part)
        each = picture_by_picture(
            model, found.examples, found.normalise, tile=self.side, overlap=self.side // 8
        )
        return [confusion.counts for confusion in each]

    def _measured(self, model: nn.Module, part: Part) -> tuple[Tensor | Rows, float]:
        if not isinstance(getattr(self, part), Pictures):
            return super()._measured(model, part)
        return self._metric.points(self.entries(model, part)), math.nan


@door(ConfigError)
def pictures_task(
    found: PictureSet,
    kept: Sequence[Example],
    held: Sequence[Example],
    *,
    normalise: Normalise | None = None,
    side: int = 256,
    windows: int = 512,
    batch_size: int = 8,
    turned: bool = True,
    loss: Loss = cross_entropy,
) -> PictureTask:
    """A set of pictures as a task.

    Args:
        found: the set.
        kept: its pictures to train on, as windows.
        held: those to choose by; none leaves that out.
        normalise: (mean, std) of the planes; None is the set's own.
        side: of windows and tiles [pixels].
        windows, batch_size, turned: of the training, see `prunus.segmentation.Patches`.
        loss: of pixels.
    """
    scale = normalise or found.normalise
    names: Any = {"classes": tuple(map(str, range(found.classes))), "name": found.name}
    return PictureTask(
        Patches(kept, scale, side, windows, batch_size, turned=turned),
        Pictures(held, scale, side) if held else None,
        Pictures(found.test, scale, side),
        loss=loss,
        metric=MeanIoU(ignore=void_label(found.test[0].mask if found.test else None)),
        side=side,
        block=found.block,
        **names,
    )
