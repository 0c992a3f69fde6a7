"""The LeNets: their published widths, and the images that they take."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.errors import ArgumentError, ConfigError
from prunus.models import lenet5, lenet300


def count_macs(model: nn.Module, image: Tensor) -> int:
    """Multiply-accumulates of convolutions and linear layers, without biases."""
    total = 0

    def hook(module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal total
        per_output = module.weight[0].numel()
        total += per_output * output[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(hook)
    model.eval()(image)
    return total


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_lenet_has_the_published_widths_and_cost() -> None:
    model = lenet5()
    widths = [module.weight.shape[0] for module in (model.conv1, model.conv2, model.fc1, model.fc2)]
    assert widths == [20, 50, 500, 10]
    assert parameters(model) == 520 + 25_050 + 400_500 + 5_010
    assert count_macs(model, torch.zeros(1, 1, 28, 28)) == 288_000 + 1_600_000 + 400_000 + 5_000


@pytest.mark.parametrize("size", [4, 8, 15, 16, 28, 32, 33])
def test_lenet_takes_every_image_size(size: int) -> None:
    model = lenet5(num_classes=3, in_channels=2, image_size=size)
    assert model(torch.zeros(2, 2, size, size)).shape == (2, 3)
    assert (model.conv1.out_channels, model.conv2.out_channels, model.fc1.out_features) == (20, 50, 500)


def test_lenet_pools_first_to_the_same_bits() -> None:
    torch.manual_seed(0)
    model, images = lenet5(), torch.randn(16, 1, 28, 28)
    x = F.max_pool2d(F.relu(model.conv1(images)), 2)
    x = F.max_pool2d(F.relu(model.conv2(x)), 2)
    published = model.fc2(F.relu(model.fc1(torch.flatten(x, 1))))
    outputs = model(images)
    assert torch.equal(outputs, published)
    ways = [torch.autograd.grad(one.square().sum(), list(model.parameters())) for one in (outputs, published)]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*ways))


def test_lenet_refuses_images_that_it_cannot_pool() -> None:
    with pytest.raises(ConfigError, match="at least 4, not 3"):
        lenet5(image_size=3)


def test_lenet_300_100_has_the_published_widths_and_parameters() -> None:
    model = lenet300()
    assert [module.weight.shape[0] for module in model.children()] == [300, 100, 10]
    assert parameters(model) == 784 * 300 + 300 + 30_000 + 100 + 1_010 == 266_610


@pytest.mark.parametrize(("planes", "size"), [(1, 28), (2, 8), (3, 1)])
def test_lenet_300_100_takes_every_image_size(planes: int, size: int) -> None:
    model = lenet300(num_classes=3, in_channels=planes, image_size=size)
    assert model(torch.zeros(2, planes, size, size)).shape == (2, 3)


def test_lenet_300_100_refuses_images_without_a_pixel() -> None:
    with pytest.raises(ArgumentError, match="image_size"):
        lenet300(image_size=0)
