from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from prunus.data import Split, load
from prunus.errors import ConfigError, DataError
from prunus.training import Shuffled, TrainConfig, augmented, batches, train
from prunus.training.config import size_factor
from prunus.training.feeding import Feed, alternating, check_scale, resized

NORMALISE = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def noise(count: int, planes: int = 3, height: int = 8, width: int = 10) -> Split:
    images = torch.randint(256, (count, planes, height, width), generator=torch.Generator().manual_seed(0))
    return Split(images.to(torch.uint8), torch.arange(count))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(count=st.integers(1, 40), size=st.integers(1, 50))
def test_batches_cover_the_split_once_in_nearly_equal_sizes(count: int, size: int) -> None:
    sizes, labels = [], []
    for _, part in batches(noise(count, 1, 1, 1), ((0.5,), (0.5,)), size, generator=seeded()):
        sizes.append(len(part))
        labels += part.tolist()
    assert sorted(labels) == list(range(count))
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_every_pass_is_shuffled_anew() -> None:
    passes = Shuffled(noise(10), NORMALISE, 4, dtype=torch.float64)
    first, second = ([labels for _, labels in passes] for _ in range(2))
    assert len(passes) == len(first) == 3 and next(iter(passes))[0].dtype == torch.float64
    assert sorted(torch.cat(first).tolist()) == sorted(torch.cat(second).tolist()) == list(range(10))
    assert torch.cat(first).tolist() != torch.cat(second).tolist()
    again = Shuffled(noise(10), NORMALISE, 4)
    assert all(torch.equal(a, b) for a, (_, b) in zip(first, again, strict=True))


def test_images_are_normalised_as_the_formula_says() -> None:
    split = noise(5)
    ((images, labels),) = batches(split, NORMALISE, dtype=torch.float64)
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in NORMALISE)
    torch.testing.assert_close(images, (split.images.double() / 255 - mean) / std)
    assert labels.tolist() == [0, 1, 2, 3, 4]


def test_alternating_flips_show_every_image_both_ways_in_two_epochs() -> None:
    split, config = noise(40), TrainConfig(augment="crop-flip", flips="alternating", seed=3)
    first = alternating(40, config)
    assert first is not None and 10 < int(first.sum()) < 30
    assert alternating(40, TrainConfig(augment="crop", flips="alternating")) is None
    assert alternating(40, TrainConfig(augment="crop-flip")) is None
    feed = Feed(split, NORMALISE, "crop-flip", torch.float64, False, 0, first)
    part = torch.randperm(40, generator=seeded(1))[:15]
    passes = [feed(part, seeded(2), epoch=epoch)[0] for epoch in range(3)]  # the same shifts in each
    whole = torch.ones(15, dtype=torch.bool)
    assert torch.equal(passes[0], passes[2])
    plain = augmented(split.images[part], "crop-flip", seeded(2), mirrored=~whole)
    turned = augmented(split.images[part], "crop-flip", seeded(2), mirrored=whole)
    assert torch.equal(plain, augmented(split.images[part], "crop", seeded(2)))
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in NORMALISE)
    for seen, mirrored in zip(passes, (first[part], ~first[part])):
        wanted = torch.where(mirrored[:, None, None, None], turned, plain)
        torch.testing.assert_close(seen, (wanted.double() / 255 - mean) / std)


def test_memory_format_and_type_are_as_asked() -> None:
    images, _ = next(batches(noise(4), NORMALISE, channels_last=True))
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.dtype == torch.float32
    assert next(batches(noise(4), NORMALISE))[0].is_contiguous()


