"""Tasks from `.npz` files: what the arrays are of, and what is no such file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import prunus
from prunus.errors import ConfigError, DataError
from prunus.tasks import MeanIoU, Regression, Samples, npz_task
from prunus.training import TrainConfig

RANDOM = np.random.default_rng(0)


def signals(count: int = 120) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Two planes of noise, the first with a slow or a fast wave in it, sorted by class."""
    places = np.arange(32) / 32
    labels = np.sort(np.arange(count) % 2)
    waves = np.sin(2 * np.pi * places * np.where(labels, 8, 2)[:, None] + RANDOM.uniform(0, 6, (count, 1)))
    return (RANDOM.normal(0, 0.3, (count, 2, 32)) + waves[:, None] * [[1], [0]]).astype(np.float32), labels


def net(outputs: int) -> nn.Module:
    torch.manual_seed(0)
    first = (
        nn.Conv1d(2, 8, 5, padding=2),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Conv1d(8, 8, 5, padding=2),
        nn.ReLU(),
    )
    return nn.Sequential(*first, nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(8, outputs))


def test_classes_of_signals_are_told_apart_and_the_network_pruned(tmp_path: Path) -> None:
    inputs, labels = signals()
    np.savez(tmp_path / "waves.npz", inputs=inputs, targets=labels)
    task = npz_task(tmp_path / "waves.npz")
    assert [task.count(part) for part in ("train", "validation", "test")] == [86, 10, 24] and task.kind(
        "train"
    ) == "samples"
    assert task.classes == ("0", "1") and task.metric_name == "top-1 accuracy" and task.name == "waves.npz"
    model = net(2)
    task.fit(model, TrainConfig(epochs=8, batch_size=16, lr=0.02, optimizer="adam"))
    assert task.value(model) > 90
    outcome = prunus.shrink(
        model, task, macs=0.5, score="norm-l2", compensate="none", config=TrainConfig(epochs=2, lr=0.01)
    )
    assert outcome.plan.after.macs <= 0.5 * outcome.plan.before.macs and outcome.steps[
        -1
    ].value == pytest.approx(task.value(outcome.model))


def test_sorted_samples_are_drawn_from_everywhere(tmp_path: Path) -> None:
    inputs, labels = signals()
    np.savez_compressed(tmp_path / "waves.npz", inputs=inputs, targets=labels)
    task = npz_task(tmp_path / "waves.npz")
    assert {int(label) for _, targets in task.calibration(16).pairs() for label in targets} == {0, 1}
    first, again = (torch.cat(list(task.calibration(16))) for _ in range(2))
    assert torch.equal(first, again) and len(first) == 16
    assert isinstance(task.train, Samples)
    drawn = task.train.of(10, drawn=True)
    passes = [torch.cat([targets for _, targets in drawn]) for _ in range(2)]
    assert (
        len(drawn) == 9
        and not torch.equal(passes[0], passes[1])
        and torch.equal(passes[0].sort().values, passes[1].sort().values)
    )


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_numbers_are_predicted_in_units_of_their_spread(tmp_path: Path, shape: tuple[int, ...]) -> None:
    inputs, _ = signals()
    spread = 10.0 ** np.arange(max(int(np.prod(shape)), 1)).reshape(shape)
    targets = inputs.max((1, 2)).reshape(-1, *[1] * len(shape)) * spread
    np.savez(
        tmp_path / "a.npz",
        train_inputs=inputs[:80],
        train_targets=targets[:80],
        test_x=inputs[80:],
        y_test=targets[80:],
    )
    task = npz_task(tmp_path / "a.npz", validation=0.25)
    assert [task.count(part) for part in ("train", "validation", "test")] == [60, 20, 40]
    model = net(max(int(np.prod(shape)), 1))
    value, loss = task.figures(model)
    assert (
        isinstance(task.train, Samples)
        and isinstance(task.test, Samples)
        and isinstance(task.metric, Regression)
    )
    with torch.no_grad():
        found = model.eval()(task.test.inputs).reshape(task.test.targets.shape).double()
    error = (found - task.test.targets).square().mean(0) / torch.from_numpy(
        targets[:80].astype(np.float32)
    ).double().var(0, correction=0)
    assert value == pytest.approx(100 - 100 * float(error.mean()), rel=1e-4) and loss == pytest.approx(
        float(error.mean()), rel=1e-4
    )
    with pytest.raises(ConfigError, match=r"must give numbers of the targets' shape"):
        task.value(net(7))


