"""Soft pruning goes on with a smaller network where filters are frozen: the weights are those of the masked
network, number by number, whatever is trained and however.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.breaks import StopError, stopping
from tests.methods.nets import Normed
from torch import Tensor, nn

import prunus
from prunus.data import load
from prunus.errors import TargetError
from prunus.methods._data import callback
from prunus.methods.filter_norms import filter_norms
from prunus.methods.soft import SoftPruning, soft_pruning
from prunus.methods.soft_removal import zeros_in
from prunus.models import lenet5, resnet20
from prunus.plans.mask import lost_slots, set_to_zero
from prunus.plans.slices import slices_of
from prunus.tasks import Task
from prunus.training import TrainConfig, train
from prunus.training.optimizers import new_optimizer

DIGITS = load("digits")
FEW = DIGITS.train.subset(torch.arange(0, 1442, 12))
HELD = DIGITS.train.subset(torch.arange(1, 1442, 40))
IMAGE = torch.randn(1, 1, 8, 8, dtype=torch.float64)
CONFIG = TrainConfig(epochs=4, lr=0.05, batch_size=40)


class Sigmoids(nn.Module):
    """Activations that make 0.5 of a filter that is zero, which goes into the bias behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.a(x).sigmoid()).sigmoid().mean((2, 3)))


class Unbiased(Sigmoids):
    """The same, but the classifier has no bias that could take the constants."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 10, bias=False)


class Grouped(nn.Module):
    """A norm across channels, whose width must stay what it was."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(1, 12, 3), nn.GroupNorm(1, 12), nn.Conv2d(12, 8, 3)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.norm(self.a(x)).relu()).relu().mean((2, 3)))