def test_the_same_seed_gives_the_same_batches() -> None:
    first, again, other = (
        next(batches(noise(9), NORMALISE, 4, generator=seeded(seed), augment="crop-flip"))[0]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def shifted(image: Tensor, down: int, right: int, border: int) -> Tensor:
    """The window of an image with a black border, one pixel at a time."""
    planes, height, width = image.shape
    out = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            y, x = row + down - border, column + right - border
            if 0 <= y < height and 0 <= x < width:
                out[:, row, column] = image[:, y, x]
    assert planes == out.shape[0]
    return out


@pytest.mark.parametrize("augment", ["crop", "crop-flip"])
def test_every_image_is_a_shift_of_itself_and_all_shifts_occur(augment: str) -> None:
    split = noise(60)
    border = 1  # an eighth of 8
    found = set()
    for image, result in zip(split.images, augmented(split.images, augment, seeded()), strict=True):  # type: ignore[arg-type]
        for down in range(2 * border + 1):
            for right in range(2 * border + 1):
                window = shifted(image, down, right, border)
                if torch.equal(result, window):
                    found.add((down, right, False))
                if torch.equal(result, window.flip(-1)):
                    found.add((down, right, True))
    mirrored = (False, True) if augment == "crop-flip" else (False,)
    assert found == {(down, right, flip) for down in range(3) for right in range(3) for flip in mirrored}


@pytest.mark.parametrize(("shift", "border"), [(0, 4), (1, 1), (2, 2)])
def test_the_border_is_four_pixels_at_32_unless_it_is_said(shift: int, border: int) -> None:
    images = torch.full((400, 1, 32, 32), 255, dtype=torch.uint8)
    split = Split(images, torch.zeros(400, dtype=torch.long))
    result, _ = next(batches(split, ((0.0,), (1.0,)), 400, generator=seeded(), augment="crop", shift=shift))
    black = (F.max_pool2d(result, (1, 32)).flatten(1) == 0).sum(1)
    assert int(black.max()) == border


def test_none_changes_nothing() -> None:
    images = noise(3).images
    assert augmented(images, "none", seeded()) is images


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match="batch_size must be at least 1"):
        next(batches(noise(2), NORMALISE, 0))
    with pytest.raises(ConfigError, match="needs a generator"):
        next(batches(noise(2), NORMALISE, augment="crop"))
    with pytest.raises(DataError, match="Images of 3 planes need as many means"):
        next(batches(noise(2), ((0.5,), (0.5,))))
    with pytest.raises(DataError, match="above 0"):
        next(batches(noise(2), ((0.5,) * 3, (0.5, 0.5, 0.0))))
    with pytest.raises(DataError, match="no samples"):
        next(batches(noise(0), NORMALISE))


def test_images_grow_by_eighths_of_their_side_until_they_are_whole() -> None:
    config = TrainConfig(epochs=16, first_size=0.5, full_size_from=0.75, batch_size=64, lr=0.05)
    sizes = [size_factor(config, epoch) for epoch in range(16)]
    assert sizes == [0.5] * 3 + [0.625] * 3 + [0.75] * 3 + [0.875] * 3 + [1.0] * 4
    assert {size_factor(TrainConfig(epochs=16, batch_size=64, lr=0.05), epoch) for epoch in range(16)} == {
        1.0
    }
    assert size_factor(TrainConfig(first_size=0.3, batch_size=64, lr=0.05), 0) == 0.3


def test_smaller_images_are_means_of_what_their_pixels_stand_for() -> None:
    images = torch.rand(2, 3, 12, 20, dtype=torch.float64)
    half = resized(images, 0.5)
    assert half.shape == (2, 3, 6, 10)
    assert torch.allclose(half.mean(), images.mean(), atol=0.01)
    flat = torch.full((1, 1, 10, 10), 0.25)
    torch.testing.assert_close(resized(flat, 0.7), torch.full((1, 1, 7, 7), 0.25))


def test_the_network_sees_images_of_the_epochs_size() -> None:
    seen: list[int] = []

    class Noting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(1, 10)

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.shape[-1])
            out: Tensor = self.linear(x.mean((1, 2, 3))[:, None])
            return out

    digits = load("digits")
    few = digits.train.subset(torch.arange(40))
    train(
        Noting(),
        few,
        TrainConfig(
            epochs=4, first_size=0.5, full_size_from=0.5, augment="crop-flip-cutout", batch_size=64, lr=0.05
        ),
        normalise=digits.normalise,
    )
    assert seen == [4, 6, 8, 8]


def test_a_network_of_one_size_is_told_to_leave_the_images_alone() -> None:
    digits = load("digits")
    with pytest.raises(
        ConfigError, match=r"Sequential cannot take images with 0.5 of their sides: leave first_size at 1"
    ):
        train(
            nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
            digits.train,
            TrainConfig(first_size=0.5, batch_size=64, lr=0.05),
            normalise=digits.normalise,
        )


@pytest.mark.parametrize("loader", [False, True])
def test_images_of_other_planes_are_not_blamed_on_their_size(loader: bool) -> None:
    digits = load("digits")
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    batches = [(torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))]
    config = TrainConfig(epochs=1, first_size=0.5, batch_size=64, lr=0.05)
    with pytest.raises(RuntimeError, match="to have 3 channels"):
        train(
            model, batches if loader else digits.train, config, normalise=None if loader else digits.normalise
        )


def test_a_training_shifts_images_as_far_as_its_settings_say() -> None:
    whites: list[int] = []

    class Noting(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            whites.append(int(x.sum()))
            return super().forward(x.flatten(1))

    white = Split(torch.full((1, 1, 8, 8), 255, dtype=torch.uint8), torch.zeros(1, dtype=torch.long))
    train(
        Noting(64, 2),
        white,
        TrainConfig(epochs=80, augment="crop", shift=3, batch_size=64, lr=0.05),
        normalise=((0.0,), (1.0,)),
    )
    assert min(whites) == 5 * 5 and max(whites) == 8 * 8


def test_a_scale_of_levels_is_told() -> None:
    with pytest.raises(DataError, match=r"did you mean 0\.485, 0\.456, 0\.406 and 0\.229, 0\.224, 0\.225"):
        check_scale(noise(4).images, ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))
