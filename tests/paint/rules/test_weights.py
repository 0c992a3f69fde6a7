"""Weights made of directions and lengths, or divided by their largest singular value: channels go through
what they are made of.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from tests.paint.nets import channels, randomised
from tests.paint.operators import WIDTH, Between, goes, goes_exactly
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import prunus

Norm = Callable[[nn.Module], nn.Module]


def old_form(norm: Callable[..., nn.Module]) -> Norm:
    """The form with hooks, which warns that it is old."""

    def apply(layer: nn.Module) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return norm(layer)

    return apply


class Quotient(nn.Module):
    """A weight over another one, whose removed inputs and outputs must both not be zero."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.other = nn.Parameter(torch.rand_like(weight) + 1)

    def forward(self, weight: Tensor) -> Tensor:
        return weight / self.other


def parametrized(layer: nn.Module, form: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", form)
    return layer


NORMS: dict[str, Norm] = {
    "weight norm": parametrizations.weight_norm,
    "weight norm, old form": old_form(torch.nn.utils.weight_norm),
    "weight norm over the outputs": lambda layer: parametrizations.weight_norm(layer, dim=1),
    "weight norm over the outputs, old form": old_form(
        lambda layer: torch.nn.utils.weight_norm(layer, dim=1)
    ),
    "divided by another": lambda layer: parametrized(layer, Quotient(layer.weight)),
    "spectral norm": parametrizations.spectral_norm,
    "spectral norm, old form": old_form(torch.nn.utils.spectral_norm),
}


def convolutions(m: Between, y: Tensor) -> Tensor:
    return m.b(m.a(y).relu())


@pytest.mark.parametrize("name", NORMS)
def test_convolutions_go_with_what_their_weights_are_made_of(name: str) -> None:
    norm = NORMS[name]
    result = goes_exactly(
        convolutions, a=norm(nn.Conv2d(WIDTH, 6, 3, padding=1)), b=norm(nn.Conv2d(6, WIDTH, 1))
    )
    assert result.mode == "eager" and result.graph.num_channels == 2 * WIDTH + 6


@pytest.mark.parametrize("name", NORMS)
def test_linear_layers_go_with_what_their_weights_are_made_of(name: str) -> None:
    def run(m: Between, y: Tensor) -> Tensor:
        return y * m.b(m.a(y.mean((2, 3))).relu())[:, :, None, None]

    norm = NORMS[name]
    assert (
        goes_exactly(run, a=norm(nn.Linear(WIDTH, 6)), b=norm(nn.Linear(6, WIDTH))).removed
        == (WIDTH + 6) // 2
    )


@pytest.mark.parametrize("rank", [1, 3])
def test_weight_norm_of_other_ranks_and_of_transposed_convolutions(rank: int) -> None:
    """The lengths of a transposed convolution belong to its inputs."""
    conv, back = {1: (nn.Conv1d, nn.ConvTranspose1d), 3: (nn.Conv3d, nn.ConvTranspose3d)}[rank]
    norm = parametrizations.weight_norm

    def run(m: Between, y: Tensor) -> Tensor:
        z = y.flatten(2) if rank == 1 else y.unsqueeze(2)
        return m.b(m.a(z).relu()).view(y.shape)

    assert goes_exactly(run, a=norm(conv(WIDTH, 6, 1)), b=norm(back(6, WIDTH, 1))).mode == "eager"


def test_a_length_is_what_makes_a_filter() -> None:
    model = randomised(
        Between(
            convolutions,
            {
                "a": parametrizations.weight_norm(nn.Conv2d(WIDTH, 6, 3, padding=1)),
                "b": nn.Conv2d(6, WIDTH, 1),
            },
        )
    )
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    graph = prunus.trace(model, x)
    length, direction = "a.parametrizations.weight.original0", "a.parametrizations.weight.original1"
    assert channels(graph, length) == channels(graph, direction) == channels(graph, "b.weight", 1)
    assert channels(graph, direction, 1) == channels(graph, "first.0.weight")
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    masked, small = prunus.mask(model, plan), prunus.compact(model, plan)
    rows = masked.a.parametrizations.weight.original1.flatten(1).norm(dim=1)
    assert (rows > 0).all()  # a direction is divided by its norm
    assert (masked.a.weight.flatten(1).norm(dim=1) == 0).sum() == 6 - small.a.weight.shape[0]


class MaxNorm(nn.Module):
    """Weights whose slices along an axis are no longer than one."""

    def __init__(self, dim: int = 0, power: float = 2) -> None:
        super().__init__()
        self.dim, self.power = dim, power

    def forward(self, weight: Tensor) -> Tensor:
        return weight.renorm(self.power, self.dim, 1.0)


def bounded(layer: nn.Module, dim: int = 0, power: float = 2) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", MaxNorm(dim, power))
    return layer


@pytest.mark.parametrize(("dim", "power"), [(0, 2), (1, 2), (0, 1), (0, float("inf"))])
def test_max_norm_leaves_filters_free(dim: int, power: float) -> None:
    result = goes_exactly(
        convolutions,
        a=bounded(nn.Conv2d(WIDTH, 6, 3, padding=1), dim, power),
        b=bounded(nn.Conv2d(6, WIDTH, 1), dim, power),
    )
    assert result.mode == "eager" and result.graph.num_channels == 2 * WIDTH + 6


def test_max_norm_of_a_depthwise_convolution_pins_neither_side() -> None:
    spatial = bounded(nn.Conv2d(WIDTH, 2 * WIDTH, (3, 1), padding=(1, 0), groups=WIDTH, bias=False))
    result = goes_exactly(
        lambda m, y: m.b(m.norm(m.a(y))),
        a=spatial,
        norm=nn.BatchNorm2d(2 * WIDTH),
        b=nn.Conv2d(2 * WIDTH, WIDTH, 1),
    )
    assert result.graph.num_channels == 2 * WIDTH


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_renorm_of_activations_is_exact_where_what_goes_is_zero(dim: int) -> None:
    goes_exactly(lambda m, y: y.renorm(2, dim, 1.0))


def test_renorm_over_constants_is_noted() -> None:
    result = goes(lambda m, y: y.sigmoid().renorm(2, 0, 1.0))
    assert not result.exact and "renorm across the channels" in result.notes
    assert not goes(lambda m, y: y.renorm(0.5, 1, 1.0) + y.sigmoid().renorm(2, 1, 0.1)).notes.startswith(
        "renorm"
    )
