"""Which layers read channels, in the order in which they run, and which norm alone stands behind one."""

from __future__ import annotations

import numpy as np
import torch
from tests.paint.nets import Net, channels, randomised
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import prunus
from prunus.plans.consumers import norms_behind, readers, reading_axes


def graph() -> prunus.ChannelGraph:
    """b and c read a; b has a norm behind it, c has one that is not alone."""

    def run(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = m.a(x).relu()
        third = m.c(y)
        return m.head((m.norm(m.b(y)) + m.other(third) + third).mean((2, 3)))

    layers = {
        **{"a": nn.Conv2d(3, 8, 1), "b": nn.Conv2d(8, 6, 1, groups=2), "c": nn.Conv2d(8, 6, 1)},
        **{"norm": nn.BatchNorm2d(6), "other": nn.BatchNorm2d(6), "head": nn.Linear(6, 4)},
    }
    return prunus.trace(randomised(Net(run, **layers)), torch.zeros(1, 3, 4, 4, dtype=torch.float64))


def test_readers_come_as_they_run_with_the_channels_of_their_slots() -> None:
    traced = graph()
    found = {reader.name: reader for reader in readers(traced)}
    assert list(found) == ["c", "b", "head"]  # a reads the inputs, which are no channels
    assert found["c"].inputs.tolist() == channels(traced, "c.weight", 1)
    assert found["head"].outputs.tolist() == [-1] * 4 and found["b"].groups == 2
    assert (found["b"].norm, found["c"].norm, found["head"].norm) == ("norm", "", "")
    assert norms_behind(traced) == {"a": "", "b": "norm", "c": "", "head": ""}


def test_parts_are_positions_of_what_stays_group_by_group() -> None:
    traced = graph()
    reader = next(reader for reader in readers(traced) if reader.name == "b")
    removed = np.zeros(traced.num_channels, dtype=bool)
    removed[reader.inputs[1]] = True
    kept = [i for i in range(4) if not removed[reader.inputs[i]]]
    parts = [(inputs.tolist(), outputs.tolist()) for inputs, outputs in reader.parts(removed)]
    assert parts == [(kept, [0, 1, 2]), ([4 + i for i in kept], [3, 4, 5])]
    assert reader.loses(removed) and not reader.loses(np.zeros_like(removed))


def test_shared_layers_are_called_several_times_with_the_norm_that_is_theirs_alone() -> None:
    def run(m: nn.Module, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        first, second = (m.norm(m.b(m.a(one).relu())) for one in (x, other))
        return m.head((m.shared(m.c(first)) + m.shared(m.d(second))).mean((2, 3)))

    layers = {"a": nn.Conv2d(3, 8, 1), **{name: nn.Conv2d(8, 8, 1, bias=False) for name in "bcd"}}
    norms = {"norm": nn.BatchNorm2d(8), "shared": nn.BatchNorm2d(8), "head": nn.Linear(8, 4)}
    x = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    traced = prunus.trace(randomised(Net(run, **layers, **norms)), (x, x))
    found = {reader.name: (reader.calls, reader.norm) for reader in readers(traced)}
    # a shift in the norm that c and d share would be one of both
    assert found == {"b": (2, "norm"), "c": (1, ""), "d": (1, ""), "head": (1, "")}


def test_what_a_weight_norm_makes_filters_of_reads_nothing() -> None:
    layers = [nn.Conv1d(2, 6, 3), nn.ReLU(), weight_norm(nn.Conv1d(6, 5, 3)), nn.ReLU(), nn.Conv1d(5, 4, 1)]
    traced = prunus.trace(nn.Sequential(*layers), torch.randn(1, 2, 12))
    assert [(axis.name, axis.dim) for axis in reading_axes(traced) if (axis.channels >= 0).any()] == [
        ("4.weight", 1)
    ]
