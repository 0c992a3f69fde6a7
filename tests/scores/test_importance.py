"""Importance weights: they change nothing when put on, are the mask at zero, and come off again."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from tests.networks import Spec, networks
from tests.paint.nets import Net, channels, randomised
from torch import Tensor, nn

import prunus
from prunus import models, scores
from prunus.errors import PlanError
from prunus.paint.inputs import as_arguments, tensors_in
from prunus.plans.plan import make_plan
from prunus.scores.importance import ImportanceWeights

IMAGE = torch.randn(4, 3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
STARTS = ("ones", "random", "l1", "l2", "std", "entropy", "correlation")


def residual(m: nn.Module, x: Tensor) -> Tensor:
    x = m.bn(m.a(x)).relu()
    return m.head((m.b(x) + x).relu().mean((2, 3)))


def network() -> nn.Module:
    layers = {
        "a": nn.Conv2d(3, 6, 3),
        "bn": nn.BatchNorm2d(6),
        "b": nn.Conv2d(6, 6, 3, padding=1),
        "head": nn.Linear(6, 2),
    }
    return randomised(Net(residual, **layers))


@pytest.mark.parametrize("start", STARTS)
def test_putting_them_on_and_taking_them_off_changes_nothing(start: str) -> None:
    model = network()
    wanted, names = model(IMAGE).detach(), list(model.state_dict())
    graph = prunus.trace(model, IMAGE)
    weights = ImportanceWeights(model, graph, start)  # type: ignore[arg-type]
    assert torch.allclose(model(IMAGE), wanted, rtol=1e-5)
    assert weights.weights.shape == (graph.num_channels,) and any(
        p is weights.weights for p in model.parameters()
    )
    if start != "ones":
        assert len(weights.weights.detach().unique()) > 1 and float(weights.weights.detach().max()) <= 1
    weights.fold()
    assert list(model.state_dict()) == names and not any(p is weights.weights for p in model.parameters())
    assert torch.allclose(model(IMAGE), wanted, rtol=1e-5)


def test_zero_weights_are_the_mask() -> None:
    model = network()
    graph = prunus.trace(model, IMAGE)
    removed = np.zeros(graph.num_channels, dtype=bool)
    removed[[1, 4]] = True
    masked = prunus.mask(model, make_plan(graph, removed))
    weights = ImportanceWeights(model, graph)
    with torch.no_grad():
        weights.weights[[1, 4]] = 0
    assert torch.allclose(model(IMAGE), masked(IMAGE), rtol=1e-9)


def assert_zero_is_the_mask(model: nn.Module) -> None:
    """Weights change nothing when put on, are the mask at zero, and stay so when they come off."""
    graph = prunus.trace(model, IMAGE)
    plan = prunus.plan(graph, scores.random(graph), rate=0.5)
    masked, before = prunus.mask(model, plan), model(IMAGE).detach()
    weights = ImportanceWeights(model, graph, "l1")
    assert torch.allclose(model(IMAGE), before, rtol=1e-9)
    with torch.no_grad():
        weights.weights[torch.from_numpy(plan.removed_in(graph))] = 0
    assert plan.removed and torch.allclose(model(IMAGE), masked(IMAGE), rtol=1e-9)
    weights.fold()
    assert torch.allclose(model(IMAGE), masked(IMAGE), rtol=1e-9)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("padding", [0, 1])
def test_where_a_channel_leaves_a_constant_zero_weights_are_the_mask(norm: bool, padding: int) -> None:
    """A constant in front of a padded convolution cannot go into its bias: the slice that reads the channel
    has the weight too.
    """
    layers = [nn.Conv2d(3, 4, 1), nn.Sigmoid(), nn.Conv2d(4, 6, 3, padding=padding, bias=not norm)]
    model = randomised(
        nn.Sequential(*layers, *[nn.BatchNorm2d(6)] * norm, nn.Sigmoid(), nn.Conv2d(6, 2, 3, padding=1))
    )
    assert_zero_is_the_mask(model)
    assert not any(hasattr(module, "parametrizations") for module in model.modules())


class Step(nn.Module):
    """A quantiser with a step of its own for every channel (LSQ), which is divided by."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.rand(4, 1, 1, dtype=torch.float64) + 0.3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / self.step) * self.step