class Shuffled(nn.Module):
    """Reads channels in an order that a buffer says."""

    order: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(1, 10, 3), nn.BatchNorm2d(10), nn.Conv2d(10, 8, 3)
        self.head = nn.Linear(8, 10)
        self.register_buffer("order", torch.randperm(10, generator=torch.Generator().manual_seed(3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.norm(self.a(x)).relu()[:, self.order]).relu().mean((2, 3)))


class Fixed(nn.Module):
    """A forward that says a width in its code, which only a traced graph can do without."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.a(x).relu()).relu().reshape(len(x), 8 * 16))


BUILDS: dict[str, Callable[[], nn.Module]] = {
    "batch norm": Normed,
    "plain": lambda: lenet5(image_size=8),
    "residual": lambda: resnet20(in_channels=1),
    "group norm": Grouped,
    "constants": Sigmoids,
    "order": Shuffled,
    "traced": Fixed,
}


def built(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build().double()


def widths(optimizer: torch.optim.Optimizer, seen: list[int]) -> Callable[[int, int], None]:
    """Notes after every step how many filters the first convolution has that the optimiser trains."""
    return lambda done, total: seen.append(optimizer.param_groups[0]["params"][0].shape[0])


def trained(
    build: Callable[[], nn.Module], config: TrainConfig, seen: list[int] | None = None, **options: Any
) -> tuple[nn.Module, SoftPruning]:
    """A network and its pruning after a training."""
    ours = {"rate": 0.4, **options.pop("pruning", {})}
    model, pruning = built(build), SoftPruning(IMAGE, **ours)
    optimizer = new_optimizer(model, config)
    if seen is not None:
        options["on_step"] = widths(optimizer, seen)
    data = FEW, config
    train(model, *data, normalise=DIGITS.normalise, optimizer=optimizer, pruning=pruning, **options)
    return model, pruning


def kept(model: nn.Module, pruning: SoftPruning) -> dict[str, Tensor]:
    """The numbers that are left; the others are NaN."""
    assert pruning.gone is not None
    graph = pruning.traced(model)
    found = {name: t.detach().clone().double() for name, t in model.state_dict().items()}
    for axis, slots in lost_slots(graph, pruning.gone.attach(graph).removed_in(graph)):
        found[axis.name].index_fill_(axis.dim, slots, torch.nan)
    return found


def assert_alike(
    first: tuple[nn.Module, SoftPruning], second: tuple[nn.Module, SoftPruning], bits: bool = False
) -> None:
    (mine, pruning), (other, masked) = first, second
    assert pruning.plan == masked.plan and pruning.record == masked.record
    theirs = kept(other, masked)
    for name, value in kept(mine, pruning).items():
        tolerance = 0.0 if bits else 1e-10
        torch.testing.assert_close(
            value, theirs[name], rtol=tolerance, atol=tolerance, equal_nan=True, msg=name
        )
    images = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(mine.eval()(images), other.eval()(images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", BUILDS)
def test_the_small_network_learns_what_the_masked_one_learns(name: str) -> None:
    seen: list[int] = []
    small = trained(BUILDS[name], CONFIG, seen)
    assert seen[-1] < seen[0], "the last epochs ran on the dense network"
    assert_alike(small, trained(BUILDS[name], CONFIG, pruning={"remove": False}))
    assert not small[1].notes


@pytest.mark.parametrize(
    "changes",
    [
        {"momentum": 0.0, "weight_decay": 0.0},
        {"optimizer": "adamw", "lr": 1e-3, "clip": 0.5},
        {"ema": 0.9, "augment": "crop-flip-cutout", "schedule": "onecycle", "warmup_steps": 3},
        {"keep": "best", "ema": 0.8, "channels_last": True, "first_size": 0.5},
        {"optimizer": "adam", "lr": 1e-3, "keep": "best", "label_smoothing": 0.1},
        {"average": 0.7, "augment": "crop-flip", "flips": "alternating"},
    ],
)
def test_the_settings_of_the_training_make_no_difference(changes: dict[str, Any]) -> None:
    config = TrainConfig(**{"epochs": 5, "lr": 0.05, "batch_size": 40, **changes})
    seen: list[int] = []
    small = trained(Normed, config, seen, validation=HELD)
    assert seen[-1] < seen[0]
    if small[1].gone is not None:  # the best epoch may have been before
        assert_alike(small, trained(Normed, config, pruning={"remove": False}, validation=HELD))


def test_an_own_loop_with_masks_ends_in_the_same_weights() -> None:
    """Two epochs soft by `train`, and the other two once more by hand: every step of the whole network, with
    what is gone set to zero before and after.
    """
    model, orders = built(Normed), torch.Generator().manual_seed(0)
    pruning = SoftPruning(IMAGE, 0.4)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    images = ((FEW.images.double() / 255) - DIGITS.normalise[0][0]) / DIGITS.normalise[1][0]
    pruning.before_training(model, 4)
    for epoch in range(4):
        for part in torch.randperm(len(FEW), generator=orders).tensor_split(-(-len(FEW) // 40)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[part]), FEW.labels[part]).backward()
            for name, mask in pruning.surviving(model).items():
                gradient = dict(model.named_parameters())[name].grad
                assert gradient is not None
                gradient *= mask
            optimizer.step()
            pruning.after_step(model)
        pruning.after_epoch(model, epoch, 4)
    assert pruning.frozen
    config = TrainConfig(epochs=4, lr=0.05, batch_size=40, schedule="constant")
    assert_alike(trained(Normed, config), (model, pruning))


def test_a_rate_that_grows_removes_in_stages() -> None:
    stages = {"rate": 0.5, "growth": "asymptotic", "stages": 3}
    config = TrainConfig(epochs=8, lr=0.05, batch_size=40, ema=0.8)
    seen: list[int] = []
    small = trained(Normed, config, seen, pruning=stages)
    steps = len(seen) // 8
    found = [seen[epoch * steps] for epoch in range(8)]
    assert found == sorted(found, reverse=True) and len(set(found)) >= 3, found
    assert_alike(small, trained(Normed, config, pruning={**stages, "remove": False}))
    assert min(entry.alive["a"] for entry in small[1].record) == 6
    with pytest.raises(TargetError, match="several where the rate grows"):
        SoftPruning(IMAGE, 0.3, stages=2)


def test_what_went_in_a_stage_never_comes_back() -> None:
    model, pruning = built(Normed), SoftPruning(IMAGE, 0.5, growth="asymptotic", stages=2)
    gone: set[int] = set()
    for epoch in range(6):
        if epoch == 0:
            pruning.before_training(model, 6)
        with torch.no_grad():  # as if a step had made everything large again
            for parameter in model.parameters():
                parameter.copy_(torch.randn_like(parameter))
        pruning.after_step(model)
        norms = filter_norms(pruning.traced(model), folded=True)
        assert all(norms[channel] == 0 for channel in gone)
        pruning.after_epoch(model, epoch, 6)
        graph = pruning.traced(model)
        if pruning.gone is not None:
            now = set(pruning.gone.removed_in(graph).nonzero()[0].tolist())
            assert gone <= now
            gone = now
    assert len(gone) == 14


def test_widths_are_rounded() -> None:
    model = resnet20(in_channels=1)
    rounding: tuple[Any, ...] = (8, "auto")
    for round_to in rounding:
        pruning = SoftPruning(torch.zeros(1, 1, 8, 8), 0.3, round_to=round_to, from_start=True)
        pruning.before_training(model, 2)
        graph = pruning.traced(model)
        wide = {group.name: group.size for group in graph.groups}
        nearest = {16: 8, 32: 24, 64: 48}  # to 12, 23 and 45: of two as near the smaller one
        assert pruning.record[-1].alive == {name: nearest[size] for name, size in wide.items()}


def test_narrow_layers_are_pruned_where_rounding_is_automatic() -> None:
    layers = [nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(192, 10)]
    pruning = SoftPruning(torch.zeros(1, 1, 8, 8), 0.3, round_to="auto", from_start=True)
    pruning.before_training(nn.Sequential(*layers), 2)
    assert list(pruning.record[-1].alive.values()) == [4, 8]  # for 5 and 9


def test_constants_that_no_bias_can_take_stay_until_the_end() -> None:
    seen: list[int] = []
    small = trained(Unbiased, CONFIG, seen)
    assert set(seen) == {8}
    assert_alike(small, trained(Unbiased, CONFIG, pruning={"remove": False}))
    assert "masked until the training ended" in small[1].notes[0]


@pytest.mark.parametrize("stages", [{}, {"growth": "asymptotic", "stages": 2, "rate": 0.5}])
@pytest.mark.parametrize("changes", [{"ema": 0.9}, {"optimizer": "adamw", "channels_last": True}])
def test_broken_off_anywhere_it_goes_on_bit_by_bit(
    tmp_path: Path, changes: dict[str, Any], stages: dict[str, Any]
) -> None:
    config, path = TrainConfig(epochs=4, lr=0.01, batch_size=40, **changes), tmp_path / "checkpoint"

    def once(stop: int, checkpoint: Path | None) -> tuple[nn.Module, SoftPruning]:
        kept: dict[str, Any] = {"checkpoint": checkpoint, "checkpoint_seconds": 0.0, "resume": True}
        return trained(Normed, config, on_step=stopping(stop), pruning=stages, **kept)

    whole = once(-1, None)
    for stop in (2, 3, 3, 2):  # twelve steps in all
        with pytest.raises(StopError):
            once(stop, path)
    for found in (once(-1, path), once(-1, path)):
        assert_alike(whole, found, bits=True)


def test_the_optimiser_that_was_given_is_that_of_the_given_network_again() -> None:
    model = built(Normed)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    train(
        model, FEW, CONFIG, normalise=DIGITS.normalise, optimizer=optimizer, pruning=SoftPruning(IMAGE, 0.4)
    )
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == set(
        map(id, model.parameters())
    )
    for parameter in model.parameters():
        assert optimizer.state[parameter]["momentum_buffer"].shape == parameter.shape
        assert optimizer.state[parameter]["momentum_buffer"].any()


def test_an_optimiser_that_cannot_follow_keeps_the_masks() -> None:
    model, pruning, seen = built(Normed), SoftPruning(IMAGE, 0.4), list[int]()
    other = nn.Parameter(torch.zeros(3, dtype=torch.float64))  # of a loss, say
    optimizer = torch.optim.SGD([*model.parameters(), other], 0.1, momentum=0.9)
    with pytest.warns(UserWarning, match="masked, not removed, until the training ends"):
        train(
            model,
            FEW,
            CONFIG,
            normalise=DIGITS.normalise,
            optimizer=optimizer,
            pruning=pruning,
            on_step=widths(optimizer, seen),
        )
    assert set(seen) == {12} and pruning.frozen
    norms = filter_norms(pruning.traced(model), folded=True)
    assert pruning.gone is not None
    assert not norms[torch.from_numpy(pruning.gone.removed_in(pruning.traced(model)))].any()
    assert int((norms == 0).sum()) == pruning.gone.removed


class Attending(nn.Module):
    """Attention, which divides by the root of its heads' width."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.attention = nn.Conv2d(1, 16, 3), nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.first(x).flatten(2).transpose(1, 2)
        found: Tensor = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.head(found.mean(1))


def hooked() -> nn.Module:
    model = Normed()
    next(model.parameters()).register_hook(lambda gradient: 0.5 * gradient)
    return model


@pytest.mark.parametrize("build", [Attending, hooked])
def test_a_network_that_would_train_otherwise_keeps_its_masks(build: Callable[[], nn.Module]) -> None:
    """Weights that are multiplied to make up for a narrower head, and hooks on gradients."""
    seen: list[int] = []
    small = trained(build, CONFIG, seen)
    assert len(set(seen)) == 1 and "masked until the training ended" in " ".join(small[1].notes)
    assert_alike(small, trained(build, CONFIG, pruning={"remove": False}), bits=True)


def test_a_training_that_fails_leaves_what_was_learned_with_the_given_network() -> None:
    model, pruning, steps = built(Normed), SoftPruning(IMAGE, 0.4), list[int]()
    optimizer = new_optimizer(model, CONFIG)
    last: list[Tensor] = []

    def stop(done: int, total: int) -> None:
        steps.append(done)
        if len(steps) == 12:
            last.extend(p.detach().clone() for p in optimizer.param_groups[0]["params"])
            raise StopError

    options: dict[str, Any] = {"optimizer": optimizer, "pruning": pruning, "on_step": stop}
    with pytest.raises(StopError):
        train(model, FEW, CONFIG, normalise=DIGITS.normalise, **options)
    left = kept(model, pruning)
    for (name, parameter), learned in zip(model.named_parameters(), last, strict=True):
        found = left[name]
        assert learned.numel() < parameter.numel() or name == "head.bias"
        assert torch.equal(found[~found.isnan()], learned.flatten()), name


class Boxes(nn.Module):
    """Called as detectors are: it returns its losses in training, and boxes otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.head = nn.Linear(8, 4)

    def forward(self, images: list[Tensor], targets: list[Tensor] | None = None) -> Any:
        found = self.head(self.features(torch.stack(list(images))))
        if not self.training:
            return list(found)
        assert targets is not None
        return {"boxes": nn.functional.smooth_l1_loss(found, torch.stack(targets))}


def test_a_network_that_is_traced_in_part_goes_on_as_a_whole() -> None:
    draw = torch.Generator().manual_seed(0)
    images, boxes = (
        torch.rand(12, 1, 8, 8, generator=draw).double(),
        torch.rand(12, 4, generator=draw).double(),
    )
    pairs = [(list(images[i : i + 4]), list(boxes[i : i + 4])) for i in (0, 4, 8)]
    task = Task(pairs, pairs, pairs, loss="model", metric=lambda out, wanted: -torch.ones(len(out)))
    config = TrainConfig(epochs=4, lr=0.05)

    def once(remove: bool) -> tuple[nn.Module, SoftPruning, list[int]]:
        model = built(Boxes)
        core = prunus.core(model, lambda model, images: model.head(model.features(images)))
        pruning, seen = SoftPruning(images[:2], 0.5, remove=remove), list[int]()
        optimizer = new_optimizer(core, config)
        more: dict[str, Any] = {"optimizer": optimizer, "on_step": widths(optimizer, seen)}
        task.fit(core, config, pruning=callback(pruning, core), **more)
        return core, pruning, seen

    (small, pruning, seen), (dense, masked, others) = once(True), once(False)
    assert seen[-1] == 4 and set(others) == {8}
    theirs = kept(dense, masked)
    for name, value in kept(small, pruning).items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-10, atol=1e-10, equal_nan=True)


def test_what_cannot_be_removed_stays_zero_in_the_smaller_network() -> None:
    """A forward that only fits some widths: its own class keeps the channels at hand, masked."""
    model, pruning = built(Fixed), SoftPruning(IMAGE, 0.4)
    pruning.before_training(model, 2)
    pruning.after_epoch(model, 0, 2)
    assert pruning.gone is not None
    graph = pruning.traced(model)
    removed = pruning.gone.attach(graph).removed_in(graph)
    slices = slices_of(graph, removed & (graph.group_of_channel == 0))  # the others must stay
    small = built(Fixed)
    small.a, small.b = nn.Conv2d(1, 5, 3), nn.Conv2d(5, 8, 3)
    stayed = removed & (graph.group_of_channel != 0)
    zeros = zeros_in(small, graph, stayed, slices)
    set_to_zero(zeros)
    gone = pruning.gone.groups[1].removed
    weight, bias = small.b.weight, small.b.bias
    assert len(gone) == 3 and bias is not None
    assert not weight[list(gone)].any() and not bias[list(gone)].any()
    left = [i for i in range(8) if i not in gone]
    assert weight[left].all() and small.a.weight.all()


def test_batches_with_a_loss_of_their_own() -> None:
    generator = torch.Generator().manual_seed(0)
    noisy = torch.rand(48, 1, 16, 16, generator=generator, dtype=torch.float64)
    batches = [(part, part.round()) for part in noisy.split(16)]

    def once(remove: bool) -> tuple[nn.Module, SoftPruning, list[int]]:
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 1)
        ).double()
        pruning, seen, config = SoftPruning(noisy[:1], 0.5, remove=remove), list[int](), TrainConfig(epochs=4)
        optimizer = new_optimizer(model, config)
        train(
            model,
            batches,
            config,
            loss=nn.BCEWithLogitsLoss(),
            pruning=pruning,
            optimizer=optimizer,
            on_step=widths(optimizer, seen),
        )
        return model, pruning, seen

    (small, pruning, seen), (dense, masked, _) = once(True), once(False)
    assert seen[-1] == 4 and pruning.plan == masked.plan
    theirs = kept(dense, masked)
    for name, value in kept(small, pruning).items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-10, atol=1e-10, equal_nan=True)


def test_the_outcome_is_that_of_the_masked_training(task: Task) -> None:
    config, model = TrainConfig(epochs=4, lr=0.05, batch_size=256), Normed()
    small, masked = (
        soft_pruning(model, task, rate=0.4, remove=remove, config=config) for remove in (True, False)
    )
    assert small.plan == masked.plan and small.verification.exact
    assert small.dense is not None and small.dense.a.weight.shape[0] == 12
    assert [step.step for step in small.steps] == [step.step for step in masked.steps]
    assert small.metric == pytest.approx(masked.metric, abs=1.5)
    assert small.notes == masked.notes
