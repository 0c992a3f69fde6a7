"""One small network per family of operators: exactly which slots form a channel, what is pinned, and what is
said about it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import Net, channels, pruned, random_plan, randomised
from torch import Tensor, nn

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


def test_a_depthwise_transposed_convolution_of_the_models_input_keeps_its_several_outputs() -> None:
    graph = prunus.trace(chain(nn.ConvTranspose2d(3, 6, 2, groups=3), nn.Conv2d(6, 2, 1)), IMAGE)
    assert graph.num_channels == 0


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


def test_residual_addition_couples() -> None:
    model = randomised(
        Net(
            lambda m, x: m.c(m.b(m.a(x)) + m.a(x)),
            a=nn.Conv2d(3, 4, 1),
            b=nn.Conv2d(4, 4, 1),
            c=nn.Conv2d(4, 2, 1),
        )
    )
    graph = prunus.trace(model, IMAGE)
    for name, dim in (("a.weight", 0), ("b.weight", 0), ("b.weight", 1), ("c.weight", 1)):
        assert channels(graph, name, dim) == [0, 1, 2, 3]


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


def test_cat_puts_channels_side_by_side() -> None:
    model = Net(
        lambda m, x: m.c(torch.cat([m.a(x), x, m.b(x)], 1)),
        a=nn.Conv2d(3, 2, 1),
        b=nn.Conv2d(3, 4, 1),
        c=nn.Conv2d(9, 2, 1),
    )
    assert channels(prunus.trace(randomised(model), IMAGE), "c.weight", 1) == [0, 1, -1, -1, -1, 2, 3, 4, 5]


def test_equal_split_couples_slot_j_and_unequal_split_does_not() -> None:
    def equal(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        a, b = m.a(x).chunk(2, 1)
        return m.b(a) + m.c(b)

    def unequal(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        a, b = m.a(x).split([2, 4], 1)
        return m.b(a) + m.c(b)

    graph = prunus.trace(
        randomised(Net(equal, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(3, 2, 1), c=nn.Conv2d(3, 2, 1))), IMAGE
    )
    assert channels(graph, "a.weight") == [0, 1, 2, 0, 1, 2]
    graph = prunus.trace(
        randomised(Net(unequal, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(2, 2, 1), c=nn.Conv2d(4, 2, 1))), IMAGE
    )
    assert channels(graph, "a.weight") == [0, 1, 2, 3, 4, 5]
    assert channels(graph, "b.weight", 1) == [0, 1]
    assert channels(graph, "c.weight", 1) == [2, 3, 4, 5]
    assert [g.name for g in graph.groups] == ["a[0]", "a[1]"]


def test_a_ragged_split_is_pinned() -> None:
    ragged = Net(lambda m, x: sum(p.sum((1, 2, 3)) for p in m.a(x).split(2, 1)), a=nn.Conv2d(3, 5, 1))
    graph = prunus.trace(randomised(ragged), IMAGE)
    assert graph.num_channels == 0
    assert "split into pieces of unequal length" in {p.reason for p in graph.pinned}


SINGLE: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], list[int]]] = {
    "an index": (lambda y: y[:, 1], [0, 1]),
    "an index from the end": (lambda y: y[:, -2], [3, 4]),
    "a slice": (lambda y: y[:, 2:3], [0, 1, 2]),
    "a slice from the end": (lambda y: y[:, -1:], [4]),
    "narrow": (lambda y: y.narrow(1, 0, 1), [0]),
    "a list": (lambda y: y[:, [1]], [0, 1]),
    "a piece of a split": (lambda y: y.split([3, 1, 1], 1)[1], [3, 4]),
    "all one by one": (lambda y: sum(y.unbind(1)), [0, 1, 2, 3, 4]),
}


@pytest.mark.parametrize("name", SINGLE)
def test_single_slots_pin_what_counts_them(name: str) -> None:
    run, pinned = SINGLE[name]
    graph = prunus.trace(randomised(Net(lambda m, x: run(m.a(x)), a=nn.Conv2d(3, 5, 1))), IMAGE)
    assert [slot for slot, channel in enumerate(channels(graph, "a.weight")) if channel < 0] == pinned
    assert "single slots are selected" in {p.reason for p in graph.pinned}


def test_slice_takes_a_part_and_a_step_pins() -> None:
    def run(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = m.a(x)
        return m.b(x[:, :2]) + m.b(x[:, -2:])

    graph = prunus.trace(randomised(Net(run, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(2, 2, 1))), IMAGE)
    assert channels(graph, "a.weight") == [0, 1, 2, 3, 0, 1]
    assert channels(graph, "b.weight", 1) == [0, 1]
    graph = prunus.trace(
        randomised(Net(lambda m, x: m.b(m.a(x)[:, ::2]), a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(3, 2, 1))), IMAGE
    )
    assert graph.num_channels == 0
    assert "sliced with a step" in {p.reason for p in graph.pinned}


def test_zero_padding_of_channels_gives_new_slots_a_life_of_their_own() -> None:
    def run(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return m.c(F.pad(m.a(x), (0, 0, 0, 0, 1, 2)) + m.b(x))

    graph = prunus.trace(
        randomised(Net(run, a=nn.Conv2d(3, 2, 1), b=nn.Conv2d(3, 5, 1), c=nn.Conv2d(5, 2, 1))), IMAGE
    )
    assert channels(graph, "a.weight") == [0, 1]
    assert channels(graph, "b.weight") == channels(graph, "c.weight", 1) == [2, 0, 1, 3, 4]


@pytest.mark.parametrize(
    ("shift", "pinned"),
    [(1, [4]), (-2, [0, 1]), (3, [2, 3, 4]), (0, []), (5, [0, 1, 2, 3, 4]), (7, [0, 1, 2, 3, 4])],
)
def test_a_roll_keeps_what_it_carries_around(shift: int, pinned: list[int]) -> None:
    model = randomised(
        Net(lambda m, x: m.b(m.a(x).roll(shift, 1)), a=nn.Conv2d(3, 5, 1), b=nn.Conv2d(5, 2, 1))
    )
    graph = prunus.trace(model, IMAGE)
    made = channels(graph, "a.weight")
    assert [slot for slot, channel in enumerate(made) if channel < 0] == pinned
    assert channels(graph, "b.weight", 1) == np.roll(made, shift).tolist()
    if graph.num_channels:
        small = prunus.compact(model, random_plan(graph))
        assert small.prunus.mode == "eager" and small.prunus.plan.removed == graph.num_channels // 2


def test_flipped_channels_are_coupled_in_pairs_where_they_meet() -> None:
    graph = prunus.trace(
        randomised(
            Net(
                lambda m, x: (lambda y: m.b(y + y.flip(1)))(m.a(x)),
                a=nn.Conv2d(3, 5, 1),
                b=nn.Conv2d(5, 2, 1),
            )
        ),
        IMAGE,
    )
    assert channels(graph, "a.weight") == [0, 1, 2, 1, 0]


@pytest.mark.parametrize(
    "table",
    [lambda: torch.arange(6.0, dtype=torch.float64), lambda: torch.linspace(0, 1, 6, dtype=torch.float64)],
)
def test_what_no_parameter_makes_is_no_channel(table: Callable[[], Tensor]) -> None:
    def run(m: nn.Module, x: Tensor) -> Tensor:
        return m.c(m.a(x) + m.t(torch.cat([(x.mean() * table()).sin(), table().cos()])).relu()[:, None, None])

    model = randomised(Net(run, a=nn.Conv2d(3, 4, 1), t=nn.Linear(12, 4), c=nn.Conv2d(4, 2, 1)))
    graph = prunus.trace(model, IMAGE)
    assert channels(graph, "t.weight", 1) == [-1] * 12 and graph.num_channels == 4
    assert "made by no parameter" in {p.reason for p in graph.pinned}
    assert prunus.compact(model, random_plan(graph)).prunus.mode == "eager"


def test_pixel_shuffle_and_unshuffle() -> None:
    graph = prunus.trace(chain(nn.Conv2d(3, 8, 1), nn.PixelShuffle(2), nn.Conv2d(2, 2, 1)), IMAGE)
    assert channels(graph, "0.weight") == [0] * 4 + [1] * 4
    assert channels(graph, "2.weight", 1) == [0, 1]
    assert graph.groups[0].slots == 4
    graph = prunus.trace(chain(nn.Conv2d(3, 2, 1), nn.PixelUnshuffle(2), nn.Conv2d(8, 2, 1)), IMAGE)
    assert channels(graph, "0.weight") == [0, 1]
    assert channels(graph, "2.weight", 1) == [0] * 4 + [1] * 4


@pytest.mark.parametrize("how", ["module", "views"])
def test_channel_shuffle_couples_slot_j_of_every_group(how: str) -> None:
    def views(x: torch.Tensor) -> torch.Tensor:
        return x.view(2, 2, 3, 8, 8).transpose(1, 2).reshape(2, 6, 8, 8)

    shuffle = nn.ChannelShuffle(2) if how == "module" else views
    model = Net(lambda m, x: m.b(shuffle(m.a(x))), a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 1))
    graph = prunus.trace(randomised(model), IMAGE)
    assert channels(graph, "a.weight") == [0, 1, 2, 0, 1, 2]
    assert channels(graph, "b.weight", 1) == [0, 0, 1, 1, 2, 2]


def test_group_norm_goes_by_whole_groups_and_instance_norm_by_channels() -> None:
    graph = prunus.trace(chain(nn.Conv2d(3, 6, 1), nn.GroupNorm(3, 6), nn.Conv2d(6, 2, 1)), IMAGE)
    assert (
        channels(graph, "0.weight")
        == channels(graph, "1.weight")
        == channels(graph, "2.weight", 1)
        == [0, 0, 1, 1, 2, 2]
    )
    assert not graph.notes
    graph = prunus.trace(
        chain(nn.Conv2d(3, 6, 1), nn.InstanceNorm2d(6, affine=True), nn.Conv2d(6, 2, 1)), IMAGE
    )
    assert channels(graph, "0.weight") == channels(graph, "1.weight") == [0, 1, 2, 3, 4, 5]
    assert not graph.notes


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.LogSoftmax(1), "softmax across the channels"),
        (Net(lambda _, x: x * x.prod(1, keepdim=True)), "prod across the channels"),
        (
            nn.Sequential(nn.Sigmoid(), nn.GroupNorm(1, 6)),
            "group norm across the channels",
        ),  # what goes is not zero there
    ],
)
def test_statistics_across_the_channels_leave_a_note(layer: nn.Module, text: str) -> None:
    model = chain(nn.Conv2d(3, 6, 1), layer, nn.Conv2d(6, 2, 1))
    graph = prunus.trace(model, IMAGE)
    assert graph.num_channels == 6
    (note,) = [n for n in graph.notes if text in n.text]
    assert note.channels.tolist() == list(range(6))
    plan, _ = pruned(model, IMAGE)
    assert not plan.exact
    assert any(text in n for n in plan.notes)
    with_care = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5, exact=True)
    assert with_care.exact
    assert with_care.removed == 0


def test_a_plan_that_removes_nothing_inexact_has_no_notes() -> None:
    graph = prunus.trace(
        chain(nn.Conv2d(3, 6, 1), nn.GroupNorm(1, 6), nn.Conv2d(6, 4, 1), nn.Conv2d(4, 2, 1)), IMAGE
    )
    plan = prunus.plan(graph, prunus.scores.norm(graph), rates={"2": 0.5})
    assert plan.removed == 2
    assert plan.exact


def test_embedding_rows_are_pinned_and_its_features_are_not() -> None:
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 2))
    graph = prunus.trace(model, torch.zeros(2, 5, dtype=torch.int64))
    assert channels(graph, "0.weight", 0) == [-1] * 7
    assert channels(graph, "0.weight", 1) == channels(graph, "1.weight", 1) == [0, 1, 2, 3]


def test_an_index_pins_the_axis_that_it_picks_from_and_no_other() -> None:
    model = Net(
        lambda m, x: m.b(m.a(x)[:, x.mean((0, 2, 3)).argsort()]), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(3, 2, 1)
    )
    graph = prunus.trace(randomised(model), IMAGE)
    assert graph.num_channels == 0
    assert "picked by an index" in {p.reason for p in graph.pinned}
    model = Net(
        lambda m, x: m.b(m.a(x)[..., torch.tensor([2, 0, 1])]), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 2, 1)
    )
    assert channels(prunus.trace(randomised(model), IMAGE), "b.weight", 1) == [0, 1, 2, 3]


def test_an_unknown_operator_pins_and_names_the_line() -> None:
    def run(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = m.a(x)
        x = torch.ops.aten.masked_scatter(x, x > 0, x)  # the line to be named
        return m.b(x)

    graph = prunus.trace(randomised(Net(run, a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 2, 1))), IMAGE)
    assert graph.num_channels == 0
    (pin,) = [p for p in graph.pinned if p.operator == "masked_scatter"]
    assert pin.reason == "operator masked_scatter has no rule"
    assert pin.where.startswith("test_painting.py:")
    assert "the line to be named" in pin.where
    assert "a.weight:0" in pin.names


def test_lines_in_packages_whose_names_begin_with_torch_are_the_users() -> None:
    """torchvision lies beside torch: its folder's name begins with torch's, but its lines are not torch's."""
    file = torch.__file__.rsplit("/", 1)[0] + "vision_like/net.py"
    space: dict[str, object] = {"torch": torch}
    exec(
        compile(
            "def run(m, x):\n    return m.b(torch.ops.aten.masked_scatter(m.a(x), m.a(x) > 0, m.a(x)))\n",
            file,
            "exec",
        ),
        space,
    )
    graph = prunus.trace(randomised(Net(space["run"], a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 2, 1))), IMAGE)  # type: ignore[arg-type]
    (pin,) = [p for p in graph.pinned if p.operator == "masked_scatter"]
    assert pin.where.startswith("net.py:2")