def test_what_is_divided_by_goes_to_one_with_its_weight() -> None:
    model = randomised(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sigmoid(), Step(), nn.Conv2d(4, 2, 1))
    )
    with torch.no_grad():
        model[3].step.copy_(torch.rand(4, 1, 1, dtype=torch.float64) + 0.3)
    assert_zero_is_the_mask(model)


@settings(max_examples=12)
@given(networks(most=2))
def test_on_random_networks_zero_weights_are_the_mask(spec: Spec) -> None:
    model, inputs = spec.build()
    args, kwargs = as_arguments(inputs)
    double = tuple(x.double() for x in args), {name: x.double() for name, x in kwargs.items()}
    graph = prunus.trace(model.double(), double[1] or double[0])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Only .* channels of")  # of networks that are mostly pinned
        plan = prunus.plan(graph, scores.random(graph, spec.seed), rate=0.3)
    masked = prunus.mask(model, plan)
    try:
        weights = ImportanceWeights(model, graph)
    except PlanError as error:
        assert "shared by several modules" in str(error) or "batch norm without scale and shift" in str(error)
        return
    with torch.no_grad():
        weights.weights[torch.from_numpy(plan.removed_in(graph))] = 0
        found, wanted = (list(tensors_in(one(*double[0], **double[1]))) for one in (model, masked))
    if plan.exact:
        for a, b in zip(found, wanted, strict=True):
            assert torch.allclose(a, b, rtol=1e-6, atol=1e-8 * float(b.abs().max()))


def test_they_learn_which_channels_matter() -> None:
    model = network()
    graph = prunus.trace(model, IMAGE)
    with torch.no_grad():
        model.head.weight[:, 2] = 0  # nobody reads channel 2
        model.b.weight[:, 2] = 0
    weights = ImportanceWeights(model, graph)
    mine = channels(graph, "a.weight")
    target = copy.deepcopy(model)(IMAGE).detach()
    optimizer = torch.optim.SGD([weights.weights], lr=0.2)
    for _ in range(400):
        optimizer.zero_grad()
        ((model(IMAGE) - target).square().mean() + weights.penalty(0.02)).backward()
        optimizer.step()
    importance = weights.importance()
    assert torch.equal(importance, weights.weights.detach().abs().double())
    assert float(importance[mine[2]]) < 0.2 * float(importance[mine].median())


def test_importance_times_norm_does_not_depend_on_the_scale() -> None:
    plain, started = network(), network()
    one = ImportanceWeights(plain, prunus.trace(plain, IMAGE)).importance("weight times norm")
    other = ImportanceWeights(started, prunus.trace(started, IMAGE), "l1").importance("weight times norm")
    assert torch.allclose(one, other, rtol=1e-5) and len(one.unique()) > 1


def test_what_stands_before_a_batch_norm_is_left_alone() -> None:
    model = models.resnet20().eval()
    graph = prunus.trace(model, torch.zeros(1, 3, 32, 32))
    ImportanceWeights(model, graph)
    changed = {
        name.split(".parametrizations")[0] for name, _ in model.named_parameters() if "original" in name
    }
    assert "layer1.0.bn1" in changed and not any("conv" in name for name in changed)


def test_shared_parameters_and_unknown_starts_are_refused() -> None:
    model = network()
    with pytest.raises(PlanError, match="not 'zeros'"):
        ImportanceWeights(model, prunus.trace(model, IMAGE), "zeros")  # type: ignore[arg-type]
    tied = randomised(
        Net(
            lambda m, x: m.d(m.c(m.b(m.a(x)))),
            a=nn.Conv2d(3, 3, 1),
            b=nn.Conv2d(3, 3, 1),
            c=nn.Conv2d(3, 3, 1),
            d=nn.Conv2d(3, 2, 1),
        )
    )
    tied.c.weight = tied.b.weight
    graph = prunus.trace(tied, IMAGE)
    if any(axis.name == "b.weight" and axis.produces and (axis.channels >= 0).any() for axis in graph.axes):
        with pytest.raises(PlanError, match=r"b\.weight is shared by several modules"):
            ImportanceWeights(tied, graph)
