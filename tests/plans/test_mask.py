"""The mask: what it sets to zero, to one, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tests.paint.nets import Net, difference, pruned, randomised
from torch import Tensor, nn

import prunus

IMAGE = torch.randn(2, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def with_parameters(
    run: Callable[..., Any], layers: dict[str, nn.Module], **shapes: tuple[int, ...]
) -> nn.Module:
    """A network with parameters of its own beside its layers."""
    net = Net(run, **layers)
    for name, shape in shapes.items():
        net.register_parameter(name, nn.Parameter(torch.ones(shape)))
    return randomised(net)


def conv(made: int, makes: int, kernel: int, **options: Any) -> nn.Module:
    return nn.Conv2d(made, makes, kernel, **options)


def snake(m: Any, x: Tensor) -> Tensor:
    y, a = m.first(x), m.alpha.view(1, -1, 1, 1)
    return m.last(y + torch.sin(a * y) ** 2 / a)


def test_what_must_not_be_zero_is_one_in_the_mask() -> None:
    model = with_parameters(snake, {"first": conv(3, 16, 3), "last": conv(16, 4, 1)}, alpha=(16,))
    plan, _ = pruned(model, IMAGE)
    masked, gone = prunus.mask(model, plan), list(plan.groups[0].removed)
    assert bool((masked.alpha[gone] == 1).all()) and not masked.first.weight[gone].any()
    kept = [slot for slot in range(16) if slot not in gone]
    assert torch.equal(masked.alpha[kept], model.alpha[kept])


def test_mask_zeroes_filters_biases_scales_and_shifts_and_leaves_readers_alone() -> None:
    model = randomised(nn.Sequential(nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 2, 1)))
    plan = pruned(model, IMAGE)[0]
    gone = list(plan.groups[0].removed)
    keep = [i for i in range(6) if i not in gone]
    masked = prunus.mask(model, plan)
    for layer in (0, 1):
        for mine, old in zip(masked[layer].parameters(), model[layer].parameters()):
            assert (mine[gone] == 0).all()
            assert torch.equal(mine[keep], old[keep])
    assert torch.equal(masked[2].weight, model[2].weight)
    assert difference(masked, model, IMAGE) > 1e-3
