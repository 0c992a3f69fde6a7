"""What a task holds, in one line and in a record."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from prunus import data
from prunus.tasks import MeanIoU, Regression, Task, squared_error
from prunus.tasks.words import in_words, metric_text, normalisation_of, record_of, reported_on

DIGITS = data.load("digits")


def test_classes_are_named_and_parts_counted() -> None:
    kept, held = DIGITS.train.subset(torch.arange(1200)), DIGITS.train.subset(torch.arange(1200, 1240))
    task = Task(kept, held, DIGITS.test, normalise=DIGITS.normalise, classes=DIGITS.classes, name="digits")
    assert in_words(task) == (
        "digits: 10 classes (0, 1, 2, 3 …), 1,200 samples to train on, 40 to choose by, 355 to report on, one"
        " of 1×8×8; top-1 accuracy."
    )
    record = record_of(task)
    assert (record["train"], record["validation"], record["test"]) == (1200, 40, 355)
    assert record["mean"] == list(DIGITS.mean) and record["classes"] == list(DIGITS.classes)


def test_what_is_not_there_is_not_named() -> None:
    pairs: list[Any] = [((torch.zeros(4, 2, 16), torch.zeros(4, 3)), torch.zeros(4, 1))] * 2
    task = Task(pairs, loss=F.mse_loss, metric=squared_error, name="heights")
    assert in_words(task) == "heights: 2 batches to train on, one of 2×16 and 3; squared error."
    assert record_of(task) == {"name": "heights", "train": 2, "validation": 0, "test": 0}
    assert normalisation_of(task) is None


def test_samples_are_counted_whatever_batches_they_come_in() -> None:
    """Batches were taken for samples, and the standard error of an accuracy was too large."""
    batches = [(torch.zeros(size, 3), torch.zeros(size, dtype=torch.long)) for size in (8, 8, 3)]
    assert reported_on(Task(batches, test=batches)) == 19
    digits = data.load("digits")
    assert reported_on(Task(digits.train, test=digits.test, normalise=digits.normalise)) == len(digits.test)


def test_percents_are_called_so() -> None:
    part = [(torch.zeros(2, 3), torch.zeros(2))]
    texts = [
        metric_text(Task(part, metric=metric))
        for metric in (None, MeanIoU(), Regression(torch.ones(2)), squared_error)
    ]
    assert texts == ["top-1 accuracy, percent", "mean IoU, percent", "R², percent", "squared error"]