def test_a_parameter_that_nothing_reads_is_no_channel() -> None:
    graph = prunus.trace(
        randomised(Net(lambda m, x: m.a(x), a=nn.Conv2d(3, 4, 1), unused=nn.Conv2d(3, 9, 1))), IMAGE
    )
    assert graph.num_channels == 0
    assert channels(graph, "unused.weight") == [-1] * 9


def test_outputs_in_any_object_are_pinned() -> None:
    """What the model returns must keep its width, in whatever it is wrapped."""
    from types import SimpleNamespace

    model = Net(lambda m, x: SimpleNamespace(logits=m.a(x)), a=nn.Conv2d(3, 4, 1))
    try:
        graph = prunus.trace(randomised(model), IMAGE)
    except prunus.PrunusError:
        return  # to refuse is fine, to prune the output is not
    assert channels(graph, "a.weight") == [-1] * 4


def test_painting_does_not_grow_with_the_resolution() -> None:
    model = prunus_net()
    small, large = (prunus.trace(model, torch.empty(1, 3, side, side, device="meta")) for side in (32, 512))
    assert sizes(small) == sizes(large)
    assert small.num_channels == large.num_channels == 24
    assert small.component_of_colour.shape == large.component_of_colour.shape


def prunus_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.Sigmoid(),
        nn.Upsample(scale_factor=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )


