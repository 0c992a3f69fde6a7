"""Networks that return their own losses: of several inputs, and of pictures of any size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import prunus
from prunus._foundation.confidence import number_of
from prunus.errors import ConfigError, DataError
from prunus.tasks import Task, squared_error
from prunus.tasks.calling import alone, beside, in_one, told_apart
from prunus.training import TrainConfig

CONFIG = TrainConfig(epochs=1, lr=1e-3, optimizer="adam")
N = 4


class Maps(nn.Module):
    """Heat maps of an image and numbers beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = (
            nn.Conv2d(1, 8, 3, padding=1),
            nn.Linear(3, 8),
            nn.Conv2d(8, 2, 1),
        )

    def forward(self, image: Tensor, side: Tensor, wanted: Any = None) -> Any:
        found = self.last(self.first(image).relu() + self.second(side)[:, :, None, None])
        if not self.training or wanted is None:
            return found
        return {"error": (found - wanted).square().mean(), "size": found.abs().mean((1, 2, 3))}


def batches(form: str) -> list[Any]:
    draw = torch.Generator().manual_seed(0)
    found = []
    for _ in range(2):
        image, side, maps = (torch.randn(N, *shape, generator=draw) for shape in ((1, 6, 6), (3,), (2, 6, 6)))
        forms: dict[str, Any] = {
            "tuple": (image, side),
            "list": [image, side],
            "names": {"image": image, "side": side},
            "turned": {"side": side, "image": image},
        }
        found.append((forms[form], maps))
    return found


@pytest.mark.parametrize("form", ["tuple", "list", "names", "turned"])
def test_several_inputs_go_beside_the_targets(form: str) -> None:
    """They went in one argument, or two, as training or evaluation had it."""
    part = batches(form)
    task = Task(part, part, part, loss="model", metric=squared_error)
    torch.manual_seed(0)
    model = Maps()
    assert [len(inputs) for inputs in task.calibration(2 * N)] == [2, 2] and task.count("train") == 2
    out = prunus.shrink(model, task, rate=0.5, config=CONFIG)
    assert out.plan.removed and out.tuning is not None and out.tuning.epochs[0].samples == 2 * N
    inputs, maps = next(task.batches("train"))
    image, side = (inputs["image"], inputs["side"]) if isinstance(inputs, dict) else inputs
    slow = model.train()(image, side, maps)
    wanted = float((slow["error"] + slow["size"].mean()).detach())
    assert float(task.batch_loss(model, inputs, maps).detach()) == pytest.approx(wanted)


class Boxes(nn.Module):
    """As detectors are: pictures of any size, a dictionary of targets for each."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU()), Head()
        self.anchor_generator = nn.Identity()

    def forward(self, images: Any, targets: Any = None) -> Any:
        assert isinstance(images, (list, tuple)) and all(one.dim() == 3 for one in images)
        found = [self.head([self.backbone(one[None])]) for one in images]
        if not self.training:
            return found
        assert len(targets) == len(images)
        return {"error": sum((one - wanted["size"]).square().mean() for one, wanted in zip(found, targets))}


class Head(nn.Module):
    """One number of every picture."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(8, 1, 3)

    def forward(self, maps: list[Tensor]) -> Tensor:
        return torch.stack([self.last(one).mean() for one in maps])


def agreement(outputs: Any, targets: Any) -> Tensor:
    return torch.stack([-(a - b["size"]).abs().mean() for a, b in zip(outputs, targets)])


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("sides", [(9, 9, 9), (9, 12, 15)])
@pytest.mark.parametrize("count", [1, 3])
def test_pictures_are_samples_of_any_size(kind: Any, sides: tuple[int, ...], count: int) -> None:
    """Those in a tuple were taken for arguments, and those of several sizes could not be traced."""
    draw = torch.Generator().manual_seed(0)
    images = [torch.randn(3, side, 10, generator=draw) for side in sides[:count]]
    part = [(kind(images), kind([{"size": torch.ones(1)} for _ in images])) for _ in range(2)]
    task = Task(part, part, part, loss="model", metric=agreement)
    model = Boxes()
    out = prunus.shrink(task.core(model), task, rate=0.5, config=CONFIG)
    assert out.plan.removed and out.tuning is not None and out.tuning.epochs[0].samples == 2 * count
    assert number_of(task.points(out.model, "test")) <= 0
    assert sum(1 for _ in task.few("test", count + 1).batches("test")) == 2


