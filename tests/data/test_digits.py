from __future__ import annotations

import numpy as np
import pytest
import torch

from prunus.data import load


def test_the_split_is_fixed_whole_and_stratified() -> None:
    data = load("digits")
    assert (len(data.train), len(data.test)) == (1442, 355)
    assert data.image_shape == (1, 8, 8)
    assert data.classes == tuple("0123456789")
    everything = torch.bincount(torch.cat([data.train.labels, data.test.labels]))
    assert torch.equal(torch.bincount(data.test.labels), everything // 5)


def test_pixels_use_the_whole_range() -> None:
    images = load("digits").train.images
    assert (int(images.min()), int(images.max())) == (0, 255)
    assert len(images.unique()) == 17


def test_statistics_are_those_of_the_training_images() -> None:
    data = load("digits")
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx([pixels.mean().item()])
    assert data.std == pytest.approx([pixels.std(correction=0).item()])


def test_the_embedded_digits_are_those_of_scikit_learn() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    public = datasets.load_digits()
    data = load("digits")
    images = torch.cat([data.train.images, data.test.images]).flatten(1).numpy()
    labels = torch.cat([data.train.labels, data.test.labels]).numpy()
    ours = sorted(zip(labels.tolist(), np.rint(images / 255 * 16).astype(int).tolist()))
    theirs = sorted(zip(public.target.tolist(), public.data.astype(int).tolist()))
    assert ours == theirs
