"""Metrics of segmentation are counts of pixels."""

from __future__ import annotations

import pytest
import torch

from prunus._foundation.finite import NO_CLASS
from prunus.data.pictures import IGNORED
from prunus.errors import DataError
from prunus.segmentation import Confusion
from prunus.segmentation.metrics import classes_of, maps_of, together

DRAW = torch.Generator().manual_seed(0)
LOGITS = torch.randn(2, 3, 4, 5, generator=DRAW, dtype=torch.float64)
TARGETS = torch.randint(3, (2, 4, 5), generator=DRAW)
TARGETS[0, 0, :3] = IGNORED


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


@pytest.mark.parametrize("classes", [1, 3])
def test_pixels_whose_logits_are_nan_are_right_of_nothing(classes: int) -> None:
    """They were of class 0, which most pixels are: a broken network had a high accuracy."""
    logits = torch.full((1, classes, 1, 4), -1.0)
    logits[0, 0, 0, 3] = 1.0
    logits[0, -1, 0, :2] = torch.nan
    found, confusion = classes_of(logits), Confusion(max(classes, 2))
    assert found[0, 0, :2].tolist() == [NO_CLASS, NO_CLASS]
    confusion.add(found, torch.tensor([[[0, 0, 0, int(classes == 1)]]]))
    assert confusion.pixel_accuracy() == 50.0 and int(confusion.counts.sum()) == 4
    # of four pixels of class 0 two, or of three one
    assert float(confusion.iou()[0]) == pytest.approx(100 / (2 if classes == 3 else 3))
    assert Confusion.of(confusion.counts).figures() == confusion.figures()


def test_what_is_quoted_is_of_the_foreground_or_a_mean() -> None:
    binary_one, three = Confusion(2), Confusion(3)
    binary_one.counts = torch.tensor([[50, 10], [5, 35]])
    assert binary_one.figures() == pytest.approx(
        {"pixel accuracy": 85.0, "IoU": 100 * 35 / 50, "Dice": 200 * 35 / 85}
    )
    three.counts = torch.tensor([[50, 10, 0], [5, 35, 0], [0, 0, 0]])
    # a class that is nowhere does not count
    assert three.figures()["IoU"] == pytest.approx((100 * 50 / 65 + 100 * 35 / 50) / 2)


def test_logits_are_found_among_outputs() -> None:
    assert maps_of({"out": LOGITS, "aux": None}) is LOGITS and maps_of(LOGITS) is LOGITS
    other = {"logits": LOGITS}
    assert maps_of(other) is other and maps_of(None) is None


def test_a_label_to_ignore_is_no_class_however_often_it_is_found() -> None:
    """One pixel that was taken for void, 0 among labels 1 and 2, was a class at 0 percent of the mean."""
    truth, guess = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([1, 0, 1, 0, 2, 2])
    void, binary = Confusion(3, 0), Confusion(2, 0)
    void.add(guess, truth)
    assert int(void.counts.sum()) == 4 and void.iou().isnan().tolist() == [True, False, False]
    assert void.figures() == pytest.approx({"pixel accuracy": 75.0, "IoU": 75.0, "Dice": (200 / 3 + 100) / 2})
    assert together([void, void]).figures() == void.figures()
    assert Confusion.of(void.counts, 0).figures() == void.figures()
    binary.add(torch.tensor([1, 0]), torch.tensor([1, 1]))
    assert binary.figures()["IoU"] == 50.0
