"""Models that are pruned several times: one plan of the first dense network, so that their file is restored
into what builds that one.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.paint.nets import Halves, random_plan, randomised
from torch import Tensor, nn

import prunus
from prunus.models import CifarResNet, lenet5
from prunus.surgery.blocks import without_blocks
from prunus.surgery.compact import Origin

IMAGE = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Folding(nn.Module):
    """Removed channels are a constant behind the sigmoid, which moves into a bias that the next layer does
    not have yet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.next, self.norm = (
            nn.Conv2d(3, 12, 1),
            nn.Sigmoid(),
            nn.Conv2d(12, 12, 3, bias=False),
            nn.BatchNorm2d(12),
        )
        self.last = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.next(self.act(self.conv(x)))).relu())


def lenet() -> nn.Module:
    return lenet5(in_channels=3, image_size=8)


class Normed(nn.Module):
    """A norm over channels, which keeps its width when some go."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 16, 1), nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.conv(x).permute(0, 2, 3, 1)).relu())


def resnet() -> nn.Module:
    return CifarResNet(1)


def without_a_block() -> nn.Module:
    return without_blocks(resnet(), ["layer1.0"])


BUILDS: dict[str, Callable[[], nn.Module]] = {
    "lenet": lenet,
    "folds": Folding,
    "norms": Normed,
    "resnet": resnet,
    "traced": Halves,
    "without a block": without_a_block,
}


def origin(model: nn.Module) -> Origin:
    found = vars(model)["prunus"]
    assert isinstance(found, Origin)
    return found


def pruned(model: nn.Module, rate: float = 0.4) -> nn.Module:
    return prunus.compact(model, random_plan(prunus.trace(model, IMAGE), rate))


def tuned(model: nn.Module) -> nn.Module:
    """After a few steps of training."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        model.train()(IMAGE).square().mean().backward()
        optimizer.step()
    return model.eval()


BETWEEN: dict[str, Callable[[nn.Module], nn.Module]] = {
    "at once": lambda model: model,
    "after training": tuned,
    "from a pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("name", BUILDS)
def test_three_times_and_saved(name: str, between: str, tmp_path: Path) -> None:
    model = randomised(BUILDS[name]())
    dense = model
    for step in range(3):
        model = BETWEEN[between](pruned(model))
        prunus.save(model, tmp_path / "m")
        again = prunus.load(tmp_path / "m", BUILDS[name])
        torch.testing.assert_close(
            again.double()(IMAGE), model(IMAGE), rtol=0, atol=0 if name != "resnet" else 1e-12
        )
        assert origin(model).plan.before == prunus.trace(dense, IMAGE).cost(), step
        if name in ("lenet", "resnet"):
            assert origin(model).plan.after.params == sum(p.numel() for p in model.parameters())
        assert origin(again).plan == origin(model).plan
        verification = origin(model).verification
        assert verification is not None and verification.relative < 1e-9


@pytest.mark.parametrize("name", ["lenet", "folds", "norms", "resnet", "traced"])
def test_a_loaded_file_is_pruned_again_and_saved(name: str, tmp_path: Path) -> None:
    model = pruned(randomised(BUILDS[name]()))
    for _ in range(2):
        prunus.save(model, tmp_path / "m")
        model = pruned(prunus.load(tmp_path / "m", BUILDS[name]).double())
    prunus.save(model, tmp_path / "m")
    torch.testing.assert_close(
        prunus.load(tmp_path / "m", BUILDS[name])(IMAGE), model(IMAGE), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", ["lenet", "resnet"])
def test_the_joint_plan_is_that_of_both_channel_sets(name: str) -> None:
    """Pruning the first network by it gives the same filters, in the same order."""
    model = randomised(BUILDS[name]())
    small = pruned(pruned(model))
    plan = origin(small).plan
    at_once = prunus.compact(model, plan)
    assert torch.allclose(at_once(IMAGE), small(IMAGE), atol=1e-9)
    one, other = dict(at_once.named_parameters()), dict(small.named_parameters())
    assert all(torch.allclose(one[name], other[name], atol=1e-12) for name in other)


def test_the_last_step_is_known_too() -> None:
    model = randomised(lenet())
    first = random_plan(prunus.trace(model, IMAGE), 0.4)
    small = prunus.compact(model, first)
    assert origin(small).plan == origin(small).step == first
    second = random_plan(prunus.trace(small, IMAGE), 0.4)
    smaller = prunus.compact(small, second)
    assert origin(smaller).step == second
    assert origin(smaller).plan.removed > first.removed
    assert (
        prunus.verify(model, origin(smaller).plan, prunus.compact(model, origin(smaller).plan)).relative
        < 1e-9
    )


def test_a_model_that_was_changed_in_between_has_a_plan_of_its_own() -> None:
    small = pruned(randomised(lenet()))
    last = [name for name, module in small.named_modules() if isinstance(module, nn.Linear)][-1]
    small.set_submodule(last, nn.Linear(small.get_submodule(last).in_features, 3).double())
    cost = prunus.trace(small, IMAGE).cost()
    with pytest.warns(UserWarning, match="This step cannot be said of the LeNet5 that was pruned first"):
        smaller = pruned(small)
    assert origin(smaller).plan.before == cost
    assert origin(smaller).plan == origin(smaller).step


def test_a_step_that_was_not_exact_leaves_its_note_in_the_joint_plan() -> None:
    model = randomised(Normed())
    small = prunus.compact(model, random_plan(prunus.trace(model, IMAGE), 0.4), norms="plain")
    assert origin(small).plan.notes
    smaller = pruned(small)
    assert set(origin(small).plan.notes) <= set(origin(smaller).plan.notes)
    assert not origin(smaller).plan.exact
