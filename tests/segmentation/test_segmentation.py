"""Losses and metrics of segmentation pixel by pixel, and prediction without seams."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.data.pictures import IGNORED, Example, Loaded
from prunus.errors import ConfigError, DataError
from prunus.segmentation import Confusion, binary, dice_loss, evaluate, log_jaccard, predict
from prunus.segmentation.losses import cross_entropy
from prunus.segmentation.metrics import classes_of

DRAW = torch.Generator().manual_seed(0)
LOGITS = torch.randn(2, 3, 4, 5, generator=DRAW, dtype=torch.float64)
TARGETS = torch.randint(3, (2, 4, 5), generator=DRAW)
TARGETS[0, 0, :3] = IGNORED


def pixels(sample: int, single: bool) -> list[tuple[list[float], int]]:
    """Probabilities and true class of every known pixel."""
    found = []
    for row in range(4):
        for column in range(5):
            true = int(TARGETS[sample, row, column])
            if true == IGNORED:
                continue
            z = LOGITS[sample, :, row, column].tolist()
            if single:
                p = 1 / (1 + math.exp(-z[0]))
                found.append(([1 - p, p], int(true == 1)))
            else:
                total = sum(math.exp(v) for v in z)
                found.append(([math.exp(v) / total for v in z], true))
    return found


@pytest.mark.parametrize("single", [True, False])
def test_losses_are_the_formulas(single: bool) -> None:
    logits = LOGITS[:, :1] if single else LOGITS
    for sample in range(2):
        known = pixels(sample, single)
        entropy = -sum(math.log(p[t]) for p, t in known) / len(known)
        dices, jaccards = [], []
        for c in [1] if single else range(3):
            overlap = sum(p[c] for p, t in known if t == c)
            both = sum(p[c] for p, _ in known) + sum(t == c for _, t in known)
            dices.append(1 - (2 * overlap + 1) / (both + 1))
            jaccards.append(-math.log((overlap + 1) / (both - overlap + 1)))
        assert float(cross_entropy(logits, TARGETS)[sample]) == pytest.approx(entropy)
        assert float(dice_loss(logits, TARGETS)[sample]) == pytest.approx(sum(dices) / len(dices))
        assert float(log_jaccard(logits, TARGETS)[sample]) == pytest.approx(sum(jaccards) / len(jaccards))
        assert float(binary(logits, TARGETS)[sample]) == pytest.approx(
            entropy + sum(jaccards) / len(jaccards)
        )


def test_a_sample_that_nobody_knows_costs_nothing() -> None:
    targets = torch.full((2, 4, 5), IGNORED)
    for loss in (cross_entropy, dice_loss, log_jaccard):
        assert torch.allclose(loss(LOGITS, targets), torch.zeros(2, dtype=torch.float64))


def test_metrics_are_counts() -> None:
    found = torch.randint(3, (2, 4, 5), generator=DRAW)
    confusion = Confusion(3)
    for sample in range(2):
        confusion.add(found[sample], TARGETS[sample])
    known = [(int(t), int(f)) for t, f in zip(TARGETS.flatten(), found.flatten()) if int(t) != IGNORED]
    assert confusion.pixel_accuracy() == pytest.approx(100 * sum(t == f for t, f in known) / len(known))
    for c in range(3):
        both = sum(t == c and f == c for t, f in known)
        either = sum(t == c or f == c for t, f in known)
        assert float(confusion.iou()[c]) == pytest.approx(100 * both / either)
        assert float(confusion.dice()[c]) == pytest.approx(200 * both / (either + both))


def test_a_class_that_is_nowhere_has_no_iou() -> None:
    confusion = Confusion(2)
    confusion.add(torch.zeros(3), torch.zeros(3))
    assert confusion.iou().isnan().tolist() == [False, True] and confusion.pixel_accuracy() == 100


def test_wrong_masks_are_named() -> None:
    with pytest.raises(DataError, match=r"A prediction of shape \(2, 3\)"):
        Confusion(2).add(torch.zeros(2, 3), torch.zeros(3, 2))
    with pytest.raises(DataError, match="A mask has class 2, but there are 2 classes"):
        Confusion(2).add(torch.zeros(3), torch.tensor([0, 1, 2]))


def test_classes_of_logits() -> None:
    assert torch.equal(classes_of(LOGITS), LOGITS.argmax(1))
    assert torch.equal(classes_of(LOGITS[:, :1]), (LOGITS[:, 0] > 0).long())


class Pointwise(nn.Module):
    """Looks at nothing but the pixel itself, so that tiles cannot differ from the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.sizes: list[torch.Size] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(x.shape)
        return self.conv(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("size", [(50, 70), (32, 32), (33, 32), (20, 100), (5, 3), (1, 40)])
@pytest.mark.parametrize("overlap", [0, 5, 16])
def test_tiles_cover_every_pixel_once_in_sum(size: tuple[int, int], overlap: int) -> None:
    model, picture = Pointwise(), torch.randn(3, *size, generator=DRAW)
    found = predict(model, picture, tile=32, overlap=overlap)
    assert found.shape == (2, *size)
    assert torch.allclose(found, model.conv(picture[None])[0], atol=1e-5)
    assert {shape[2:] for shape in model.sizes} == {(32, 32)}


def test_a_network_that_sees_around_shows_no_seam() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.ReLU(), nn.Conv2d(4, 1, 5, padding=2))
    picture = torch.randn(3, 90, 90, generator=DRAW)
    whole = model(picture[None])[0].detach()
    errors = [
        (predict(model, picture, tile=32, overlap=overlap) - whole)[:, 8:-8, 8:-8].abs()
        for overlap in (0, 6, 16)
    ]
    assert float(errors[2].mean()) < 0.5 * float(errors[0].mean())
    assert float(errors[2].max()) < float(errors[1].max()) < float(errors[0].max())


