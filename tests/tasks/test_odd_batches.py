"""Batches that are no pair of images and labels: several inputs, inputs by name, one sample, targets of all
kinds; each gives a result or a sentence.
"""

from __future__ import annotations

import copy
import math
from collections import UserDict
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import prunus
from prunus import shrink
from prunus._foundation.confidence import Rows
from prunus.data.sets import Split
from prunus.errors import ConfigError, DataError, PrunusError
from prunus.methods.adversarial import adversarial_pruning
from prunus.methods.at_initialisation import snip_pruning
from prunus.tasks import Task
from prunus.training import TrainConfig, recalibrate

torch.manual_seed(0)
IMAGES, LABELS = torch.randn(17, 3, 8, 8), torch.randint(0, 3, (17,))
CONFIG = TrainConfig(epochs=1, lr=1e-3, optimizer="adam")


class Two(nn.Module):
    """Two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 1), nn.Linear(16, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        found = self.first(x).relu().mean((2, 3)), self.second(y).relu().mean((2, 3))
        return self.last(torch.cat(found, 1))


def pooled() -> nn.Sequential:
    """With a norm behind a pooling over all positions."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def parts(size: int, values: Any = LABELS) -> list[Any]:
    return [(IMAGES[i : i + size], values[i : i + size]) for i in range(0, len(IMAGES), size)]


def everywhere(batches: list[Any], **options: Any) -> Task:
    """Trained on, chosen by and reported on the same batches."""
    return Task(batches, batches, batches, **options)


@pytest.mark.parametrize("kind", ["tuple", "list", "names"])
def test_several_inputs_need_no_loss_of_their_own(kind: str) -> None:
    kinds: dict[str, Any] = {"tuple": tuple, "list": list, "names": lambda pair: dict(zip("xy", pair))}
    batches = [(kinds[kind]((images, -images)), labels) for images, labels in parts(8)]
    task, model = Task(batches, batches, batches), Two()
    history = task.fit(model, CONFIG)
    own = [F.cross_entropy(model(x, -x), labels, reduction="none") for x, labels in parts(8)]
    assert task.figures(model)[1] == pytest.approx(float(torch.cat(own).detach().mean()), abs=1e-6)
    assert history.epochs[0].samples == 17
    out = prunus.shrink(model, task, macs=0.5, config=CONFIG)
    assert out.plan.after.macs <= 0.5 * out.plan.before.macs and out.tuning is not None


def test_the_mean_loss_is_one_of_targets_in_training_and_in_evaluation() -> None:
    """Channels come before samples here, so the inputs of a batch do not tell how many it has."""

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = pooled().eval()

        def forward(self, images: Tensor) -> Tensor:
            return cast(Tensor, self.network(images.transpose(0, 1)))

    batches = [(images.transpose(0, 1), labels) for images, labels in parts(7)]
    model = Turned().eval()
    task = Task(batches, batches, batches, loss=nn.CrossEntropyLoss())
    by_sample = F.cross_entropy(model.network(IMAGES), LABELS)
    assert task.figures(model)[1] == pytest.approx(float(by_sample.detach()), abs=1e-6)
    assert task.fit(model, CONFIG).epochs[0].samples == 17


@pytest.mark.parametrize("sizes", [[8, 8, 1], [1, 8, 8]])
def test_one_sample_behind_a_pooling_leaves_statistics_to_the_other_batches(sizes: list[int]) -> None:
    pieces = list(zip(IMAGES.split(sizes), LABELS.split(sizes)))
    model = pooled().eval()
    assert Task(pieces).recalibrate(model)
    twin = copy.deepcopy(model).train()
    means = torch.stack([twin[:4](x).mean((0, 2, 3)) for x, _ in pieces if len(x) > 1]).mean(0)
    torch.testing.assert_close(model[4].running_mean, means)
    first = torch.stack([model[0](x).mean((0, 2, 3)) for x, _ in pieces]).mean(0)
    torch.testing.assert_close(model[1].running_mean, first)
    assert model[1].num_batches_tracked == 3 and model[4].num_batches_tracked == 2


