"""Metrics: what one sample contributes, and what is none."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from prunus.errors import ConfigError, DataError
from prunus.tasks import MeanIoU
from prunus.tasks.metrics import Accuracy, Mean, Metric, as_metric, collected, squared_error

LOGITS = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0]])
LABELS = torch.tensor([1, 1, 1])


def points(found: Any) -> list[float]:
    assert isinstance(found, Tensor) and found.dtype == torch.float64
    return found.tolist()


def measured(metric: Metric, pairs: Any) -> Any:
    return metric.points(collected(metric, pairs))


def test_accuracy_is_a_hundred_or_nothing_per_sample_batch_by_batch() -> None:
    assert points(measured(Accuracy(), [(LOGITS[:2], LABELS[:2]), (LOGITS[2:], LABELS[2:])])) == [100, 0, 100]
    for outputs in (LOGITS[:2], LOGITS[0], [LOGITS]):
        with pytest.raises(ConfigError, match="a metric of its own"):
            Accuracy().entries(outputs, LABELS)


@pytest.mark.parametrize(
    ("labels", "said"), [([1, 2, 1], "to 1, not 2: let labels begin at 0"), ([0.0, 1.0, 0.5], "0.5")]
)
def test_labels_that_no_output_stands_for_are_told(labels: list[float], said: str) -> None:
    """Every such sample counted as wrong: labels that begin at 1 gave a low accuracy without a word."""
    with pytest.raises(ConfigError, match=said):
        Accuracy().entries(LOGITS, torch.tensor(labels))


def test_outputs_that_are_no_numbers_are_right_of_no_sample() -> None:
    """A network that gives NaN was right of all samples of the first class."""
    nowhere = torch.full((3, 2), float("nan"))
    assert points(measured(Accuracy(), [(nowhere, torch.tensor([0, 0, 1]))])) == [0, 0, 0]


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 4)])
def test_squared_errors_are_means_over_a_sample(shape: tuple[int, ...]) -> None:
    outputs, targets = torch.randn(shape), torch.randn(shape)
    wanted = [-float(((a - b) ** 2).mean()) for a, b in zip(outputs, targets)]
    assert squared_error(outputs, targets).tolist() == pytest.approx(wanted)
    with pytest.raises(ConfigError, match="A squared error is of outputs and targets of one shape"):
        squared_error(outputs, targets[:4])


def test_a_function_is_a_metric_by_its_name_and_one_number_per_sample() -> None:
    def mean_distance(outputs: Tensor, targets: Tensor) -> Tensor:
        return -(outputs - targets).abs()

    metric = as_metric(mean_distance)
    assert metric.name == "mean distance"
    assert points(measured(metric, [(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 2.0]))])) == [-1, -2]
    assert as_metric(metric) is metric and as_metric(iou := MeanIoU()) is iou
    with pytest.raises(ConfigError, match="must give one number per sample"):
        Mean(lambda outputs, targets: outputs.mean()).entries(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ConfigError, match="A metric is a function"):
        as_metric("accuracy")


def test_nothing_to_measure_on_is_told() -> None:
    with pytest.raises(DataError, match="no samples to measure on"):
        measured(Accuracy(), [])


def test_functions_without_a_name_are_called_a_metric() -> None:
    """Reports said <lambda>."""
    for metric in (lambda outputs, targets: outputs, partial(squared_error)):
        assert as_metric(metric).name == "metric"
    assert as_metric(squared_error).name == "squared error"