def test_an_overlap_must_leave_something() -> None:
    with pytest.raises(ConfigError, match="can overlap by 0 to 16, not by 17"):
        predict(Pointwise(), torch.zeros(3, 40, 40), tile=32, overlap=17)


def test_progress_is_told_and_the_mode_is_kept() -> None:
    told: list[tuple[int, int]] = []
    model = Pointwise().train()
    predict(
        model,
        torch.zeros(3, 60, 60),
        tile=32,
        overlap=4,
        batch_size=3,
        on_step=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)] and model.training


def test_reflection_continues_small_pictures() -> None:
    from prunus.segmentation.predict import reflected

    picture = torch.arange(6.0).view(1, 2, 3)
    assert torch.equal(reflected(picture, 3, 5), F.pad(picture[None], (0, 2, 0, 1), mode="reflect")[0])
    assert reflected(torch.ones(1, 1, 1), 4, 4).shape == (1, 4, 4)


def test_what_is_quoted_is_of_the_foreground_or_a_mean() -> None:
    binary_one, three = Confusion(2), Confusion(3)
    binary_one.counts = torch.tensor([[50, 10], [5, 35]])
    assert binary_one.figures() == pytest.approx(
        {"pixel accuracy": 85.0, "IoU": 100 * 35 / 50, "Dice": 200 * 35 / 85}
    )
    three.counts = torch.tensor([[50, 10, 0], [5, 35, 0], [0, 0, 0]])
    assert three.figures()["IoU"] == pytest.approx(
        (100 * 50 / 65 + 100 * 35 / 50) / 2
    )  # a class that is nowhere does not count


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
    assert int(found.counts.sum()) == 20 * 70 + 50 * 33 - 2 * 70 - 2 * 33
    assert int((found.counts - wanted.counts).abs().sum()) <= 2  # blending may turn a tie
    with pytest.raises(DataError, match="a has no mask"):
        evaluate(model, [Example("a", examples[0].picture)], normalise)
    with pytest.raises(DataError, match="no pictures to evaluate on"):
        evaluate(model, [], normalise)
    with pytest.raises(DataError, match="a has 2 planes, but the network's mean and deviation are of 1"):
        evaluate(model, examples, ((0.5,), (0.5,)))