def sizes(graph: prunus.ChannelGraph) -> list[tuple[str, list[int]]]:
    """Per operator: the bytes of all its label arrays."""
    paints = [(r.operator, (*r.inputs, *r.paints)) for r in graph.records]
    return [
        (name, [layer.labels.nbytes + layer.dead.nbytes for paint in paint_list for layer in paint])
        for name, paint_list in paints
    ]


def test_print_shows_groups_reasons_and_notes() -> None:
    graph = prunus.trace(chain(nn.Conv2d(3, 6, 1), nn.LogSoftmax(1), nn.Conv2d(6, 2, 1)), IMAGE)
    text = str(graph)
    assert "6 channels in 1 groups" in text
    assert "model output" in text
    assert "softmax across the channels" in text


def test_channels_pass_along_a_spatial_axis_that_a_convolution_only_scales() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        tokens = torch.stack([m.a(x).mean((2, 3)), m.b(x).mean((2, 3))], dim=1)  # (batch, 2, channels)
        return m.head(m.mix(tokens).squeeze(1))

    net = Net(
        forward,
        a=nn.Conv2d(3, 8, 1),
        b=nn.Conv2d(3, 8, 1),
        mix=nn.Conv1d(2, 1, 1, bias=False),
        head=nn.Linear(8, 5),
    )
    model = randomised(net)
    image = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    graph = prunus.trace(model, image)
    assert channels(graph, "a.weight") == channels(graph, "b.weight") == channels(graph, "head.weight", 1)
    plan, _ = pruned(model, image)
    assert plan.exact and plan.removed == 4
    # two 1x1 convolutions over 16 pixels, the mix of 2 tokens over the channels left, and the head
    assert plan.after.macs == 2 * (2 * 16 * 3 * 4 + 2 * 4 + 4 * 5)  # the batch holds two images


