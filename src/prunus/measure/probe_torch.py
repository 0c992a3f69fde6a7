"""Layers timed in PyTorch's eager mode, one call at a time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from prunus.measure.shapes import Pair, Shape
from prunus.measure.timing import device_barrier, pinned_threads

SAMPLES = 7
SHORTEST_SAMPLE_S = 0.0005
_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def probe_torch(shape: Shape, pairs: Sequence[Pair], threads: int, device: str = "cpu") -> list[float]:
    """Milliseconds of a shape at every pair of widths: medians of some samples, pairs in turns."""
    with torch.inference_mode(), pinned_threads(threads):
        runs = {pair: _call(shape, pair, device) for pair in pairs}
        calls = {
            pair: max(1, round(SHORTEST_SAMPLE_S / max(1e-7, _seconds(run, 1)))) for pair, run in runs.items()
        }
        samples: dict[Pair, list[float]] = {pair: [] for pair in runs}
        for _ in range(SAMPLES):
            for pair, run in runs.items():
                samples[pair].append(_seconds(run, calls[pair]))
    return [1e3 * statistics.median(samples[pair]) for pair in pairs]


def _seconds(run: Callable[[], None], calls: int) -> float:
    """Seconds per call."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def _call(shape: Shape, pair: Pair, device: str) -> Callable[[], None]:
    """A layer of these widths with its input, run once to warm up."""
    read, made = pair
    x = torch.full((shape.batch, read, *shape.spatial), 0.1, device=device)
    wait = device_barrier([x])
    layer = _layer(shape, read, made, device)

    def run() -> None:
        layer(x)
        wait()

    run()
    return run


def _layer(shape: Shape, read: int, made: int, device: str) -> Callable[[Tensor], Tensor]:
    def full(*sizes: int) -> Tensor:
        return torch.full(sizes, 0.01, device=device)

    groups, bias = shape.groups_at(read), full(made)
    if shape.kind == "linear":
        weight = full(made, read)
        return lambda x: F.linear(x, weight, bias)
    if shape.kind == "transposed":
        weight = full(read, made // groups, *shape.kernel)
        turned = _TRANSPOSED[len(shape.kernel)]
        return lambda x: turned(
            x, weight, bias, shape.stride, shape.padding, shape.output_padding, groups, shape.dilation
        )
    weight = full(made, read // groups, *shape.kernel)
    convolution = _CONVOLUTIONS[len(shape.kernel)]
    return lambda x: convolution(x, weight, bias, shape.stride, shape.padding, shape.dilation, groups)
