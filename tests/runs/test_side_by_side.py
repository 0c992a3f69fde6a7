"""Test samples for the report: which are shown, and what is drawn of them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from prunus.data import Split
from prunus.report.examples import section
from prunus.runs import drawing
from prunus.runs import side_by_side as module
from prunus.runs.side_by_side import DIFFERENT, DISAGREED, FIRST, side_by_side
from prunus.tasks import MeanIoU, Samples, Task, squared_error

PIL = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
DRAW = torch.Generator().manual_seed(5)
SIDE = 8


class Above(nn.Module):
    """Class 1 wherever the first plane is above a level, else class 0."""

    def __init__(self, level: float, maps: int = 2) -> None:
        super().__init__()
        self.level, self.maps = level, maps

    def forward(self, x: Tensor) -> Tensor:
        height = x[:, :1] - self.level
        return height if self.maps == 1 else torch.cat([-height, height], 1)


class Mean(nn.Module):
    """The class of a picture by its mean: above a level or not."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, x: Tensor) -> Tensor:
        height = x.flatten(1).mean(1, keepdim=True) - self.level
        return torch.cat([-height, height], 1)


def of_masks(count: int = 20) -> tuple[Task, Tensor]:
    inputs = torch.rand(count, 3, SIDE, SIDE, generator=DRAW)
    masks = (inputs[:, 0] > 0.5).long()
    masks[:, -1] = 255
    samples = Samples(inputs, masks, batch_size=7)
    return Task(
        samples, test=samples, metric=MeanIoU(), loss=squared_error, classes=("ground", "house")
    ), inputs


