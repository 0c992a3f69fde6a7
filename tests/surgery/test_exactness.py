"""Networks on which a compact model is easily wrong without anyone noticing: constants, aliases, sizes that
became numbers.

`pruned` asserts that whatever a plan calls exact is exact; the tests add that something was removed where
that is possible.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.paint.nets import Net, difference, pruned, randomised
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import prunus
from prunus.errors import CompactError

IMAGE = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def middle(act: nn.Module, reader: nn.Module) -> nn.Module:
    return randomised(nn.Sequential(nn.Conv2d(3, 6, 1), act, reader))


def with_both(m: nn.Module, x: Tensor) -> Tensor:
    x = m.a(x)
    return m.c(torch.cat([x, x.sigmoid()], 1))


def with_two_constants(m: nn.Module, x: Tensor) -> Tensor:
    x = m.a(x)
    return m.c(torch.cat([x.exp(), x.sigmoid()], 1))


def viewed_then_changed(m: nn.Module, x: Tensor) -> Tensor:
    x = m.a(x)
    view = x.flatten(2)
    x.sigmoid_()
    return m.c(torch.cat([view, view], 1).unflatten(2, (8, 8)))


def changed_through_a_view(m: nn.Module, x: Tensor) -> Tensor:
    x = m.a(x)
    x.flatten(2).add_(1)
    return m.c(torch.cat([x, x], 1))


def written_into(m: nn.Module, x: Tensor) -> Tensor:
    x = m.a(x)
    both = x.new_zeros(2, 2 * x.shape[1], 8, 8)
    both[:, : x.shape[1]] = x.sigmoid()
    both[:, x.shape[1] :] = x
    return m.c(both)


def partly_changed(m: nn.Module, x: Tensor) -> Tensor:
    x = m.a(x)
    x[:, : x.shape[1] // 2] += 1
    return m.c(torch.cat([x, x], 1))


def size_as_a_number(m: nn.Module, x: Tensor) -> Tensor:
    x = m.a(x)
    return m.c(torch.cat([x, x], 1)) * torch.tensor(float(x.shape[1]), dtype=x.dtype)


def counted(m: nn.Module, x: Tensor) -> Tensor:
    x = m.a(x)
    return m.c(torch.cat([x, x * torch.arange(x.shape[1], dtype=x.dtype)[:, None, None]], 1))


def spaced(m: nn.Module, x: Tensor) -> Tensor:
    x = m.a(x)
    return m.c(torch.cat([x, x * torch.linspace(0, 1, x.shape[1], dtype=x.dtype)[:, None, None]], 1))


def averaged(m: nn.Module, x: Tensor) -> Tensor:
    x = m.a(x)
    return m.c(torch.cat([x, x], 1)) + x.sum((1, 2, 3), keepdim=True) / x.shape[1]


def squeezed(m: nn.Module, x: Tensor) -> Tensor:
    x = m.a(x)
    return m.c(torch.cat([x, x * x.mean((2, 3), keepdim=True).sigmoid()], 1))


@pytest.mark.parametrize(
    "run",
    [
        with_both,
        with_two_constants,
        viewed_then_changed,
        changed_through_a_view,
        written_into,
        partly_changed,
        size_as_a_number,
        averaged,
        squeezed,
    ],
)
def test_what_is_called_exact_is_exact(run: Callable[..., Any]) -> None:
    model = randomised(Net(run, a=nn.Conv2d(3, 6, 1), c=nn.Conv2d(12, 2, 1)))
    pruned(model, IMAGE)
    assert isinstance(prunus.compact(model, pruned(model, IMAGE)[0]), nn.Module)  # and its own check agrees


def mixed(m: nn.Module, x: Tensor) -> Tensor:
    x = m.a(x)
    return m.c(
        torch.cat(
            [
                x,
                torch.einsum(
                    "dc,bchw->bdhw",
                    torch.linspace(0, 1, 36, dtype=x.dtype).view(6, 6) + torch.eye(6, dtype=x.dtype),
                    x,
                ),
            ],
            1,
        )
    )


@pytest.mark.parametrize("run", [counted, spaced, mixed])
def test_constants_that_count_the_channels_go_with_them_in_the_traced_graph(run: Callable[..., Any]) -> None:
    model = randomised(Net(run, a=nn.Conv2d(3, 6, 1), c=nn.Conv2d(12, 2, 1)))
    plan, small = pruned(model, IMAGE)
    assert plan.exact and plan.removed == 3 and small.prunus.mode == "traced"
    assert difference(prunus.mask(model, plan), small, torch.randn(3, 3, 9, 7, dtype=torch.float64)) < 1e-12
    with pytest.raises(CompactError, match="Nothing can be removed"):
        prunus.compact(model, plan, prefer="eager")


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_norms_with_and_without_parameters_and_statistics(kind: Any, affine: bool, tracked: bool) -> None:
    plan, _ = pruned(middle(kind(6, affine=affine, track_running_stats=tracked), nn.Conv2d(6, 2, 1)), IMAGE)
    assert plan.removed == 3
    assert plan.exact


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_computed_weights(wrap: Callable[[nn.Module], nn.Module]) -> None:
    pruned(
        randomised(
            nn.Sequential(
                wrap(nn.Conv2d(3, 6, 1)), nn.Sigmoid(), wrap(nn.Conv2d(6, 4, 1)), nn.Conv2d(4, 2, 1)
            )
        ),
        IMAGE,
    )


def test_a_forward_that_picks_another_tensor_of_the_same_shape_is_noticed() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        first, second = m.first(x), m.second(x)
        picked = first if first.shape[1] == 8 else second
        return m.picked(picked.relu()) + m.both(first + second)

    layers = {
        "first": nn.Conv2d(3, 8, 1),
        "second": nn.Conv2d(3, 8, 1),
        "picked": nn.Conv2d(8, 4, 1),
        "both": nn.Conv2d(8, 4, 1),
    }
    plan, small = pruned(randomised(Net(forward, **layers)), IMAGE)
    assert plan.exact and plan.removed == 4 and small.prunus.mode == "traced"


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")  # that torch's support of them is young
@pytest.mark.parametrize("product", [torch.sparse.mm, torch.matmul])
@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_products_with_sparse_matrices(product: Callable[[Tensor, Tensor], Tensor], layout: str) -> None:
    """Graph networks have their neighbours in one, as a buffer."""
    model = Net(lambda m, x: m.b(product(m.near, m.a(x).relu())), a=nn.Linear(5, 8), b=nn.Linear(8, 3))
    near = torch.eye(6, dtype=torch.float64) + torch.eye(6, dtype=torch.float64).roll(1, 0)
    randomised(model).register_buffer("near", near.to_sparse() if layout == "coo" else near.to_sparse_csr())
    plan, _ = pruned(model, torch.randn(6, 5, dtype=torch.float64))
    assert plan.exact and plan.removed == 4


def _number(t: Tensor) -> Tensor:
    return t / (1 + t.abs().amax())


FUNCTIONAL: dict[str, Callable[[Tensor], Tensor]] = {
    "a number under vmap": lambda x: torch.func.vmap(_number)(x),
    "vmap over channels": lambda x: torch.func.vmap(lambda t: t - t.mean(), in_dims=1, out_dims=1)(x),
    "jvp": lambda x: torch.func.jvp(lambda t: t.sin() * t, (x,), (torch.ones_like(x),))[1],
    "a gradient in the forward": lambda x: x + torch.func.grad(lambda t: (t**3).sum())(x),
}


@pytest.mark.filterwarnings("ignore:.*jit:DeprecationWarning")  # inside torch.func
@pytest.mark.parametrize("name", FUNCTIONAL)
def test_functions_of_functions(name: str) -> None:
    model = Net(lambda m, x: m.b(FUNCTIONAL[name](m.a(x).tanh())), a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(8, 2, 1))
    plan, small = pruned(randomised(model), IMAGE)
    assert plan.exact and plan.removed >= 3 and small.prunus.mode == "eager"


def test_operators_that_return_nothing_are_followed() -> None:
    """Solving checks for errors with one: what stood around it was traced, or stayed whole."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        solved = torch.linalg.solve(m.first.weight[:, :, 0, 0], m.first(x).flatten(2)).view(x.shape)
        return m.last(m.middle(solved).relu())

    model = Net(forward, first=nn.Conv2d(3, 3, 1), middle=nn.Conv2d(3, 8, 1), last=nn.Conv2d(8, 2, 1))
    plan, small = pruned(randomised(model), IMAGE)
    assert plan.removed == 4 and small.prunus.mode == "eager"


