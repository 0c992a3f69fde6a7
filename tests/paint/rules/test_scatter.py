"""Writing and reading at indices, unpooling, Fourier transforms and the rest of what works on space: channels
are a batch to it.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import channels, randomised
from tests.paint.operators import Between, Run, goes, goes_exactly, halved, leaks
from torch import Tensor, nn

import prunus


def written(key: Any, value: Any) -> Run:
    """x[key] = value, in place."""

    def run(m: Between, y: Tensor) -> Tensor:
        y = y.clone()
        y[key(y) if callable(key) else key] = value(y) if callable(value) else value
        return y

    return run


def first_rows(y: Tensor) -> Tensor:
    return torch.zeros(y.shape[0], y.shape[1], 1, dtype=torch.long)


EXACT: dict[str, Run] = {
    "a condition": written(lambda y: y < 0.1, 0),
    "a condition, out of place": lambda m, y: torch.Tensor.index_put_(
        y.clone(), (y < 0.1,), torch.zeros((), dtype=y.dtype)
    ),
    "a condition on pixels": written(lambda y: (slice(None), slice(None), torch.eye(8).bool()), 0),
    "rows": written((slice(None), slice(None), slice(0, 2)), 0),
    "a list of rows": written((slice(None), slice(None), [0, 2]), 0),
    "a list of rows, from others": written((slice(None), slice(None), [0, 2]), lambda y: y[:, :, 3:5] * 2),
    "pixels, from others": written((slice(None), slice(None), [0, 2], [1, 3]), lambda y: y[:, :, 3, 1:3]),
    "index_add": lambda m, y: y.index_add(2, torch.tensor([0, 1]), y[:, :, 2:4]),
    "index_copy": lambda m, y: y.index_copy(2, torch.tensor([0, 1]), y[:, :, 2:4]),
    "index_fill": lambda m, y: y.index_fill(2, torch.tensor([0, 1]), 0.0),
    "scatter": lambda m, y: y.flatten(2).scatter(2, first_rows(y), 0.0).view_as(y),
    "scatter of others": lambda m, y: (
        y.flatten(2).scatter(2, first_rows(y), y.flatten(2)[:, :, 3:4]).view_as(y)
    ),
    "scatter_add": lambda m, y: (
        torch.zeros_like(y.flatten(2)).scatter_add(2, y.flatten(2).argsort(2), y.flatten(2)).view_as(y)
    ),
    "scatter_reduce": lambda m, y: (
        y.flatten(2).scatter_reduce(2, y.flatten(2).argsort(2), y.flatten(2), "amax").view_as(y)
    ),
    "gather": lambda m, y: y.flatten(2).gather(2, y.flatten(2).argsort(2)).view_as(y),
    "take_along_dim": (
        lambda m, y: torch.take_along_dim(
            y.flatten(2), y.sum(1, keepdim=True).flatten(2).argsort(2), 2
        ).view_as(y)
    ),
    "max_unpool2d": lambda m, y: F.max_unpool2d(*F.max_pool2d(y, 2, return_indices=True), (2, 2)),
    "max_unpool1d": (
        lambda m, y: F.max_unpool1d(*F.max_pool1d(y.flatten(2), 2, return_indices=True), (2,)).view_as(y)
    ),
    "max_unpool3d": (
        lambda m, y: F.max_unpool3d(
            *F.max_pool3d(y.unsqueeze(2), (1, 2, 2), return_indices=True), (1, 2, 2)
        ).squeeze(2)
    ),
    "adaptive pooling and back": lambda m, y: F.max_unpool2d(
        *F.adaptive_max_pool2d(y, 4, return_indices=True), (2, 2)
    ),
    "real Fourier transform": lambda m, y: torch.fft.irfft2(torch.fft.rfft2(y) * 2, s=y.shape[-2:]),
    "Fourier transform": lambda m, y: torch.fft.ifft2(torch.fft.fft2(y)).real,
    "shifted spectrum": lambda m, y: (
        torch.fft.ifft2(torch.fft.fftshift(torch.fft.fft2(y), dim=(-2, -1))).imag + y
    ),
    "length and angle": lambda m, y: (
        torch.fft.ifft2(torch.polar(torch.fft.fft2(y).abs(), torch.fft.fft2(y).angle())).real
    ),
    "view as real": lambda m, y: torch.view_as_real(torch.fft.fft2(y)).sum(-1),
    "complex numbers": lambda m, y: torch.complex(y, -y).conj().imag,
    "rot90": lambda m, y: torch.rot90(y, 1, (2, 3)),
    "tril": lambda m, y: y.tril(),
    "diagonal": lambda m, y: y * y.diagonal(dim1=2, dim2=3).unsqueeze(-1),
    "cross product": lambda m, y: (
        y * torch.linalg.cross(y[..., :3], y[..., 3:6], dim=-1).sum(-1, keepdim=True)
    ),
    "diff": lambda m, y: F.pad(y.diff(dim=3), (0, 1)),
    "bucketize": lambda m, y: y * torch.bucketize(y, torch.linspace(0, 1, 5, dtype=y.dtype)),
    "mirrored channels": lambda m, y: y.flip(1),
}


@pytest.mark.parametrize("name", EXACT)
def test_what_works_on_space_leaves_channels_free(name: str) -> None:
    assert goes_exactly(EXACT[name]).mode == "eager"


NOT_ZERO: dict[str, Run] = {
    "a condition": written(lambda y: y < 0.1, 0.5),
    "index_fill": lambda m, y: y.index_fill(2, torch.tensor([0, 1]), 1.0),
    "scatter": lambda m, y: y.flatten(2).scatter(2, first_rows(y), 1.0).view_as(y),
    "index_put that adds": lambda m, y: torch.ops.aten.index_put(
        y, [None, None, torch.tensor([0])], torch.ones((), dtype=y.dtype), True
    ),
}


@pytest.mark.parametrize("name", NOT_ZERO)
def test_what_is_written_into_removed_channels_is_not_forgotten(name: str) -> None:
    assert len(leaks(goes(NOT_ZERO[name]))) == 8


PINNED: dict[str, Run] = {
    "an index of channels": written((slice(None), [0, 2]), 0),
    "values per hit": written(lambda y: torch.ones(2, 8, 8, 8).bool(), lambda y: y.reshape(-1).clone()),
    "index_add": lambda m, y: y.index_add(1, torch.tensor([0, 1]), y[:, 2:4]),
    "scatter": lambda m, y: y.scatter(1, torch.zeros(2, 1, 8, 8, dtype=torch.long), 0.0),
    "gather": lambda m, y: y.gather(1, torch.zeros(2, 8, 8, 8, dtype=torch.long)),
    "Fourier transform": lambda m, y: torch.fft.fft(y, dim=1).real,
    "tril": lambda m, y: y.transpose(1, 3).tril().transpose(1, 3),
    "rot90": lambda m, y: torch.rot90(y, 1, (1, 3)),
    "masked_scatter": lambda m, y: y.masked_scatter(y < 0.1, torch.zeros_like(y)),
}


@pytest.mark.parametrize("name", PINNED)
def test_what_counts_channels_pins_them(name: str) -> None:
    assert halved(PINNED[name]).graph.num_channels == 0


def test_a_fractional_pool_draws_numbers_per_channel() -> None:
    result = goes(lambda m, y: F.interpolate(F.fractional_max_pool2d(y, 2, output_size=4), size=y.shape[2:]))
    assert "random numbers" in result.notes


def test_distances_read_features_like_a_product() -> None:
    """Centres that lose the same features are at the same distance, as long as the mask
    leaves zeros there.
    """

    def run(m: Between, y: Tensor) -> Tensor:
        return (
            torch.cdist(y.flatten(2).transpose(1, 2), m.centres[None])
            .transpose(1, 2)
            .reshape(len(y), -1, *y.shape[2:])
        )

    model = randomised(Between(run, {"centres": nn.Parameter(torch.zeros(30, 8))}))
    model.last = nn.Conv2d(30, 2, 1).double()
    graph = prunus.trace(model, torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    assert channels(graph, "centres", 1) == channels(graph, "first.0.weight")
    assert channels(graph, "centres", 0) == channels(graph, "last.weight", 1)


def test_features_of_embeddings_meet_channels() -> None:
    def run(m: Between, y: Tensor) -> Tensor:
        return y + m.bag(torch.tensor([[0, 1], [2, 3]]))[:, :, None, None]

    assert goes_exactly(run, bag=nn.EmbeddingBag(4, 8)).removed == 4


def test_a_global_filter_in_the_spectrum_loses_its_channels_too() -> None:
    def run(m: Between, y: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(y) * torch.view_as_complex(m.filter), s=y.shape[-2:])

    assert goes_exactly(run, filter=nn.Parameter(torch.zeros(8, 8, 5, 2))).mode == "eager"


def test_real_and_imaginary_parts_beside_one_another_as_channels() -> None:
    """Fast Fourier convolution: (N, C, H, W, 2) becomes (N, 2 * C, H, W) and back."""

    def run(m: Between, y: Tensor) -> Tensor:
        found = torch.fft.rfftn(y, dim=(-2, -1), norm="ortho")
        found = torch.stack((found.real, found.imag), -1).permute(0, 1, 4, 2, 3).contiguous()
        found = m.conv(found.view(found.shape[0], -1, *found.shape[3:])).relu()
        found = found.view(found.shape[0], -1, 2, *found.shape[2:]).permute(0, 1, 3, 4, 2).contiguous()
        return torch.fft.irfftn(
            torch.complex(found[..., 0], found[..., 1]), s=y.shape[-2:], dim=(-2, -1), norm="ortho"
        )

    assert goes_exactly(run, conv=nn.Conv2d(16, 16, 1)).removed == 8
