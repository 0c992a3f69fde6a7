"""Prediction on pictures of any size, without seams."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.errors import ConfigError
from prunus.segmentation import predict

DRAW = torch.Generator().manual_seed(0)


class Pointwise(nn.Module):
    """Looks at nothing but the pixel itself, so that tiles cannot differ from the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.sizes: list[torch.Size] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(x.shape)
        return self.conv(x)


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


class Sampling(nn.Module):
    """Halves its side twice, so that what a pixel gets depends on where its tile begins."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(planes, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.first, self.second):
            x = F.max_pool2d(layer(x).tanh(), 2)
        return F.interpolate(x, scale_factor=4)


SEEN = 8  # pixels around one that Sampling looks at, at most


@pytest.mark.parametrize(("tile", "overlap"), [(64, 32), (96, 40), (96, 48), (128, 64)])
@pytest.mark.parametrize("size", [(160, 256), (150, 203), (97, 64)])
def test_what_is_stitched_equals_the_whole(size: tuple[int, int], tile: int, overlap: int) -> None:
    torch.manual_seed(0)
    model, picture = Sampling(2), torch.randn(2, *size, generator=DRAW)
    beyond = [-side % 4 for side in size]
    whole = model(F.pad(picture[None], (0, beyond[1], 0, beyond[0]), mode="reflect"))[0].detach()
    found = predict(model, picture, tile=tile, overlap=overlap)
    # borders on the right and below may lie inside of a tile, which sees the picture reflected there
    rows, columns = (side - SEEN for side in size)
    assert found.shape[1:] == size
    assert torch.allclose(found[:, :rows, :columns], whole[:, :rows, :columns], atol=1e-6)


def test_an_overlap_must_leave_something() -> None:
    with pytest.raises(ConfigError, match="can overlap by 0 to 16, not by 17"):
        predict(Pointwise(), torch.zeros(3, 40, 40), tile=32, overlap=17)


def test_progress_is_told_and_the_mode_is_kept() -> None:
    told: list[tuple[int, int]] = []
    model = Pointwise().train()
    predict(
        model,
        torch.zeros(3, 56, 56),
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


class Returning(nn.Module):
    """Something made of the logits of every pixel."""

    def __init__(self, made: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.made = nn.Conv2d(3, 2, 1), made

    def forward(self, x: Tensor) -> Any:
        return self.made(self.conv(x))


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_logits_may_lie_in_a_dictionary(kind: type) -> None:
    model = Returning(lambda y: kind(out=y, aux=y[:, :1]))
    picture = torch.randn(3, 20, 33, generator=DRAW)
    found = predict(model, picture, tile=16, overlap=4)
    assert torch.allclose(found, model.conv(picture[None])[0], atol=1e-5)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda y: y[..., ::2, ::2], r"a tensor of shape \(1, 2, 8, 8\)"),
        (lambda y: {"out": y[..., ::2, ::2]}, r"a tensor of shape \(1, 2, 8, 8\)"),
        (lambda y: y.mean((2, 3)), r"a tensor of shape \(1, 2\)"),
        (lambda y: y[0], r"a tensor of shape \(2, 16, 16\)"),
        (lambda y: y[:0], r"a tensor of shape \(0, 2, 16, 16\)"),
        (lambda y: y[:, :0], r"a tensor of shape \(1, 0, 16, 16\)"),
        (lambda y: y.to(torch.complex64), r"a tensor of shape \(1, 2, 16, 16\)"),
        (lambda y: (y, y), "a tuple of a tensor"),
        (lambda y: {"logits": y}, "a dict of logits"),
        (lambda y: None, "None"),
    ],
)
def test_what_are_no_logits_of_every_pixel_is_told(made: Callable[[Tensor], Any], words: str) -> None:
    text = r"Returning must return logits \(1, classes, 16, 16\) of tiles of 16 pixels a side, .*, not "
    with pytest.raises(ConfigError, match=text + words):
        predict(Returning(made), torch.zeros(3, 10, 10), tile=16, overlap=4)