def renormalised(m: nn.Module, x: Tensor) -> Tensor:
    """Batch renormalisation, whose statistics of the batch are divided by running ones in training."""
    y = m.a(x)
    if m.training:
        variance, mean = torch.var_mean(y, (0, 2, 3), unbiased=False)
        with torch.no_grad():
            m.mean.lerp_(mean, 0.1)
            m.variance.lerp_(variance, 0.1)
            ratio = (variance / m.variance).sqrt().clamp(0.5, 2)[:, None, None]
    else:
        variance, mean, ratio = m.variance, m.mean, 1.0
    y = (y - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt() * ratio
    return m.b(y * m.scale[:, None, None])


def test_batch_renormalisation_written_out() -> None:
    model = Net(renormalised, a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(8, 2, 1))
    model.scale = nn.Parameter(torch.zeros(8))
    model.register_buffer("mean", torch.zeros(8))
    model.register_buffer("variance", torch.ones(8))
    randomised(model).variance.uniform_(0.5, 2)
    plan, small = pruned(model, IMAGE)
    assert plan.exact and plan.removed == 4 and prunus.verify(model, plan, small).training < 1e-9  # type: ignore[operator]


def test_of_several_results_the_first_alone_is_worked_out() -> None:
    """0.5 is 0.5 times two to the zeroth: the exponent is another number than the fraction."""
    model = Net(
        lambda m, x: m.b(sum(torch.frexp(m.a(x).sigmoid()))), a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(8, 2, 1)
    )
    plan, _ = pruned(randomised(model), IMAGE)
    assert plan.removed == 4
