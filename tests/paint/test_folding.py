"""Constants of removed channels go into the next bias, or with the slices that read them."""

from __future__ import annotations

import pytest
import torch
from tests.paint.nets import Net, pruned, randomised
from torch import Tensor, nn

import prunus

IMAGE = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def middle(act: nn.Module, reader: nn.Module) -> nn.Module:
    return randomised(nn.Sequential(nn.Conv2d(3, 6, 1), act, reader))


@pytest.mark.parametrize(
    "act", [nn.Sigmoid(), nn.Softplus(), nn.ELU(), nn.Hardsigmoid(), Net(lambda _, x: torch.exp(-x))]
)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("reader", ["1x1", "unpadded", "reflected", "linear"])
def test_constants_are_folded_into_the_next_bias(act: nn.Module, bias: bool, reader: str) -> None:
    layers = {
        "1x1": nn.Conv2d(6, 4, 1, bias=bias),
        "unpadded": nn.Conv2d(6, 4, 3, bias=bias),
        "reflected": nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect", bias=bias),
        "linear": nn.Sequential(nn.Flatten(), nn.Linear(6 * 64, 4, bias=bias)),
    }
    model = middle(act, layers[reader])
    plan, small = pruned(model, IMAGE)
    assert plan.exact
    assert plan.removed == 3
    last = list(small.named_parameters())[-1][0]
    assert last.endswith("bias") is (bias or not isinstance(act, nn.ELU))


def test_the_folded_bias_is_the_sum_of_the_removed_slices_times_the_constant() -> None:
    model = randomised(nn.Sequential(nn.Conv2d(3, 6, 1), nn.Sigmoid(), nn.Conv2d(6, 4, 3)))
    plan, small = pruned(model, IMAGE)
    gone = list(plan.groups[0].removed)
    wanted = model[2].bias + 0.5 * model[2].weight[:, gone].sum((1, 2, 3))
    assert torch.allclose(small[2].bias, wanted, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    "reader",
    [
        nn.Conv2d(6, 4, 3, padding=1),
        nn.Conv2d(6, 4, 3, padding="same"),
        nn.ConvTranspose2d(6, 4, 3),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), nn.Conv2d(6, 4, 1)),
    ],
)
def test_constants_that_no_bias_can_take_go_with_the_slices_that_read_them(reader: nn.Module) -> None:
    plan, _ = pruned(middle(nn.Sigmoid(), reader), IMAGE)
    assert plan.exact and plan.removed


def test_a_shared_reader_cannot_take_a_constant() -> None:
    def run(m: nn.Module, x: Tensor) -> Tensor:
        x = m.a(x)
        return m.b(x.sigmoid()) + m.b(x)

    plan, small = pruned(randomised(Net(run, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 1, bias=False))), IMAGE)
    assert plan.exact and plan.removed and small.b.bias is None


SHARED = {
    "a bias of two layers": lambda m, x: (
        m.reader(m.first(x).sigmoid()) * nn.functional.conv2d(x, m.other.weight, m.reader.bias)
    ),
    "a bias that is taken away again": lambda m, x: (
        m.reader(m.first(x).sigmoid()) - m.reader.bias.view(1, -1, 1, 1)
    ).relu(),
    "a bias that is penalised": lambda m, x: (m.reader(m.first(x).sigmoid()), m.reader.bias.square().sum()),
    "a weight that decodes": lambda m, x: nn.functional.conv_transpose2d(
        m.reader(m.first(x).sigmoid()).relu(), m.reader.weight
    ),
}


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("size", [1, 3])
def test_nothing_is_folded_where_others_read_the_layers_parameters(name: str, size: int) -> None:
    if size == 3 and name == "a bias of two layers":
        name = "a bias that is taken away again"

    def run(m: nn.Module, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        made = SHARED[name](m, x)
        first, *rest = made if isinstance(made, tuple) else (made,)
        return (m.wide(first) if "decodes" in name else m.last(first), *rest)

    model = randomised(
        Net(
            run,
            first=nn.Conv2d(3, 6, 1),
            reader=nn.Conv2d(6, 4, size),
            other=nn.Conv2d(3, 4, 1, bias=False),
            last=nn.Conv2d(4, 2, 1),
            wide=nn.Conv2d(6, 2, 1),
        )
    )
    plan, small = pruned(model, IMAGE)
    assert plan.exact and plan.removed >= 3 and small.prunus.mode == "eager"
    prunus.verify(model, plan, small)
