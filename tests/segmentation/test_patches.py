"""Windows that a training sees: pictures and masks alike, small pictures reflected."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from prunus.data.pictures import IGNORED, Example, Loaded
from prunus.errors import ConfigError, DataError
from prunus.segmentation import Patches
from prunus.training import TrainConfig, train

NORMALISE = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def scene(height: int = 40, width: int = 50, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A noisy picture with a bright rectangle, and its mask of 0 and 255."""
    draw = np.random.default_rng(seed)
    image, mask = (
        draw.integers(0, 80, (height, width, 3), dtype=np.uint8),
        np.zeros((height, width), np.uint8),
    )
    mask[8:30, 10:35] = 255
    image[mask > 0] += 150
    return image, mask


def loaded(seed: int = 0, height: int = 40) -> Example:
    image, mask = scene(height, seed=seed)
    return Example(
        "a", Loaded(torch.from_numpy(image).permute(2, 0, 1)), Loaded(torch.from_numpy(mask // 255)[None])
    )


def test_windows_show_the_picture_and_its_mask_alike() -> None:
    torch.manual_seed(0)
    patches = Patches([loaded()], NORMALISE, size=24, count=10, batch_size=4)
    batches = list(patches)
    assert len(patches) == 3 and [len(images) for images, _ in batches] == [4, 4, 2]
    for images, masks in batches:
        bright = (images * 0.25 + 0.5)[:, 0] * 255 > 115
        assert images.shape[1:] == (3, 24, 24) and masks.dtype == torch.int64
        assert torch.equal(bright, masks == 1)
    other = list(patches)
    assert not torch.equal(batches[0][0], other[0][0])
    torch.manual_seed(0)
    assert torch.equal(
        batches[0][0], next(iter(Patches([loaded()], NORMALISE, size=24, count=10, batch_size=4)))[0]
    )


def test_small_pictures_are_reflected_where_the_mask_is_unknown() -> None:
    images, masks = next(iter(Patches([loaded()], NORMALISE, size=64, count=2, batch_size=2, turned=False)))
    assert images.shape == (2, 3, 64, 64)
    assert (
        bool((masks[:, 40:] == IGNORED).all())
        and bool((masks[:, :, 50:] == IGNORED).all())
        and not bool((masks[:, :40, :50] == IGNORED).any())
    )


def test_windows_need_masks_and_sizes() -> None:
    with pytest.raises(DataError, match="each with its mask"):
        Patches([Example("a", loaded().picture)], NORMALISE)
    with pytest.raises(ConfigError, match="at least 1"):
        Patches([loaded()], NORMALISE, size=0)


def test_our_engine_trains_on_windows() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1))
    from prunus.segmentation import binary

    history = train(
        model,
        Patches([loaded(), loaded(1)], NORMALISE, size=16, count=32),
        TrainConfig(epochs=3, lr=0.05, batch_size=64),
        loss=binary,
    )
    assert history.epochs[-1].loss < history.epochs[0].loss