def test_pictures_are_filled_up_to_one_size() -> None:
    first, second = torch.ones(2, 3, 5), torch.full((2, 4, 2), 2.0)
    whole = in_one([first, second])
    assert whole.shape == (2, 2, 4, 5)
    assert torch.equal(whole[0, :, :3], first) and torch.equal(whole[1, :, :, :2], second)
    assert float(whole.sum()) == float(first.sum() + second.sum())
    odd: list[Any]
    for odd in ([first, torch.ones(3, 3, 5)], [first, "x"], [torch.ones(2)], [{"image": first}]):
        assert in_one(odd) is odd


def test_samples_and_arguments_are_told_apart() -> None:
    image, side, labels = torch.zeros(N, 1, 6, 6), torch.zeros(N, 3), torch.zeros(N)
    picture, box = torch.zeros(3, 6, 6), {"boxes": torch.zeros(3, 4)}
    several: Any
    for several in (labels, {"maps": image}, [{"a": 1}] * N, (labels, side), [labels, labels]):
        assert isinstance(told_apart([image, side], several), tuple)
        assert isinstance(told_apart((image,), several), tuple)
    for pictures in ([picture], [picture] * 2, [picture] * 3, [picture, torch.zeros(3, 4, 4)]):
        assert isinstance(told_apart(tuple(pictures), [box] * len(pictures)), list)
    assert isinstance(told_apart([picture] * 2, 0), list) and isinstance(told_apart((picture,) * 2, 0), tuple)
    assert told_apart(image, labels) is image


def test_targets_by_name() -> None:
    image, side, maps = torch.zeros(1, 1, 6, 6), torch.zeros(1, 3), torch.zeros(1, 2, 6, 6)
    named = {"side": side, "image": image}
    assert set(beside(named, maps, Maps())) == {"side", "image", "wanted"}
    assert set(beside(named, maps)) == {"side", "image", "targets"}
    assert alone(Maps().eval(), named).shape == (1, 2, 6, 6)


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (lambda x: x, r"what it returns has the shape \(4, 2\)"),
        (lambda x: {"loss": x.mean(), "maps": x}, r"maps has the shape \(4, 2\)"),
    ],
)
def test_outputs_are_no_losses(returned: Any, told: str) -> None:
    """Their mean was added to the loss in silence."""

    class Returned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(3, 2)

        def forward(self, x: Tensor, targets: Any = None) -> Any:
            return returned(self.last(x))

    part = [(torch.zeros(4, 3), torch.zeros(4))]
    with pytest.raises(ConfigError, match=told):
        Task(part, loss="model", metric=squared_error).fit(Returned(), CONFIG)


@pytest.mark.parametrize("batch", [{"image": torch.zeros(4, 3), "maps": torch.zeros(4)}, (1, 2, 3), 5])
def test_what_is_no_pair_is_told_in_training(batch: Any) -> None:
    """The two keys of a dictionary were taken for inputs and targets."""
    with pytest.raises(DataError, match=r"Batch 0 of train must be a pair \(inputs, targets\)"):
        Task([batch], loss="model", metric=squared_error).fit(nn.Linear(3, 2), CONFIG)


@pytest.mark.parametrize("inputs", [torch.zeros(4, 3), {"input": torch.zeros(4, 3)}])
def test_a_network_without_losses_is_told(inputs: Any) -> None:
    task = Task([(inputs, torch.zeros(4))], loss="model", metric=squared_error)
    for work in (
        lambda: task.fit(nn.Linear(3, 2), CONFIG),
        lambda: task.batch_loss(nn.Linear(3, 2), inputs, torch.zeros(4)),
    ):
        with pytest.raises(ConfigError, match='loss "model" Linear is called with its inputs and targets'):
            work()