@pytest.mark.parametrize("axes", [(16,), (12, 16)])
def test_maps_of_classes_have_void_and_mean_iou(tmp_path: Path, axes: tuple[int, ...]) -> None:
    inputs = RANDOM.normal(size=(30, 3, *axes)).astype(np.float64)
    maps = (inputs[:, 0] > 0).astype(np.int16) + (inputs[:, 0] > 1)
    maps[..., 0] = 9
    np.savez(
        tmp_path / "m.npz",
        x_train=inputs[:20],
        y_train=maps[:20],
        x_val=inputs[20:25],
        y_val=maps[20:25],
        x_test=inputs[25:],
        y_test=maps[25:],
    )
    task = npz_task(tmp_path / "m.npz", ignore=9)
    assert (
        isinstance(task.metric, MeanIoU) and task.classes == ("0", "1", "2") and task.count("validation") == 5
    )
    convolution = nn.Conv1d if len(axes) == 1 else nn.Conv2d
    right = convolution(3, 3, 1)
    with torch.no_grad():
        right.weight.zero_()
        right.weight[:, 0] = torch.tensor([-4.0, 0.0, 4.0]).view(3, *[1] * len(axes))
        right.bias.copy_(torch.tensor([1.0, 1.0, -3.0]))  # type: ignore[union-attr]
    assert task.value(right) == pytest.approx(100.0) and task.figures(right)[1] < 1


