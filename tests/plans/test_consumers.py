"""Which layers read channels, in the order in which they run, and which norm alone stands behind one."""

from __future__ import annotations

import numpy as np
import torch
from tests.paint.nets import Net, channels, randomised
from torch import nn

import prunus
from prunus.plans.consumers import norms_behind, readers


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
