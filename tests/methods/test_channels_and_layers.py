"""Gates of channels and of whole blocks: what they cost, which blocks there are, and that what they close can
be left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.methods.fakes import Fit, Penalty, fake
from tests.paint.nets import Net, channels, difference, randomised
from torch import Tensor, nn

import prunus
from prunus import models
from prunus.errors import CompactError, PlanError, TargetError
from prunus.methods.channels_and_layers import SPEED, Gates, channels_and_layers
from prunus.models.resnet import CifarResNet
from prunus.plans.plan import make_plan
from prunus.surgery.blocks import residual_blocks, without_blocks
from prunus.tasks import Task
from prunus.training import TrainConfig

IMAGE = torch.randn(3, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def residual(blocks: int = 2) -> nn.Module:
    return randomised(CifarResNet(blocks, in_channels=1))


def gates_of(model: nn.Module) -> Gates:
    return next(module for module in model.modules() if isinstance(module, Gates))


def closing(blocks: list[int], share: float, seen: list[Tensor]) -> Fit:
    """Instead of a training: close some blocks and a share of the channels, and note what the gated network
    then makes of the images.
    """

    def fit(model: nn.Module, penalty: Penalty | None) -> None:
        gates, generator = gates_of(model), torch.Generator().manual_seed(1)
        with torch.no_grad():
            gates.blocks[blocks] = -0.1
            gates.channels[torch.rand(len(gates.channels), generator=generator) < share] = -0.1
            seen.append(model(IMAGE))

    return fit


def test_macs_are_those_of_what_the_gates_leave() -> None:
    graph = prunus.trace(residual(), IMAGE[:1])
    blocks = ("layer1.1", "layer2.1", "layer3.1")
    gates = Gates(graph, blocks)
    assert float(gates.macs().detach()) == pytest.approx(1)
    with torch.no_grad():
        gates.channels[::3] = -0.1
        gates.blocks[1] = -0.1
    removed = (gates().detach() == 0).numpy()
    layers = graph.layers(make_plan(graph, removed))
    left = sum(layer.macs_after for layer in layers if not layer.name.startswith("layer2.1"))
    assert 0 < left < graph.cost().macs
    assert float(gates.macs().detach()) * graph.cost().macs == pytest.approx(left)


def test_gates_learn_what_a_channel_and_a_block_cost() -> None:
    net = randomised(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 2, 1),
        )
    )
    graph = prunus.trace(net, IMAGE[:1])
    gates = Gates(graph, ("2",))
    with torch.no_grad():
        gates.channels[:] = torch.linspace(-0.3, 0.3, graph.num_channels)
        gates.blocks[:] = 0.2
    gates.macs().backward()
    first, second = channels(graph, "0.weight"), channels(graph, "2.weight")
    kept = gates().detach()
    slope = torch.sigmoid(SPEED * gates.channels) * (1 - torch.sigmoid(SPEED * gates.channels)) * SPEED
    a, b = float(kept[first].sum()), float(kept[second].sum())
    assert gates.channels.grad is not None
    for mine, each in ((first, 9 + 9 * b), (second, 9 * a + 2)):
        assert torch.allclose(
            gates.channels.grad[mine].double(), slope[mine].double() * each * 64 / graph.cost().macs
        )
    sigmoid = 1 / (1 + torch.tensor(-0.2 * SPEED).exp())
    assert gates.blocks.grad is not None
    assert float(gates.blocks.grad) == pytest.approx(
        float(sigmoid * (1 - sigmoid)) * SPEED * 9 * a * b * 64 / graph.cost().macs, rel=1e-5
    )


def preactivated(m: nn.Module, x: Tensor) -> Tensor:
    return x + m.conv(F.relu(m.norm(x)))


def activated_after(m: nn.Module, x: Tensor) -> Tensor:
    return F.relu(x + m.conv(x))


class Stem(nn.Module):
    """Blocks behind a convolution, and behind a rectifier if that is wanted; `again` runs the first one
    twice.
    """

    def __init__(self, *blocks: nn.Module, rectified: bool = False, again: bool = False) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = nn.Conv2d(1, 4, 3), nn.ModuleList(blocks), nn.Conv2d(4, 2, 1)
        self.rectified, self.again = rectified, again

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x.relu() if self.rectified else x
        for block in [*self.blocks, *self.blocks[:1]] if self.again else self.blocks:
            x = block(x)
        return self.head(x).mean((2, 3))


def block(run: Callable[[nn.Module, Tensor], Tensor]) -> nn.Module:
    return Net(run, norm=nn.BatchNorm2d(4), conv=nn.Conv2d(4, 4, 3, padding=1))


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        (lambda: CifarResNet(2, in_channels=1), ("layer1.0", "layer1.1", "layer2.1", "layer3.1")),
        (lambda: CifarResNet(1, shortcut="projection", in_channels=1), ("layer1.0",)),
        (lambda: models.lenet5(image_size=8), ()),
        (lambda: Stem(block(preactivated), block(preactivated)), ("blocks.0", "blocks.1")),
        (lambda: Stem(nn.Sequential(block(preactivated), nn.Identity())), ("blocks.0.0",)),
        (lambda: Stem(block(activated_after)), ()),  # its input may be negative
        (lambda: Stem(block(activated_after), rectified=True), ("blocks.0",)),
        (lambda: Stem(block(preactivated), block(preactivated), again=True), ("blocks.1",)),
    ],
)
def test_blocks_are_what_is_the_identity_without_parameters(
    model: Callable[[], nn.Module], wanted: tuple[str, ...]
) -> None:
    net = randomised(model())
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert residual_blocks(net, prunus.trace(net, IMAGE)) == wanted
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize(
    ("build", "count"), [(residual, 4), (lambda: randomised(models.lenet5(image_size=8)), 0)]
)
def test_what_is_left_is_the_gated_network(build: Callable[[], nn.Module], count: int) -> None:
    model = build()
    seen: list[Tensor] = []
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = channels_and_layers(model, fake(closing([0, 2][: count // 2], 0.4, seen), IMAGE), strength=0.1)
    removable = found.found["removable"]
    assert len(found.found["numbers"]) == found.graph.num_channels
    assert len(removable) == count and found.blocks == tuple(removable[i] for i in (0, 2)[: count // 2])
    assert found.dense is not None
    small = prunus.compact(found.dense, found.plan)
    for name in found.blocks:
        assert isinstance(found.model.get_submodule(name), nn.Identity)
    assert found.plan.removed > 20 and found.plan.exact
    with torch.no_grad():
        assert torch.allclose(found.dense(IMAGE), seen[0], rtol=1e-12, atol=1e-14)
        assert torch.allclose(small(IMAGE), seen[0], rtol=1e-10, atol=1e-12)
    assert difference(prunus.mask(found.dense, found.plan), small, IMAGE) < 1e-12
    assert list(model.state_dict()) == list(before) and all(
        torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()
    )


def test_a_group_that_closes_keeps_one_channel_and_all_blocks_may_go() -> None:
    model = residual()
    seen: list[Tensor] = []
    found = channels_and_layers(model, fake(closing([0, 1, 2, 3], 1.0, seen), IMAGE), strength=0.1)
    assert found.blocks == found.found["removable"] and all(
        len(group.removed) == group.size - 1 for group in found.plan.groups
    )
    with torch.no_grad():
        assert found.dense is not None
    assert torch.allclose(prunus.compact(found.dense, found.plan)(IMAGE), seen[0], rtol=1e-10, atol=1e-12)


def test_it_is_saved_and_loaded_without_its_blocks(tmp_path: Path) -> None:
    found = channels_and_layers(residual(), fake(closing([1], 0.5, []), IMAGE), strength=0.1)
    prunus.save(found.model, tmp_path / "small.safetensors")
    for build in (residual, lambda: without_blocks(residual(), found.blocks)):
        assert difference(prunus.load(tmp_path / "small.safetensors", build), found.model, IMAGE) == 0
    with pytest.raises(PlanError, match="another model"):
        prunus.load(tmp_path / "small.safetensors", lambda: residual(3))
    again = prunus.trace(found.model, IMAGE)
    assert (
        prunus.compact(
            found.model, prunus.plan(again, prunus.scores.norm(again), rate=0.3)
        ).prunus.verification.relative
        < 1e-9
    )


def test_cheap_blocks_and_channels_close_and_dear_ones_stay(task: Task) -> None:
    torch.manual_seed(0)
    model = CifarResNet(2, in_channels=1)
    task.fit(model, TrainConfig(epochs=3, batch_size=64, lr=0.05))
    found = channels_and_layers(
        model, task, strength=3.0, config=TrainConfig(epochs=4, lr=0.02, batch_size=64)
    )
    assert (
        found.blocks
        and found.plan.after.macs
        < 0.5 * found.before.macs
        == 0.5 * prunus.trace(model, IMAGE[:1].float()).cost().macs
    )
    assert task.value(found.model, "validation") > 80


class Nosy(nn.Module):
    """Looks into its block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.head = nn.Conv2d(1, 4, 3), block(preactivated), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.stem(x))).mean((2, 3)) * len(self.block.conv.weight.shape)


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(TargetError, match=r"0 or more, not -1"):
        channels_and_layers(residual(), fake(closing([], 0.1, []), IMAGE), strength=-1)
    with pytest.raises(PlanError, match="has no channel that can go"):
        channels_and_layers(
            randomised(nn.Sequential(nn.Conv2d(1, 2, 1))), fake(closing([], 0.1, []), IMAGE), strength=1
        )
    with pytest.raises(PlanError, match="no module 'layer9'"):
        without_blocks(residual(), ["layer9"])
    with pytest.raises(CompactError, match="does not run without its closed blocks block"):
        channels_and_layers(randomised(Nosy()), fake(closing([0], 0.1, []), IMAGE), strength=1)