def test_restriding_without_moving_anything_keeps_channels() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        pooled = m.a(x).mean((2, 3), keepdim=True)
        pooled.as_strided_(pooled.shape, (pooled.shape[1], 1, pooled.shape[1], pooled.shape[1]))
        return m.head(pooled.flatten(1))

    model = randomised(Net(forward, a=nn.Conv2d(3, 8, 1), head=nn.Linear(8, 5)))
    plan, _ = pruned(model, torch.randn(2, 3, 4, 4, dtype=torch.float64))
    assert plan.exact and plan.removed == 4


def test_taking_a_tensor_apart_by_strides_pins_it() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        pooled = m.a(x).mean((2, 3))
        return m.head(pooled.as_strided_((2, 8), (1, 2)))

    model = randomised(Net(forward, a=nn.Conv2d(3, 8, 1), head=nn.Linear(8, 5)))
    graph = prunus.trace(model, torch.randn(2, 3, 4, 4, dtype=torch.float64))
    assert graph.num_channels == 0
    assert any(p.reason == "taken apart by strides" for p in graph.pinned)


def test_a_reshape_that_mixes_channels_with_space_pins_at_every_size() -> None:
    """(N, H * W, C) -> (N, C, H, W) without a transpose: who meets whom depends on the size, and at some
    sizes it looks like a split.
    """

    def run(m: nn.Module, x: Tensor) -> Tensor:
        y = m.a(x)
        return m.b(y + m.q(y).flatten(2).transpose(1, 2).reshape(y.shape))

    for size in (2, 4, 8, 16):
        model = randomised(Net(run, a=nn.Conv2d(3, 16, 1), q=nn.Conv2d(16, 16, 1), b=nn.Conv2d(16, 2, 1)))
        assert prunus.trace(model, torch.zeros(2, 3, size, size, dtype=torch.float64)).num_channels == 0


def test_a_split_keeps_the_axis_that_holds_nothing_else() -> None:
    """Heads that are joined with a long batch are no longer axis to choose than the head's own, so that the
    batch changes nothing.
    """

    def run(m: nn.Module, x: Tensor) -> Tensor:
        tokens, batch, _ = x.shape
        q, k, v = (layer(x).reshape(tokens, batch * 2, 3).transpose(0, 1) for layer in (m.q, m.k, m.v))
        return m.o((q @ k.transpose(1, 2) @ v).transpose(0, 1).reshape(tokens, batch, 6))

    for batch in (1, 2, 9):
        model = randomised(
            Net(run, q=nn.Linear(4, 6), k=nn.Linear(4, 6), v=nn.Linear(4, 6), o=nn.Linear(6, 2))
        )
        graph = prunus.trace(model, torch.zeros(5, batch, 4, dtype=torch.float64))
        assert channels(graph, "q.weight") == channels(graph, "k.weight") == [0, 1, 2, 0, 1, 2]
        assert channels(graph, "v.weight") == channels(graph, "o.weight", 1) == [3, 4, 5, 3, 4, 5]
