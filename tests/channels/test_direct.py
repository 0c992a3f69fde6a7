"""Torch's own layers go to the painter without the dispatcher: what it sees must be what the dispatcher would have given it."""

import pytest
import torch
from torch import Tensor, nn

import prunus
from prunus.channels import direct as module
from prunus.channels.graph import ChannelGraph

LAYERS = {
    "convolution": lambda: nn.Conv2d(8, 6, 3, stride=2, padding=1, dilation=(2, 1)),
    "grouped without bias": lambda: nn.Conv2d(8, 8, (1, 3), groups=4, bias=False),
    "same padding": lambda: nn.Conv2d(8, 6, 3, padding="same"),
    "reflected": lambda: nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect"),
    "batch norm": lambda: nn.BatchNorm2d(8),
    "without affine": lambda: nn.BatchNorm2d(8, affine=False, momentum=None, eps=1e-3),
    "without statistics": lambda: nn.BatchNorm2d(8, track_running_stats=False),
    "relu": nn.ReLU,
    "relu in place": lambda: nn.ReLU(inplace=True),
    "relu6": nn.ReLU6,
    "relu6 in place": lambda: nn.ReLU6(inplace=True),
    "silu": nn.SiLU,
    "silu in place": lambda: nn.SiLU(inplace=True),
    "hardswish": nn.Hardswish,
    "hardswish in place": lambda: nn.Hardswish(inplace=True),
    "hardsigmoid": nn.Hardsigmoid,
    "hardsigmoid in place": lambda: nn.Hardsigmoid(inplace=True),
    "sigmoid": nn.Sigmoid,
}


class Around(nn.Module):
    """The layer behind a convolution."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.front, self.layer = nn.Conv2d(3, 8, 1), layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.front(x)).sum(dim=(2, 3))


def seen(graph: ChannelGraph) -> list[object]:
    """Everything about the operators but the identity of tensors."""
    painted = [layer for r in graph.records for paint in (*r.inputs, *r.paints) for layer in paint]
    colours = [(layer.axis, layer.labels.tolist(), str(layer.dead.tolist())) for layer in painted]
    calls = [
        (r.func, r.module, str(r.where), [tuple(a.shape) if isinstance(a, Tensor) else a for a in r.args], r.kwargs, [t.shape for t in r.outputs])
        for r in graph.records
    ]
    return [calls, colours, graph.channel_of_colour.tolist()]


@pytest.mark.parametrize("name", LAYERS)
def test_the_painter_sees_what_the_dispatcher_would_give_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = Around(LAYERS[name]()).eval(), torch.randn(2, 3, 9, 9)
    short = prunus.trace(model, image)
    monkeypatch.setattr(module, "_SHORT", {})
    assert seen(short) == seen(prunus.trace(model, image))


def test_a_subclass_and_a_forward_of_its_own_are_called() -> None:
    class Doubled(nn.ReLU):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) * 2

    replaced = nn.ReLU()
    replaced.forward = lambda input: input.neg()  # type: ignore[method-assign]
    for layer, operator in ((Doubled(), "mul"), (replaced, "neg")):
        assert operator in [r.operator for r in prunus.trace(Around(layer).eval(), torch.randn(1, 3, 5, 5)).records]


def test_a_mismatch_of_shapes_is_still_an_error_with_its_line() -> None:
    with pytest.raises(prunus.errors.TraceError, match=r"test_direct.py:\d+: return self.layer"):
        prunus.trace(Around(nn.Conv2d(7, 4, 1)).eval(), torch.randn(1, 3, 5, 5))


def operators(model: nn.Module, image: Tensor | dict[str, Tensor]) -> list[str]:
    return [r.operator for r in prunus.trace(model.eval(), image).records]


def test_layers_are_called_by_keyword_too() -> None:
    class Keyed(Around):
        def forward(self, x: Tensor) -> Tensor:
            return self.layer(input=self.front(input=x))

    assert operators(Keyed(nn.BatchNorm2d(8)), torch.randn(1, 3, 5, 5)) == ["convolution", "native_batch_norm"]
    assert operators(nn.Conv2d(3, 4, 1), {"input": torch.randn(1, 3, 5, 5)}) == ["convolution"]


def test_a_gradient_taken_in_the_forward_goes_the_usual_way() -> None:
    class Gradient(Around):
        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                h = self.front(x).detach().requires_grad_()
                (slope,) = torch.autograd.grad(self.layer(h).sum(), h)
            return slope

    assert "silu_backward" in operators(Gradient(nn.SiLU()), torch.randn(1, 3, 5, 5))


def test_sizes_that_change_between_calls_and_plain_numbers_count() -> None:
    class Rates(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.conv.stride = 1  # type: ignore[assignment]

        def forward(self, x: Tensor) -> Tensor:
            results = []
            for rate in (1, 2):
                self.conv.dilation, self.conv.padding = (rate, rate), (rate, rate)
                results.append(self.conv(x))
            return sum(results)

    records = prunus.trace(Rates().eval(), torch.randn(1, 3, 9, 9)).records
    assert [r.args[5] for r in records if r.operator == "convolution"] == [[1, 1], [2, 2]]


def test_what_somebody_replaced_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def doubled(self: nn.Conv2d, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return nn.functional.conv2d(input, weight * 2, bias)

    patched = nn.Conv2d(8, 4, 1)
    patched._conv_forward = doubled.__get__(patched)  # type: ignore[method-assign]
    assert "mul" in operators(Around(patched), torch.randn(1, 3, 5, 5))
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, input: input.abs())
    assert "abs" in operators(Around(nn.ReLU()), torch.randn(1, 3, 5, 5))


def test_a_batch_norm_of_another_width_is_still_an_error() -> None:
    with pytest.raises(prunus.errors.TraceError):
        prunus.trace(Around(nn.BatchNorm2d(1)).eval(), torch.randn(1, 3, 5, 5))
