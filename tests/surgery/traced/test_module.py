"""The fallback for forwards that hard-code sizes: the traced module behaves like the
module that it replaces.
"""

from __future__ import annotations

import copy
import warnings
from functools import cache

import pytest
import torch
from tests.paint.nets import Halves, Net, difference, pruned, random_plan, randomised
from torch import Tensor, nn

import prunus
from prunus.surgery.traced.module import TracedModule

IMAGE = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def traced(
    drop: float = 0.0, rate: float = 0.5, train: bool = False
) -> tuple[nn.Module, prunus.Plan, nn.Module]:
    model = randomised(Halves(drop))
    model.train(train)
    plan = random_plan(prunus.trace(model, IMAGE), rate)
    return model, plan, prunus.compact(model, plan)


@cache
def traced_once() -> tuple[nn.Module, prunus.Plan, nn.Module]:
    """For tests that only look."""
    return traced()


def test_the_traced_module_has_the_same_names_and_function() -> None:
    model, plan, small = traced_once()
    assert isinstance(small, TracedModule)
    assert small.prunus.mode == small.prunus.verification.mode == "traced"
    assert small.prunus.plan == plan
    assert list(small.state_dict()) == list(model.state_dict())
    assert small.conv.weight.shape[0] < 12
    assert difference(prunus.mask(model, plan), small, IMAGE) < 1e-12


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.7, 1.0])
def test_any_rate(rate: float) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Only 0 channels")
        model, plan, small = traced(rate=rate)
    assert small.prunus.plan == plan
    assert difference(prunus.mask(model, plan), small, IMAGE) < 1e-12


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (7, 3, 8, 8), (2, 3, 20, 13), (1, 3, 3, 3)])
def test_other_batch_sizes_and_resolutions(shape: tuple[int, ...]) -> None:
    model, plan, small = traced_once()
    assert difference(prunus.mask(model, plan), small, torch.randn(shape, dtype=torch.float64)) < 1e-12


@pytest.mark.parametrize("train", [True, False])
def test_the_mode_of_the_model_is_kept(train: bool) -> None:
    model, _, small = traced(train=train)
    assert small.training is model.training is train
    before = small.bn.running_mean.clone()
    small(IMAGE)
    assert torch.equal(before, small.bn.running_mean) is not train


@pytest.mark.parametrize("train", [True, False])
def test_batch_norms_keep_their_own_mode_and_dropout_in_another_is_told(train: bool) -> None:
    model = randomised(Halves(0.5)).train(train)
    model.bn.train(not train)
    plan = random_plan(prunus.trace(model, IMAGE))
    small = prunus.compact(model, plan)
    assert small.training is train and small.bn.training is not train
    model.drop.train(not train)
    with pytest.warns(UserWarning, match="drop is not in the mode of Halves"):
        prunus.compact(model, plan)


def test_training_updates_batch_norm_statistics_as_the_masked_model_does() -> None:
    model, plan, small = traced()
    masked = prunus.mask(model, plan)
    kept = torch.from_numpy(small.prunus.surgery.slices["bn.running_mean"][0])
    for _ in range(3):
        x = torch.randn(6, 3, 8, 8, dtype=torch.float64)
        found, wanted = small.train()(x), masked.train()(x)
        assert torch.allclose(found, wanted, rtol=1e-11)
    assert torch.allclose(small.bn.running_mean, masked.bn.running_mean[kept], rtol=1e-11)
    assert torch.allclose(small.bn.running_var, masked.bn.running_var[kept], rtol=1e-11)
    assert int(small.bn.num_batches_tracked) == int(masked.bn.num_batches_tracked)
    assert difference(masked.eval(), small.eval(), IMAGE) < 1e-11


def test_dropout_follows_the_mode() -> None:
    _, _, small = traced(drop=0.5)
    assert torch.equal(small(IMAGE), small(IMAGE))
    small.train()
    assert not torch.equal(small(IMAGE), small(IMAGE))
    small.eval()
    assert torch.equal(small(IMAGE), small(IMAGE))


def test_gradients_flow_and_frozen_parameters_stay_frozen() -> None:
    model = randomised(Halves())
    model.left.weight.requires_grad_(False)
    small = prunus.compact(model, random_plan(prunus.trace(model, IMAGE)))
    small.train()(IMAGE).square().sum().backward()
    assert {name for name, p in small.named_parameters() if p.grad is None} == {"left.weight"}


def test_it_can_be_copied_and_the_copy_is_independent() -> None:
    _, _, small = traced()
    twin = copy.deepcopy(small)
    assert difference(small, twin, IMAGE) == 0
    twin.train()
    assert not small.training
    assert torch.equal(small(IMAGE), small(IMAGE))
    with torch.no_grad():
        twin.head.bias.add_(1)
    assert difference(small, twin.eval(), IMAGE) > 0
    twin.load_state_dict(small.state_dict())
    assert difference(small, twin, IMAGE) == 0


def test_it_can_be_pruned_again() -> None:
    _, _, small = traced(rate=0.3)
    plan = random_plan(prunus.trace(small, IMAGE), 0.4, seed=4)
    smaller = prunus.compact(small, plan)
    assert plan.removed > 0
    assert plan.after.params == sum(p.numel() for p in smaller.parameters())
    assert difference(prunus.mask(small, plan), smaller, IMAGE) < 1e-12
    assert smaller(torch.randn(3, 3, 9, 9, dtype=torch.float64)).shape == (3, 4)


def test_eager_on_request_keeps_the_class_and_says_what_went() -> None:
    model = randomised(Halves())
    plan = random_plan(prunus.trace(model, IMAGE))
    with pytest.warns(UserWarning, match=r"5 of 8 channels stay.*narrow"):
        small = prunus.compact(model, plan, prefer="eager")
    assert type(small) is Halves
    assert small.prunus.mode == "eager"
    assert 0 < small.prunus.plan.removed < plan.removed
    assert difference(prunus.mask(model, small.prunus.plan), small, IMAGE) < 1e-12
    assert small.prunus.plan.after.params == sum(p.numel() for p in small.parameters())


def test_a_literal_reshape() -> None:
    class Literal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3)
            self.act = nn.Sigmoid()
            self.head = nn.Linear(6 * 36, 4, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.act(self.conv(x)).view(-1, 216))

    model = randomised(Literal())
    plan = random_plan(prunus.trace(model, IMAGE))
    small = prunus.compact(model, plan)
    assert small.prunus.plan == plan
    for batch in (1, 2, 5):
        assert (
            difference(prunus.mask(model, plan), small, torch.randn(batch, 3, 8, 8, dtype=torch.float64))
            < 1e-12
        )


def test_a_constant_that_only_code_without_effect_reads_is_dropped_with_it() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = torch.sigmoid(m.conv(x))
        m.unused(y)
        return m.left(y.narrow(1, 0, 5)) + m.right(y.narrow(1, 5, 7))

    layers = {
        "conv": nn.Conv2d(3, 12, 1),
        "unused": nn.Conv2d(12, 4, 1, bias=False),
        "left": nn.Conv2d(5, 6, 1),
        "right": nn.Conv2d(7, 6, 1),
    }
    plan, small = pruned(randomised(Net(forward, **layers)), torch.randn(2, 3, 4, 4, dtype=torch.float64))
    assert plan.exact and plan.removed == 7 and small.prunus.mode == "traced"
