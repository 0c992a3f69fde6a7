"""What a trace finds whatever the operators: outputs in any object, unread parameters, lines of the user."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.paint.nets import Net, channels, randomised
from torch import nn

import prunus
from prunus.errors import TraceError

IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


def test_an_unknown_operator_pins_and_names_the_line() -> None:
    def run(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = m.a(x)
        x = torch.ops.aten.masked_scatter(x, x > 0, x)  # the line to be named
        return m.b(x)

    graph = prunus.trace(randomised(Net(run, a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 2, 1))), IMAGE)
    assert graph.num_channels == 0
    (pin,) = [p for p in graph.pinned if p.operator == "masked_scatter"]
    assert pin.reason == "operator masked_scatter has no rule"
    assert pin.where.startswith(f"{Path(__file__).name}:")
    assert "the line to be named" in pin.where
    assert "a.weight:0" in pin.names


def test_whoever_asks_for_a_trace_is_no_line_of_the_forward() -> None:
    """A network of torch's modules has no line of its own: neither this one nor one of prunus is named."""
    graph = prunus.trace(nn.Linear(4, 5).double(), IMAGE.new_zeros(2, 4))
    (pin,) = [p for p in graph.pinned if p.operator == "addmm"]
    assert not pin.where and "the model's input" in pin.reason


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


def test_operators_that_run_functions_are_named() -> None:
    """What torch says of them held all of the painter."""
    model = Net(lambda m, x: torch.cond(x.sum() > 0, torch.sin, torch.cos, (m.a(x),)), a=nn.Conv2d(3, 4, 1))
    with pytest.raises(TraceError, match=r"calls cond at .*test_trace.*, which runs functions") as raised:
        prunus.trace(model, torch.zeros(1, 3, 4, 4))
    assert len(str(raised.value)) < 400
