"""Products with weights: convolutions of every kind, linear layers, attention."""

from __future__ import annotations

import pytest
import torch
from tests.paint.nets import Net, channels, pruned, randomised
from torch import nn

import prunus

IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


def chain(*layers: nn.Module, head: nn.Module | None = None) -> nn.Module:
    return randomised(nn.Sequential(*layers, head if head is not None else nn.Identity()))


def test_convolution_couples_filter_bias_norm_and_reader() -> None:
    graph = prunus.trace(chain(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3)), IMAGE)
    assert graph.num_channels == 4
    wanted = [0, 1, 2, 3]
    for name, dim in (
        ("0.weight", 0),
        ("0.bias", 0),
        ("1.weight", 0),
        ("1.bias", 0),
        ("1.running_mean", 0),
        ("1.running_var", 0),
        ("3.weight", 1),
    ):
        assert channels(graph, name, dim) == wanted, name
    assert channels(graph, "0.weight", 1) == [-1] * 3  # the model's input
    assert channels(graph, "3.weight", 0) == [-1] * 5  # the model's output
    assert channels(graph, "0.weight", 2) == [-1] * 3  # kernel positions
    (group,) = graph.groups
    assert (group.name, group.size, group.slots) == ("0", 4, 1)
    assert {p.reason for p in graph.pinned} == {
        "model output",
        "meets the model's input or an unpainted tensor",
    }


@pytest.mark.parametrize("rank", [1, 3])
def test_convolutions_of_other_ranks(rank: int) -> None:
    conv = {1: nn.Conv1d, 3: nn.Conv3d}[rank]
    model = chain(conv(3, 4, 3), conv(4, 2, 1))
    x = torch.randn(2, 3, *[5] * rank, dtype=torch.float64)
    graph = prunus.trace(model, x)
    assert channels(graph, "0.weight") == channels(graph, "1.weight", 1) == [0, 1, 2, 3]
    assert pruned(model, x)[1](x).shape == model(x).shape


def test_grouped_convolution_couples_slot_j_of_every_group() -> None:
    graph = prunus.trace(chain(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1, groups=2), nn.Conv2d(6, 2, 1)), IMAGE)
    assert channels(graph, "0.weight") == [0, 1, 0, 1]
    assert channels(graph, "1.weight", 1) == [0, 1]
    assert channels(graph, "1.weight", 0) == channels(graph, "2.weight", 1) == [2, 3, 4, 2, 3, 4]


def test_depthwise_with_multiplier_couples_in_with_out() -> None:
    graph = prunus.trace(chain(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 2, 1)), IMAGE)
    assert channels(graph, "0.weight") == [0, 1, 2, 3]
    assert channels(graph, "1.weight") == channels(graph, "2.weight", 1) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_transposed_convolution_reads_axis_0_and_makes_axis_1() -> None:
    graph = prunus.trace(
        chain(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 6, 2, stride=2), nn.Conv2d(6, 2, 1)), IMAGE
    )
    assert channels(graph, "0.weight") == channels(graph, "1.weight", 0) == [0, 1, 2, 3]
    assert (
        channels(graph, "1.weight", 1)
        == channels(graph, "1.bias")
        == channels(graph, "2.weight", 1)
        == [4, 5, 6, 7, 8, 9]
    )


def test_grouped_and_depthwise_transposed_convolution() -> None:
    graph = prunus.trace(
        chain(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 6, 2, groups=2), nn.Conv2d(6, 2, 1)), IMAGE
    )
    assert channels(graph, "1.weight", 0) == channels(graph, "0.weight") == [0, 1, 0, 1]
    assert channels(graph, "1.weight", 1) == [2, 3, 4]
    assert channels(graph, "2.weight", 1) == [2, 3, 4, 2, 3, 4]
    graph = prunus.trace(
        chain(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 8, 2, groups=4), nn.Conv2d(8, 2, 1)), IMAGE
    )
    assert channels(graph, "1.weight", 0) == channels(graph, "0.weight") == [0, 1, 2, 3]
    assert channels(graph, "1.weight", 1) == [-1, -1]
    assert channels(graph, "2.weight", 1) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_several_outputs_of_each_plane_of_the_input_go_together() -> None:
    for first in (nn.ConvTranspose2d(3, 6, 2, groups=3), nn.Conv2d(3, 6, 2, groups=3)):
        graph = prunus.trace(chain(first, nn.Conv2d(6, 2, 1)), IMAGE)
        assert channels(graph, "1.weight", 1) == [0, 1] * 3


def test_linear_and_flatten() -> None:
    model = chain(nn.Conv2d(3, 3, 7), nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2))
    graph = prunus.trace(model, IMAGE)
    assert channels(graph, "2.weight", 1) == [0] * 4 + [1] * 4 + [2] * 4
    assert (
        channels(graph, "2.weight", 0)
        == channels(graph, "2.bias")
        == channels(graph, "4.weight", 1)
        == [3, 4, 5, 6, 7]
    )
    assert [g.slots for g in graph.groups] == [1, 1]


def test_attention_heads_stay_equal_and_queries_go_with_keys() -> None:
    """Slot j of every head is one channel; the length of a head contracts queries with keys, that of the
    values is free of them.
    """

    def run(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (layer(x).view(2, 5, 2, 3).transpose(1, 2) for layer in (m.q, m.k, m.v))
        return m.o((q @ k.transpose(2, 3) @ v).transpose(1, 2).reshape(2, 5, 6))

    model = randomised(Net(run, q=nn.Linear(4, 6), k=nn.Linear(4, 6), v=nn.Linear(4, 6), o=nn.Linear(6, 2)))
    graph = prunus.trace(model, torch.zeros(2, 5, 4, dtype=torch.float64))
    assert channels(graph, "q.weight") == channels(graph, "k.weight") == [0, 1, 2, 0, 1, 2]
    assert channels(graph, "v.weight") == channels(graph, "o.weight", 1) == [3, 4, 5, 3, 4, 5]