def test_norms_that_see_nothing_keep_what_they_had() -> None:
    model = pooled()
    model.add_module("unused", nn.ModuleList([nn.BatchNorm2d(4)]))
    model.forward = lambda x: model[6](model[:6](x))  # type: ignore[method-assign]
    for norm in (model[4], model.unused[0]):
        norm.running_mean.fill_(3.0)
    assert Task(parts(1)).recalibrate(model.eval())
    assert (model[4].running_mean == 3).all() and (model.unused[0].running_mean == 3).all()
    assert model[1].num_batches_tracked == 17


def test_a_split_of_one_sample() -> None:
    split = Split((IMAGES[:1].abs() * 50).clamp(0, 255).to(torch.uint8), LABELS[:1])
    model = pooled().eval()
    model[4].running_mean.fill_(3.0)
    recalibrate(model, split, ((0.5,) * 3, (0.5,) * 3))
    assert model[1].num_batches_tracked == 1 and (model[4].running_mean == 3).all()


def test_training_on_one_sample_behind_a_pooling_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"A batch of one sample .*drop_last=True"):
        Task(parts(8)).fit(pooled(), CONFIG)


@pytest.mark.parametrize(
    "values, words",
    [
        (LABELS.float(), "class indices"),
        (LABELS + 2, "below the number of classes"),
        (LABELS.tolist(), "class indices"),
    ],
    ids=["floats", "beyond", "list"],
)
def test_targets_that_are_no_classes_are_told(values: Any, words: str) -> None:
    task = Task(parts(8, values), parts(8, values), parts(8, values))
    with pytest.raises(ConfigError, match=words):
        task.fit(
            pooled()[:1].append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten()).append(nn.Linear(8, 3)), CONFIG
        )
    with pytest.raises(ConfigError, match="class indices"):
        task.figures(pooled().eval())


def test_samples_without_a_class_are_told() -> None:
    """Cross-entropy leaves the label -100 out, and accuracy counted it as wrong."""
    labels = LABELS.clone()
    labels[::3] = -100
    split, scale = Split((IMAGES * 50).clamp(0, 255).to(torch.uint8), labels), ((0.5,) * 3, (0.5,) * 3)
    for task in (Task(split, split, split, normalise=scale), everywhere(parts(8, labels))):
        with pytest.raises(
            (ConfigError, DataError), match="class indices from 0 on, not -100: leave samples"
        ):
            task.figures(pooled())
    with pytest.raises(DataError, match="not -100"):
        Task(split, normalise=scale).fit(pooled(), CONFIG)
    Task(split, normalise=scale, loss=nn.CrossEntropyLoss()).fit(pooled(), CONFIG)  # which may know better
    own = everywhere(parts(8, labels), metric=lambda o, t: 100.0 * (o.argmax(1) == t)[:])
    assert own.figures(pooled())[0] < 100


def test_targets_may_be_anything_that_the_loss_takes() -> None:
    def mean(outputs: Tensor, targets: Any) -> Tensor:
        return outputs.square().mean()

    def named(outputs: Tensor, targets: Any) -> Tensor:
        return F.cross_entropy(outputs, targets["y"])

    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    history = Task([(x, None) for x, _ in parts(8)], loss=mean).fit(network, CONFIG)
    assert history.epochs[0].samples == 17
    batches = [(x, {"y": y, "weight": 1.0}) for x, y in parts(16)]  # of 16 samples, and of one
    still = TrainConfig(epochs=1, lr=1e-12)
    own = [F.cross_entropy(network(x), y, reduction="none") for x, y in parts(16)]
    found = Task(batches, loss=named).fit(network, still).epochs[0]
    assert (
        found.loss == pytest.approx(float(torch.cat(own).detach().mean()), abs=1e-5) and found.samples == 17
    )


