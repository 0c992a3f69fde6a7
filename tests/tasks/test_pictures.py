"""Pictures as a task: windows to train on, whole pictures to measure."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from prunus.data.picture_sets import PictureSet
from prunus.data.pictures import IGNORED, Example, Loaded
from prunus.segmentation import Patches
from prunus.tasks import limited
from prunus.tasks.pictures import Pictures, PictureTask, pictures_task

SCALE = ((0.5,), (0.25,))


class Bright(nn.Module):
    """Two classes by the brightness of the pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([-x, x], 1)


def example(name: str, height: int, width: int, wrong: int = 0) -> Example:
    """Its right half is bright and of class 1; of some pixels of the left half the mask says 1 as well."""
    pixels = torch.zeros(1, height, width, dtype=torch.uint8)
    pixels[:, :, width // 2 :] = 255
    mask = (pixels > 0).to(torch.uint8)
    mask[0, 0, :wrong] = 1
    return Example(name, Loaded(pixels), Loaded(mask))


def test_a_window_is_the_top_left_and_unknown_where_there_is_no_picture() -> None:
    (small, large) = list(Pictures([example("a", 6, 10), example("b", 20, 30)], SCALE, 8))
    for (image, mask), known in ((small, 6), (large, 8)):
        assert image.shape == (1, 1, 8, 8) and mask.shape == (1, 8, 8)
        assert (mask[0, known:] == IGNORED).all() and (mask[0, :known] != IGNORED).all()
    assert torch.equal(small[0][0, 0, :6, :5], torch.full((6, 5), -2.0))  # (0 - 0.5) / 0.25


def test_whole_pictures_are_measured_also_beyond_a_window() -> None:
    test = [example("a", 20, 30, wrong=6), example("b", 12, 9)]
    found = PictureSet("shapes", [example("c", 16, 16)], test, 2, *SCALE)
    task = pictures_task(found, found.train, [], side=8, windows=4)
    assert (task.count("train"), task.count("test"), task.validation) == (1, 2, None)
    assert task.kind("train") == "pictures" and task.classes == ("0", "1")
    right = 20 * 15 + 12 * 5  # pixels of class 1 that are found; by the mask 6 more are of it
    assert task.value(Bright()) == pytest.approx(100 * right / (right + 6))


def test_a_limit_leaves_pictures_whole() -> None:
    """They became their windows at the top left, and what was measured was no more what was asked for."""
    pictures = [example(name, 20, 30, wrong=6) for name in "abcdef"]
    found = PictureSet("shapes", pictures, pictures, 2, *SCALE)
    task = pictures_task(found, found.train, pictures[:1], side=8, windows=4)
    few = limited(task, 2, seed=1)
    assert isinstance(few, PictureTask) and isinstance(few.train, Patches)
    assert [few.count(part) for part in ("train", "validation", "test")] == [2, 1, 2]
    assert len(few.train) == len(task.train) and few.value(Bright()) == task.value(Bright())
    names = {one.name for one in few.test.examples}  # type: ignore[union-attr]
    assert len(names) == 2 and names != {"a", "b"} and next(iter(few.train))[0].shape == (4, 1, 8, 8)
    assert few.validation is task.validation
