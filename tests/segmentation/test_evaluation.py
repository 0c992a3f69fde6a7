"""Whole pictures are counted."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prunus.data.picture_sets import load_pictures
from prunus.data.pictures import IGNORED, Example, Loaded
from prunus.errors import DataError
from prunus.segmentation import Confusion, evaluate
from prunus.segmentation.metrics import classes_of
from prunus.tasks import MeanIoU
from prunus.tasks.pictures import pictures_task


class Under(nn.Module):
    """Returns the logits of another network as torchvision's do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.inner(x)}


@pytest.mark.parametrize("maps", [1, 3])
def test_whole_pictures_are_counted_pixel_by_pixel(maps: int) -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(2, maps, 1)
    examples = []
    for height, width in ((20, 70), (50, 33)):
        pixels = torch.randint(0, 256, (2, height, width), dtype=torch.uint8)
        mask = torch.randint(0, max(maps, 2), (1, height, width), dtype=torch.uint8)
        mask[0, :2] = IGNORED
        examples.append(Example("a", Loaded(pixels), Loaded(mask)))
    normalise = ((0.4, 0.6), (0.2, 0.3))
    wanted = Confusion(max(maps, 2))
    for example in examples:
        assert isinstance(example.picture, Loaded) and isinstance(example.mask, Loaded)
        image = (example.picture.pixels / 255 - torch.tensor(normalise[0]).view(2, 1, 1)) / torch.tensor(
            normalise[1]
        ).view(2, 1, 1)
        wanted.add(classes_of(model(image[None]).detach())[0], example.mask.pixels[0])
    found = evaluate(model, examples, normalise, tile=32, overlap=8)
    assert torch.equal(found.counts, evaluate(Under(model), examples, normalise, tile=32, overlap=8).counts)
    assert int(found.counts.sum()) == 20 * 70 + 50 * 33 - 2 * 70 - 2 * 33
    assert int((found.counts - wanted.counts).abs().sum()) <= 2  # blending may turn a tie
    with pytest.raises(DataError, match="a has no mask"):
        evaluate(model, [Example("a", examples[0].picture)], normalise)
    with pytest.raises(DataError, match="no pictures to evaluate on"):
        evaluate(model, [], normalise)
    with pytest.raises(DataError, match="a has 2 planes, but the network's mean and deviation are of 1"):
        evaluate(model, examples, ((0.5,), (0.5,)))


class Shown(nn.Module):
    """Finds the class that a picture shows as its first plane."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot((255 * x[:, 0]).round().long(), 3).movedim(-1, 1).float()


def test_a_void_label_of_masks_is_no_class_of_the_mean(tmp_path: Path) -> None:
    """With void 0 among labels 1 and 2, one pixel that is taken for void cost a third of the mean IoU."""
    image = pytest.importorskip("PIL.Image")
    for part in ("train", "test"):
        for kind, rows in (("images", [[1, 1, 2], [2, 1, 0]]), ("masks", [[1, 1, 2], [0, 0, 2]])):
            (tmp_path / part / kind).mkdir(parents=True)
            pixels = np.array(rows, np.uint8)
            plane = np.stack([pixels] * 3, -1) if kind == "images" else pixels
            image.fromarray(plane).save(tmp_path / part / kind / "a.png")
    found = load_pictures(tmp_path, ignore=0)
    plain = (0.0,) * 3, (1.0,) * 3
    figures = evaluate(Shown(), found.test, plain, tile=32, overlap=8).figures()
    assert figures["IoU"] == pytest.approx((100 + 50) / 2) and figures["pixel accuracy"] == 75
    task = pictures_task(found, found.train, [], normalise=plain, side=32)
    assert task.figures(Shown())[0] == pytest.approx(75)
    classes = MeanIoU(ignore=0).by_class(task.entries(Shown(), "test"))
    assert [one.there for one in classes] == [0, 2, 2] and math.isnan(classes[0].value)