def test_pictures_of_bytes_are_samples_as_any_data_set(tmp_path: Path) -> None:
    pictures, labels = (
        RANDOM.integers(0, 256, (40, 8, 10, 3), dtype=np.uint8),
        (np.arange(40) % 4)[:, None].astype(np.uint8),
    )
    np.savez(tmp_path / "p.npz", train_images=pictures, train_labels=labels)
    task = npz_task(tmp_path / "p.npz")
    split = task.samples("train")
    assert (
        split.images.shape[1:] == (3, 8, 10)
        and task.classes == ("0", "1", "2", "3")
        and len(task.normalisation[0]) == 3
    )
    every = torch.cat([task.samples(part).images for part in ("train", "validation", "test")])
    assert torch.equal(every.flatten().sort().values, torch.from_numpy(pictures).flatten().sort().values)
    np.savez(
        tmp_path / "g.npz",
        images=pictures[..., 0],
        masks=np.where(pictures[..., 1] > 99, 255, 0).astype(np.uint8),
    )
    binary = npz_task(tmp_path / "g.npz")
    images, masks = next(binary.batches("train", 4))
    assert (
        binary.classes == ("0", "1")
        and images.dtype == torch.float32
        and abs(float(images.mean())) < 0.3
        and int(masks.max()) == 1
    )


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({}, "needs the arrays train_inputs and train_targets, or inputs and targets; it has nothing"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, "it has a, b"),
        ({"train_inputs": np.zeros((3, 1))}, "has train_inputs and no train_targets"),
        ({"inputs": np.zeros((3, 1, 4)), "targets": np.arange(4)}, "has 3 inputs and 4 targets"),
        ({"inputs": np.zeros((3, 0, 4)), "targets": np.arange(3)}, "no axis may be empty"),
        ({"inputs": np.float32(1), "targets": np.arange(3)}, "the first axis is that of the samples"),
        (
            {"inputs": np.zeros((3, 1), object), "targets": np.arange(3)},
            "Python objects, which only pickle reads",
        ),
        ({"inputs": np.array(["a", "b"]), "targets": np.arange(2)}, "where whole numbers or float16"),
        ({"inputs": np.zeros((3, 1), complex), "targets": np.arange(3)}, "holds complex128"),
        ({"inputs": np.zeros((3, 1), "M8[s]"), "targets": np.arange(3)}, "where whole numbers or float16"),
        (
            {"inputs": np.array([[1.0], [np.nan]]), "targets": np.arange(2)},
            "holds NaN or infinity, at sample 1 first",
        ),
        ({"inputs": np.array([[1e300], [0]]), "targets": np.arange(2)}, "NaN or infinity, at sample 0 first"),
        ({"inputs": np.zeros((3, 2, 8)), "targets": np.arange(3) - 1}, "go from -1 to 1"),
        ({"inputs": np.zeros((3, 2, 8)), "targets": np.arange(3) * 10**9}, "classes are numbered from 0"),
        ({"inputs": np.zeros((3, 2, 8)), "targets": np.zeros(3, int)}, "class 0 alone"),
        (
            {"inputs": np.zeros((3, 2, 8)), "targets": np.zeros((3, 5), int)},
            r"whole numbers of the shape \(3, 5\)",
        ),
        (
            {"inputs": np.zeros((3, 2)), "x": np.zeros((3, 2)), "targets": np.arange(3)},
            "inputs and x, which mean the same",
        ),
        (
            {
                "x_train": np.zeros((3, 2)),
                "y_train": np.arange(3),
                "x_test": np.zeros((3, 4)),
                "y_test": np.arange(3),
            },
            "one sample of x_test",
        ),
        (
            {
                "x_train": np.zeros((3, 2)),
                "y_train": np.arange(3),
                "x_test": np.zeros((3, 2)),
                "y_test": np.ones(3),
            },
            "y_test holds float64",
        ),
        ({"inputs": np.zeros((1, 2)), "targets": np.ones(1)}, "none can be held out"),
        ({"inputs": np.zeros((3, 2)), "targets": np.arange(3)}, "one training sample of every class"),
    ],
)
def test_arrays_that_make_no_task_are_told_in_a_sentence(
    tmp_path: Path, arrays: dict[str, Any], text: str
) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=text) as failure:
        npz_task(tmp_path / "bad.npz")
    assert "bad.npz" in str(failure.value) and str(failure.value).count("\n") == 0


def test_maps_are_binary_in_all_parts_or_in_none(tmp_path: Path) -> None:
    """A class that only test samples have is not taken for the ground."""
    pictures = RANDOM.integers(0, 255, (6, 3, 4, 4), dtype=np.uint8)
    masks = np.tile(np.array([0, 255], np.uint8), (6, 4, 2))
    other = masks.copy()
    other[:, 0, 0] = 1
    parts: dict[str, Any] = {"train_inputs": pictures, "train_targets": masks, "test_inputs": pictures}
    np.savez(tmp_path / "a.npz", **parts, test_targets=masks)
    ((_, found),) = npz_task(tmp_path / "a.npz").batches("test")
    assert torch.equal(found, torch.from_numpy((masks == 255).astype(np.int64)))
    np.savez(tmp_path / "b.npz", **parts, test_targets=other)
    ((_, found),) = npz_task(tmp_path / "b.npz").batches("test")
    assert torch.equal(found, torch.from_numpy(other.astype(np.int64)))


@pytest.mark.parametrize(
    ("train", "test", "missing"), [((1, 2), (1, 2), "class 0"), ((1, 3), (4, 4), "classes 0, 2, 4")]
)
def test_classes_that_nothing_is_trained_on_are_told(
    tmp_path: Path, train: tuple[int, int], test: tuple[int, int], missing: str
) -> None:
    inputs = np.zeros((20, 2, 8), np.float32)
    labels = np.repeat(train, 10), np.repeat(test, 10)
    np.savez(tmp_path / "a.npz", train_x=inputs, test_x=inputs, train_y=labels[0], test_y=labels[1])
    with pytest.warns(UserWarning, match=f"no training samples of {missing}: labels are numbers from 0"):
        npz_task(tmp_path / "a.npz")
