"""Prediction on pictures of any size: overlapping tiles, blended so that no seam shows, strip by strip so
that memory is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._foundation.arguments import at_least, checked, shaped
from prunus._foundation.wording import given
from prunus.data.pictures import Picture
from prunus.errors import ConfigError, DataError
from prunus.segmentation.metrics import maps_of
from prunus.training.evaluation import mode, placement
from prunus.training.feeding import Normalise

Read = Callable[[int, int, int, int], Tensor]
"""(top, left, height, width) -> that window of a picture, (planes, height, width), normalised."""
Watcher = Callable[[int, int], None]

TILE, OVERLAP = 512, 64
_STORED = {1: ": store it in grey levels", 3: ": store it in colours, RGB"}
GRID = 32  # what most networks divide a side by on their way down [pixels]


@checked()
def predict(
    model: nn.Module,
    picture: Tensor,
    *,
    tile: int = TILE,
    overlap: int = OVERLAP,
    batch_size: int = 4,
    on_step: Watcher | None = None,
) -> Tensor:
    """Logits of a whole picture in memory, (classes, H, W) float32, on the CPU.

    Args:
        model: (batch, planes, tile, tile) to logits (batch, classes, tile, tile), by themselves or under
            "out" in a dictionary, as torchvision's networks return them.
        picture: (planes, H, W), normalised.
        tile: side of a tile [pixels].
        overlap: of neighbouring tiles [pixels].
        batch_size: tiles at a time.
        on_step: called with (tiles done, tiles in all).

    Raises:
        ConfigError: an overlap that leaves nothing of a tile, or a network that gives something else.
    """

    def read(top: int, left: int, height: int, width: int) -> Tensor:
        return picture[:, top : top + height, left : left + width]

    shaped("planes, H, W", picture=picture)
    _, height, width = picture.shape
    return torch.cat(
        list(
            strips(
                model, read, height, width, tile=tile, overlap=overlap, batch_size=batch_size, on_step=on_step
            )
        ),
        1,
    )


@checked()
def strips(
    model: nn.Module,
    read: Read,
    height: int,
    width: int,
    *,
    tile: int = TILE,
    overlap: int = OVERLAP,
    batch_size: int = 4,
    on_step: Watcher | None = None,
) -> Iterator[Tensor]:
    """Logits of a picture from top to bottom, (classes, some rows, width) at a time, read by window.

    Every tile's logits are weighed by a ramp that falls to nothing before its inner borders, where a network
    sees least around a pixel; what overlaps is averaged. Tiles begin where a network that halves its side up
    to five times would sample the whole picture, so that pixels whose surroundings lie in all their tiles get
    the logits that they get in the whole picture. Where a tile reaches beyond the borders on the right and
    below, as in a picture that is smaller than a tile, the picture is reflected.

    Raises:
        ConfigError: an overlap that leaves nothing of a tile, or a network that gives something else.
    """
    if tile < 1 or not 0 <= 2 * overlap <= tile:
        raise ConfigError(f"Tiles of {tile} pixels can overlap by 0 to {tile // 2}, not by {overlap}.")
    at_least(1, height=height, width=width, batch_size=batch_size)
    tops, lefts = _starts(height, tile, overlap), _starts(width, tile, overlap)
    across = lefts[-1] + tile
    total: Tensor | None = None
    weights = torch.zeros(tile, across)
    for number, top in enumerate(tops):
        following = tops[number + 1] if number + 1 < len(tops) else height
        rows = _ramp(tile, overlap, number > 0, number + 1 < len(tops))
        for position, (left, logits) in enumerate(
            _row(model, read, top, lefts, tile, height, width, batch_size)
        ):
            ramp = rows[:, None] * _ramp(tile, overlap, left > 0, position + 1 < len(lefts))[None, :]
            total = torch.zeros(len(logits), tile, across) if total is None else total
            total[:, :, left : left + tile] += logits * ramp
            weights[:, left : left + tile] += ramp
            if on_step is not None:
                on_step(number * len(lefts) + position + 1, len(tops) * len(lefts))
        assert total is not None
        done = following - top
        yield (total[:, :done] / weights[:done])[:, :, :width]
        total, weights = (
            F.pad(buffer[..., done:, :], (0, 0, 0, min(done, tile))) for buffer in (total, weights)
        )


def _row(
    model: nn.Module,
    read: Read,
    top: int,
    lefts: list[int],
    tile: int,
    height: int,
    width: int,
    batch_size: int,
) -> Iterator[tuple[int, Tensor]]:
    """The logits of a row of tiles, (classes, tile, tile) each."""
    device, dtype = placement(model)
    rows = min(tile, height - top)
    with mode(model, training=False), torch.no_grad():
        for first in range(0, len(lefts), batch_size):
            part = lefts[first : first + batch_size]
            windows = torch.stack(
                [reflected(read(top, left, rows, min(tile, width - left)), tile, tile) for left in part]
            )
            outputs = model(windows.to(device, dtype))
            yield from zip(part, _logits(outputs, len(part), tile, type(model).__name__).float().cpu())


def _logits(outputs: Any, count: int, tile: int, name: str) -> Tensor:
    """The logits among what a network makes of so many tiles. Raises ConfigError where there are none of the
    tiles' sides.
    """
    found = maps_of(outputs)
    if (
        isinstance(found, Tensor)
        and not found.is_complex()
        and found.dim() == 4
        and len(found) == count
        and found.shape[1]
        and found.shape[2:] == (tile, tile)
    ):
        return found
    raise ConfigError(
        f"{name} must return logits ({count}, classes, {tile}, {tile}) of tiles of {tile} pixels a side, by"
        f' themselves or under "out" in a dictionary, not {given(found)}.'
    )


def reader(picture: Picture, normalise: Normalise, name: str) -> Read:
    """Reads windows of a picture, normalised by (mean, std) of every plane in units of 0..1. Raises DataError
    for another number of planes.
    """
    planes = picture.shape[0]
    if planes != len(normalise[0]):
        raise DataError(
            f"{name} has {planes} planes, but the network's mean and deviation are of {len(normalise[0])}"
            f"{_STORED.get(len(normalise[0]), '')}."
        )
    mean, std = (torch.tensor(list(values)).view(-1, 1, 1) for values in normalise)
    return lambda top, left, height, width: (
        (picture.read(top, left, height, width).float() / 255 - mean) / std
    )


def reflected(picture: Tensor, height: int, width: int) -> Tensor:
    """A picture (planes, H, W) continued to the right and below as in a mirror; a single row or column is
    repeated.
    """
    while picture.shape[1] < height or picture.shape[2] < width:
        missing = height - picture.shape[1], width - picture.shape[2]
        below, right = (
            min(lack, side - 1) if side > 1 else 0 for lack, side in zip(missing, picture.shape[1:])
        )
        if below + right:
            picture = F.pad(picture[None], (0, right, 0, below), mode="reflect")[0]
        else:
            repeated = tuple(lack if side == 1 else 0 for lack, side in zip(missing, picture.shape[1:]))
            picture = F.pad(picture[None], (0, repeated[1], 0, repeated[0]), mode="replicate")[0]
    return picture


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along one side: evenly, on the grid; the last may reach beyond the end."""
    if length <= tile:
        return [0]
    grid, step = GRID, tile - overlap
    while tile % grid or grid * (step // grid) < 0.75 * step:  # a coarse grid wants more tiles
        grid //= 2
    most = step // grid  # from one tile to the next, in steps of the grid
    last = -(-(length - tile) // grid)
    count = -(-last // most)
    return [grid * round(i * last / count) for i in range(count + 1)]


def _ramp(tile: int, overlap: int, before: bool, after: bool) -> Tensor:
    """1 in the middle, down over the overlap with a neighbour, and nothing in the last quarter of it."""
    ramp = torch.ones(tile)
    if overlap:
        blind = overlap // 4
        slope = ((torch.arange(overlap) - blind + 1) / (overlap - blind + 1)).clamp(min=0)
        if before:
            ramp[:overlap] = slope
        if after:
            ramp[tile - overlap :] = slope.flip(0)
    return ramp