@pytest.mark.parametrize(
    "loss, words",
    [
        (lambda outputs, targets: 1.0, "must give a tensor"),
        (lambda outputs, targets: outputs.detach().mean(), "has a gradient of this loss"),
    ],
    ids=["number", "detached"],
)
def test_losses_that_teach_nothing_are_told(loss: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Task(parts(8), loss=loss).fit(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), CONFIG)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_batches_come_in_the_type_of_the_model(dtype: torch.dtype) -> None:
    """As samples in memory do, and losses are those of outputs in single precision, as in training."""
    task, model = everywhere(parts(8)[:2]), pooled().to(dtype).eval()
    outputs = model(IMAGES[:16].to(dtype)).detach()
    wide = outputs.float() if dtype == torch.bfloat16 else outputs
    assert task.figures(model)[1] == pytest.approx(float(F.cross_entropy(wide, LABELS[:16])), rel=1e-6)
    double = [(x.double(), y) for x, y in parts(16)[:1]]
    for given in (task, Task(double, double, double)):
        assert prunus.shrink(model, given, rate=0.4).verification.exact
        assert given.fit(pooled().to(dtype), TrainConfig(epochs=1, lr=1e-3), validation=None).epochs


def test_methods_that_call_the_network_themselves_take_any_inputs() -> None:
    """What the discriminator learns from was called with the batch in place of its inputs."""
    for kind in (tuple, lambda pair: dict(zip("xy", pair))):
        batches = [(kind((images, -images)), labels) for images, labels in parts(8)]
        out = adversarial_pruning(
            Two(), Task(batches, batches, batches), strength=2000.0, every=1, config=CONFIG
        )
        assert out.found["numbers"].max() < 1 and out.verification.exact


def test_pruning_at_the_start_takes_any_targets() -> None:
    """Those of keypoints, boxes and the like lie in a dictionary."""

    def named(outputs: Tensor, targets: Any) -> Tensor:
        return F.cross_entropy(outputs, targets["y"], reduction="none")

    def right(outputs: Tensor, targets: Any) -> Tensor:
        return 100.0 * (outputs.argmax(1) == targets["y"])

    batches = [(x, {"y": y}) for x, y in parts(8)[:2]]
    out = snip_pruning(pooled(), Task(batches, batches, batches, loss=named, metric=right), config=CONFIG)
    plain = snip_pruning(pooled(), everywhere(parts(8)[:2]), config=CONFIG)
    assert out.plan.groups == plain.plan.groups and out.metric == plain.metric


def test_a_metric_gives_one_number_per_sample() -> None:
    network = nn.Conv2d(3, 3, 1)
    masks = torch.randint(0, 3, (17, 8, 8))

    def pixels(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(1) == targets).float()

    for metric, count in (
        (lambda o, t: pixels(o, t).flatten(), 512),
        (lambda o, t: pixels(o, t).mean()[None], 1),
    ):
        with pytest.raises(ConfigError, match=rf"gave {count} numbers for 8 samples"):
            Task(parts(8), test=parts(8, masks), metric=metric).points(network, "test")
    task = Task(parts(8), test=parts(8, masks), metric=lambda o, t: pixels(o, t).flatten(1).mean(1))
    assert cast(Tensor, task.points(network, "test")).shape == (17,)


def test_a_network_is_as_good_as_itself_where_validation_is_shuffled() -> None:
    """Samples are compared in pairs, so they come in the same order every time."""
    torch.manual_seed(0)
    images, network = torch.randn(200, 3, 8, 8), nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval()
    labels = network(images).argmax(1)
    labels[::2] = (labels[::2] + 1) % 3
    loader = DataLoader(TensorDataset(images, labels), batch_size=50, shuffle=True)
    task = Task(loader, loader)
    first, second = (cast(Tensor, task.points(network)) for _ in range(2))
    assert torch.equal(first, second) and first.mean() == 50
    assert not torch.equal(first, cast(Tensor, task.points(network, "train")))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_batch_without_samples_is_told_of(place: int) -> None:
    """Its mean loss is no number, and what is traced with it is cut wrong."""
    every, odd = parts(8), parts(8)
    odd.insert(place, (IMAGES[:0], LABELS[:0]))
    with pytest.raises(DataError, match=f"Batch {place + 1} to train on has no samples: leave it out"):
        Task(odd).fit(pooled(), CONFIG)
    with pytest.raises(DataError, match=f"Batch {place} of test has no samples: leave it out"):
        Task(every, every, odd).figures(pooled())
    if place == 0:
        with pytest.raises(PrunusError, match="no samples"):
            prunus.shrink(pooled(), Task(odd, every, every), rate=0.5)