def image_of(uri: str) -> Any:
    kind, content = uri.split(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return PIL.open(io.BytesIO(base64.b64decode(content))).convert("RGB")


def test_the_first_pictures_are_shown_and_those_that_differ_most() -> None:
    task, inputs = of_masks()
    found = side_by_side(task, Above(0.5), Above(0.7))
    assert found is not None
    known = inputs[:, 0, :-1]
    differ = (((known > 0.5) != (known > 0.7)).flatten(1).double().mean(1)).tolist()
    rest = sorted(range(FIRST, len(differ)), key=lambda place: -differ[place])
    shown = found.panel["samples"]
    assert [one["position"] for one in shown] == [*range(FIRST), *rest[:DIFFERENT]]
    assert [one["why"] for one in shown] == ["first"] * FIRST + ["differs"] * DIFFERENT
    assert [one["difference"] for one in shown] == pytest.approx(
        [differ[one["position"]] for one in shown], abs=1e-6
    )
    assert set(found.images) == {name for one in shown for name in one["images"]}
    json.dumps(found.panel, allow_nan=False)
    again = side_by_side(task, Above(0.5), Above(0.7))
    assert again is not None and again.panel == found.panel and again.images == found.images


@pytest.mark.parametrize("maps", [1, 2])
def test_a_mask_lies_over_its_picture_in_the_colour_of_its_class(maps: int) -> None:
    task, inputs = of_masks()
    found = side_by_side(task, Above(0.5, maps), Above(0.7, maps))
    assert found is not None and found.panel["columns"] == ["picture", "true", "dense", "compact"]
    assert [one["name"] for one in found.panel["legend"]] == ["house"], "the ground is what is not looked for"
    plain, compact = (image_of(found.images[f"0-{column}"]) for column in ("picture", "compact"))
    factor, grey = plain.width // SIDE, plain.convert("L").convert("RGB")
    assert plain.size == (factor * SIDE, factor * (SIDE - 1)), "a row of which nothing is known is left out"
    wanted = tuple(int(drawing.colour_of(1)[i : i + 2], 16) for i in (1, 3, 5))
    for row, column in ((0, 0), (3, 4), (6, 7), (2, 5)):
        place = column * factor + factor // 2, row * factor + factor // 2
        before, after = grey.getpixel(place), compact.getpixel(place)
        share = round(255 * drawing.STRONG) / 255 if inputs[0, 0, row, column] > 0.7 else 0.0
        mixed = [(1 - share) * old + share * colour for old, colour in zip(before, wanted)]
        assert after == pytest.approx(mixed, abs=1.5)


def test_without_a_dense_network_the_compact_one_is_shown_alone() -> None:
    found = side_by_side(of_masks()[0], None, Above(0.7))
    assert found is not None and found.panel["columns"] == ["picture", "true", "compact"]
    assert [one["position"] for one in found.panel["samples"]] == list(range(FIRST))
    text = section(found.panel, found.images)["text"]
    assert text == "The first 3 test pictures."


def of_classes(count: int = 60) -> Task:
    images = torch.randint(256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=DRAW)
    images = (images.float() * torch.rand(count, 1, 1, 1, generator=DRAW)).to(torch.uint8)
    labels = torch.randint(2, (count,), generator=DRAW)
    split = Split(images, labels)
    return Task(split, test=split, normalise=((0.2, 0.3, 0.1), (0.5, 0.2, 0.4)), classes=("dark", "light"))


def test_samples_of_which_the_networks_tell_other_classes_are_shown_and_counted() -> None:
    task, networks = of_classes(), (Mean(-0.1), Mean(0.3))
    found = side_by_side(task, *networks)
    assert found is not None
    right = {"dense": 0, "compact": 0, "neither": 0}
    differ: list[int] = []
    inputs = torch.cat([inputs for inputs, _ in task.batches("test")])
    for position, true in enumerate(task.samples("test").labels.tolist()):
        dense, compact = (int(network(inputs[position][None]).argmax()) for network in networks)
        if dense != compact:
            differ.append(position)
            right["dense" if dense == true else "compact" if compact == true else "neither"] += 1
    assert len(differ) > DISAGREED
    panel = found.panel
    assert panel["differ"] == len(differ) and panel["right"] == right
    assert [one["position"] for one in panel["samples"]] == differ[:DISAGREED]
    assert {one["true"] for one in panel["samples"]} <= {"dark", "light"}
    first = differ[0]
    image, pixels = image_of(found.images[f"{first}"]), task.samples("test").images[first]
    factor = image.width // SIDE
    assert image.getpixel((3 * factor, 5 * factor)) == tuple(pixels[:, 5, 3].tolist()), "as it was before"
    text = section(panel, found.images)["text"]
    assert (
        f"for {len(differ)} of 60 test samples" in text
        and f"The first {DISAGREED} of these are shown" in text
    )


@pytest.mark.parametrize("pixels", [False, True])
def test_where_a_network_gives_nan_it_names_no_class(pixels: bool) -> None:
    """It named class 0, and was right wherever that is true."""
    task = of_masks()[0] if pixels else of_classes()
    found = side_by_side(task, Above(0.5) if pixels else Mean(-9.0), (Above if pixels else Mean)(torch.nan))
    assert found is not None and found.images
    shown = found.panel["samples"]
    if pixels:
        assert [one["label"] for one in found.panel["legend"]] == [1]
        assert all(one["difference"] == 1.0 for one in shown)
    else:
        assert {one["compact"] for one in shown} == {"not a number"} and found.panel["right"]["compact"] == 0
        assert {one["dense"] for one in shown} == {"light"}


def test_samples_that_are_no_pictures_are_counted_all_the_same() -> None:
    samples = Samples(torch.rand(9, 2, 30, generator=DRAW), torch.randint(2, (9,), generator=DRAW))
    found = side_by_side(Task(samples, test=samples), Mean(0.45), Mean(0.55))
    assert found is not None and not found.images and not found.panel["drawn"]
    assert "note" not in found.panel and section(found.panel, {})["note"] == ""


class Finds(nn.Module):
    """Boxes that were written down, for pictures whose first pixel is their number."""

    def __init__(self, boxes: Sequence[Mapping[str, Tensor]]) -> None:
        super().__init__()
        self.boxes = boxes

    def forward(self, images: Sequence[Tensor]) -> list[Mapping[str, Tensor]]:
        return [self.boxes[round(float(image[0, 0, 0]))] for image in images]


def box(left: float, label: int = 1, score: float = 0.9) -> dict[str, Tensor]:
    corners = torch.tensor([[left, 2.0, left + 4, 6.0]])
    return {"boxes": corners, "labels": torch.tensor([label]), "scores": torch.tensor([score])}


def both(*each: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: torch.cat([one[key] for one in each]) for key in each[0]}


def of_boxes(true: Sequence[Mapping[str, Tensor]]) -> Task:
    images = [torch.full((1, 12, 12), float(number)) for number in range(len(true))]
    batches = [(images[i : i + 2], list(true[i : i + 2])) for i in range(0, len(true), 2)]
    return Task(
        batches, test=batches, loss="model", metric=lambda outputs, targets: torch.zeros(len(targets))
    )


def test_as_many_of_the_surest_boxes_are_shown_as_there_are_true_ones() -> None:
    true = [box(1), box(2), box(3), box(1), box(1), box(1)]
    dense = [both(box(8, score=0.1), one) for one in true]
    compact = [*dense[:3], both(box(3, score=0.8), box(1, score=0.7)), both(box(1, label=2)), dense[5]]
    found = side_by_side(of_boxes(true), Finds(dense), Finds(compact))
    assert found is not None and found.panel["columns"] == ["true", "dense", "compact"]
    by_position = {one["position"]: one["difference"] for one in found.panel["samples"]}
    assert by_position == pytest.approx({0: 0, 1: 0, 2: 0, 4: 1, 3: 1 - 2 / 6}), "another label is no overlap"
    assert [one["name"] for one in found.panel["legend"]] == ["1", "2"]
    image = image_of(found.images["0-true"])
    factor = image.width // 12
    colour = tuple(int(drawing.colour_of(1)[i : i + 2], 16) for i in (1, 3, 5))
    assert image.getpixel((1 * factor, 4 * factor)) == colour


def test_without_pillow_the_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    found = side_by_side(of_masks()[0], Above(0.5), Above(0.7))
    assert found is not None and not found.images
    assert "pip install 'prunus[images]'" in section(found.panel, found.images)["note"]


def test_a_large_set_is_looked_at_in_part_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKED_AT", 10)
    found = side_by_side(of_masks()[0], Above(0.5), Above(0.7))
    assert found is not None and found.panel["looked_at"] == 10 and not found.panel["all"]
    assert all(one["position"] < 10 for one in found.panel["samples"])
    assert "of the first 10 test pictures" in section(found.panel, found.images)["text"]


def test_numbers_are_no_kind_that_is_shown() -> None:
    samples = Samples(torch.rand(4, 3, 8, 8), torch.rand(4, 2))
    task = Task(samples, test=samples, loss=squared_error, metric=squared_error)
    assert side_by_side(task, None, Mean(0.5)) is None and side_by_side(None, None, Mean(0.5)) is None


@pytest.mark.parametrize(("height", "width"), [(600, 300), (7, 5), (130, 1000)])
def test_pictures_are_small(height: int, width: int) -> None:
    pixels = torch.randint(256, (3, height, width), dtype=torch.uint8, generator=DRAW)
    image = drawing.picture(pixels)
    assert max(image.size) <= 256 and max(image.size) >= min(128, 2 * max(height, width))
    assert len(drawing.as_uri(image)) < 150_000


@pytest.mark.parametrize("planes", [1, 2, 3, 4, 13])
def test_any_number_of_planes_is_shown_as_one_or_three(planes: int) -> None:
    found = drawing.pixels_of(5 * torch.randn(planes, 6, 6, generator=DRAW), None)
    assert found.shape == ((3 if planes >= 3 else 1), 6, 6) and found.dtype == torch.uint8
    assert drawing.picture(found).mode == "RGB"
