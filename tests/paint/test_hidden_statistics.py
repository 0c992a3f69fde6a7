"""Statistics over channels whose gradient is computed once the module's forward is over: in a function with a
backward of its own, or under a checkpoint.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import Net, difference, random_plan, randomised
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import prunus
from prunus.errors import CompactError
from prunus.plans.plan import make_plan

pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")
IMAGE = torch.randn(2, 3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Normalised(torch.autograd.Function):
    """A layer norm over axis 1 with its gradient written out, as networks that restore pictures have it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        y = (x - mean) / (variance + 1e-6).sqrt()
        ctx.save_for_backward(y, variance, weight)
        return weight.view(1, -1, 1, 1) * y + bias.view(1, -1, 1, 1)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (slope,) = slopes
        y, variance, weight = ctx.saved_tensors
        g = slope * weight.view(1, -1, 1, 1)
        along = (g * y).mean(1, keepdim=True)
        inner = (g - y * along - g.mean(1, keepdim=True)) / torch.sqrt(variance + 1e-6)
        return inner, (slope * y).sum((0, 2, 3)), slope.sum((0, 2, 3))


def layer_norm(m: nn.Module, x: Tensor) -> Tensor:
    return F.layer_norm(x.movedim(1, -1), (x.shape[1],), m.weight, m.bias).movedim(-1, 1)


def again(reentrant: bool) -> Callable[[nn.Module, Tensor], Tensor]:
    return lambda m, x: checkpoint(lambda y: layer_norm(m, y), x, use_reentrant=reentrant)


HIDDEN: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "function": lambda m, x: Normalised.apply(x, m.weight, m.bias),
    "checkpoint": again(False),
    "reentrant checkpoint": again(True),
}


def network(norm: nn.Module) -> nn.Module:
    return randomised(
        nn.Sequential(nn.Conv2d(3, 8, 1), norm, nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 2, 1))
    )


def hidden(name: str) -> nn.Module:
    norm = Net(HIDDEN[name])
    norm.weight, norm.bias = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))
    return network(norm)


def gradients(model: nn.Module, kept: list[int]) -> tuple[Tensor, Tensor]:
    """Of the image and of what is left of the first filters, in train mode."""
    model = model if isinstance(getattr(model, "prunus", None), prunus.Origin) else copy.deepcopy(model)
    image = IMAGE.clone().requires_grad_()
    model.train()(image).square().sum().backward()
    weight = dict(model.named_parameters())["0.weight"]
    assert image.grad is not None and weight.grad is not None
    return image.grad, weight.grad[kept] if len(weight) == 8 else weight.grad


@pytest.mark.parametrize("name", HIDDEN)
def test_they_keep_their_width_in_the_gradient_too(name: str) -> None:
    model = hidden(name)
    plan = random_plan(prunus.trace(model, IMAGE))
    small = prunus.compact(model, plan)
    assert plan.exact and plan.removed == 7 and small.prunus.plan == plan and small.prunus.mode == "traced"
    masked = prunus.mask(model, plan)
    assert difference(masked, small, IMAGE) < 1e-12
    kept = [slot for slot in range(8) if slot not in plan.groups[0].removed]
    for one, other in zip(gradients(masked, kept), gradients(small, kept), strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", HIDDEN)
def test_a_weight_of_zero_behind_them_hides_nothing(name: str) -> None:
    """Branches often begin with a scale of zero, so that no gradient shows what training will do."""
    model = hidden(name)
    with torch.no_grad():
        model.get_parameter("2.weight").zero_()
    small = prunus.compact(model, random_plan(prunus.trace(model, IMAGE)))
    assert small.prunus.mode == "traced"


def test_where_only_the_own_class_will_do_the_channels_stay() -> None:
    model = hidden("function")
    plan = random_plan(prunus.trace(model, IMAGE))
    with pytest.warns(UserWarning, match="4 of 7 channels stay, because a statistic over channels"):
        small = prunus.compact(model, plan, prefer="eager")
    assert small.prunus.mode == "eager" and small.prunus.plan.removed == 3
    alone = make_plan(plan.graph, np.arange(14) < 4) if plan.graph else plan
    with pytest.raises(CompactError, match="without a checkpoint or a backward of its own"):
        prunus.compact(model, alone, prefer="eager")


def test_plain_norms_need_nothing_of_this() -> None:
    model = hidden("function")
    small = prunus.compact(model, random_plan(prunus.trace(model, IMAGE)), norms="plain")
    assert small.prunus.mode == "eager" and not small.prunus.plan.exact


def test_modules_that_run_under_a_checkpoint_keep_their_class() -> None:
    """They run again as a whole, widths included."""
    model = randomised(
        Net(
            lambda m, x: m.last(checkpoint(m.norm, m.first(x), use_reentrant=False)),
            first=nn.Conv2d(3, 8, 1),
            norm=nn.GroupNorm(1, 8),
            last=nn.Conv2d(8, 2, 1),
        )
    )
    small = prunus.compact(model, random_plan(prunus.trace(model, IMAGE)))
    assert small.prunus.mode == "eager" and small.prunus.verification.training < 1e-9


def test_traced_modules_pruned_again_keep_their_widths() -> None:
    """Their forwards call operators, which are no functions of torch that could be watched."""
    model = hidden("checkpoint")
    once = prunus.compact(model, random_plan(prunus.trace(model, IMAGE), 0.3, seed=1))
    inner = prunus.trace(once, IMAGE)
    second = random_plan(inner, 0.4, seed=2)
    assert second.exact and second.removed
    twice = prunus.compact(once, second)
    assert twice.prunus.plan.exact and twice.prunus.mode == "traced"
    assert difference(prunus.mask(once, second), twice, IMAGE) < 1e-12
    assert difference(prunus.mask(model, twice.prunus.plan), twice, IMAGE) < 1e-12