class Named(nn.Module):
    """A network that is called by name."""

    def __init__(self) -> None:
        super().__init__()
        self.network = pooled()

    def forward(self, image: Tensor) -> Any:
        return self.network(image)


def test_inputs_in_a_mapping_of_another_class_are_named_inputs() -> None:
    """As tokenisers return them: torch took them for one thing, and left them where they were."""
    plain = [({"image": one.double()}, targets) for one, targets in parts(9)]
    other = [(UserDict(one), targets) for one, targets in plain]
    found: list[Any] = []
    for batches in (plain, other):
        task, network = everywhere(batches), Named()
        network.load_state_dict(Named().state_dict() if not found else found[0][1])
        start = {name: one.clone() for name, one in network.state_dict().items()}
        loss = task.fit(network, TrainConfig(epochs=1, lr=0.01)).epochs[0].loss
        assert task.example_inputs()["image"].shape[0] == 1
        found.append((loss, start, task.value(network), shrink(network, task, rate=0.5).metric))
    assert found[0][0] == found[1][0] and found[0][2:] == found[1][2:]


def test_pictures_without_boxes_count() -> None:
    """A mean over no targets was a division by zero."""
    images = [one for one, _ in parts(9)]
    task = everywhere(
        [(one, torch.zeros(0, 6)) for one in images],
        loss=lambda outputs, targets: outputs.square().mean(),
        metric=lambda outputs, targets: -outputs.square().mean(1),
    )
    network = pooled()
    assert task.fit(network, TrainConfig(epochs=1, lr=0.01)).epochs[0].samples == sum(map(len, images))
    value, loss = task.figures(network)
    assert loss == pytest.approx(-value, rel=1e-5)


@pytest.mark.parametrize("which", ["inputs", "targets"])
def test_data_that_are_no_numbers_are_blamed_for_the_loss(which: str) -> None:
    """It was the learning rate."""
    images, targets = parts(9)[0][0].clone(), torch.zeros(9, 3)
    (images if which == "inputs" else targets).flatten()[5] = float("nan")
    task = Task([(images, targets)], loss=nn.functional.mse_loss)
    with pytest.raises(ConfigError, match=f"step 1 of 1: the {which} of that batch hold NaN"):
        task.fit(pooled(), TrainConfig(epochs=1))


@pytest.mark.parametrize("entries", [None, 3.0, "abc", {"a": 1}])
def test_a_metric_that_gives_no_entries_is_told(entries: Any) -> None:
    class Odd:
        name = "odd"

        def entries(self, outputs: Any, targets: Any) -> Any:
            return entries

        def points(self, entries: Any) -> Any:
            return 1.0

    with pytest.raises(ConfigError, match="The metric odd must give a list of what each sample"):
        everywhere(parts(9), metric=Odd()).value(pooled())


def test_a_metric_that_is_no_number_ends_no_training() -> None:
    """Nor a job without a tolerance: a correlation with outputs that are all one is none."""
    task = everywhere(parts(9), metric=Undefined())
    history = task.fit(pooled(), TrainConfig(epochs=2, lr=0.01))
    assert all(math.isnan(cast(float, one.validation_accuracy)) for one in history.epochs)
    assert math.isnan(task.value(pooled()))
    found = shrink(pooled(), task, rate=0.5)
    assert math.isnan(cast(float, found.metric)) and found.plan.removed
    with pytest.raises(PrunusError, match="not a number"):
        shrink(pooled(), task, tolerance=1.0)


class Undefined:
    """A metric that is no number."""

    name = "nothing"

    def entries(self, outputs: Tensor, targets: Tensor) -> Any:
        return [0.0] * len(outputs)

    def points(self, entries: Any) -> Any:
        return Rows(entries, lambda _: math.nan)
