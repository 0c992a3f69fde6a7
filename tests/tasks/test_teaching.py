"""Who can be taught, and what is said of others before there is any work to lose."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus import shrink
from prunus.errors import ConfigError
from prunus.methods.block_removal import fewer_blocks
from prunus.segmentation.losses import cross_entropy
from prunus.tasks import MeanIoU, Task, squared_error
from prunus.tasks.teaching import check_teachable
from prunus.training import Taught, TrainConfig

CONFIG = TrainConfig(epochs=1, lr=0.01)
IMAGES, LABELS = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


def network(classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, classes)).eval()


class Pair(nn.Module):
    """A network of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, image: Tensor, offset: Tensor) -> Any:
        return self.network(image) + offset.mean((1, 2, 3))[:, None]


def task(inputs: Any, targets: Any = LABELS, **options: Any) -> Task:
    batches = [(inputs, targets)]
    return Task(batches, batches, batches, **options)


@pytest.mark.parametrize("inputs", [(IMAGES, IMAGES), {"image": IMAGES, "offset": IMAGES}])
def test_networks_of_several_inputs_are_taught(inputs: Any) -> None:
    """It was a TypeError of the pair's forward, after the network had been cut."""
    found = shrink(Pair().eval(), task(inputs), rate=0.5, config=CONFIG, teach=True)
    assert found.tuning is not None and found.plan.removed


def test_soft_labels_are_labels() -> None:
    soft = torch.rand(12, 3).softmax(1)
    own = task(IMAGES, soft, loss=nn.CrossEntropyLoss(), metric=lambda outputs, targets: outputs[:, 0])
    check_teachable(network(), own, CONFIG)
    for wrong in (soft * 2, soft - 1, torch.randn(12, 3), soft[:, :2], torch.zeros(12)):
        with pytest.raises(ConfigError, match="A teacher is for networks that return logits"):
            check_teachable(network(), task(IMAGES, wrong, loss=F.mse_loss, metric=squared_error), CONFIG)


def test_what_is_no_classification_is_told_before_the_work() -> None:
    """Numbers to be predicted were taken for probabilities in silence; maps failed when all else was done."""
    numbers = task(IMAGES, torch.randn(12, 3), loss=F.mse_loss, metric=squared_error)
    maps = task(IMAGES, torch.zeros(12, 8, 8).long(), loss=cross_entropy, metric=MeanIoU())
    segmenter = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    own = task(IMAGES, LABELS, loss="model", metric=squared_error)
    seen: list[str] = []
    for model, wrong in ((network(), numbers), (segmenter, maps), (network(), own)):
        with pytest.raises(ConfigError, match="A teacher is for networks that return logits"):
            shrink(
                model,
                wrong,
                rate=0.5,
                config=CONFIG,
                teach=True,
                watch=lambda step, done, total: seen.append(step),
            )
        with pytest.raises(ConfigError, match="A teacher is for networks that return logits"):
            fewer_blocks(model, wrong, blocks=1, config=CONFIG, teach=True)
    assert not seen
    with pytest.raises(ConfigError, match="label_smoothing belongs to a cross-entropy without a teacher"):
        check_teachable(network(), task(IMAGES), TrainConfig(label_smoothing=0.1))


def test_network_and_teacher_are_of_one_shape() -> None:
    pair = Taught(network(3), network(4)).train()
    with pytest.raises(ConfigError, match=r"shape \(12, 3\) and a tensor of shape \(12, 4\)"):
        pair(IMAGES)
    assert pair.eval()(IMAGES).shape == (12, 3)
