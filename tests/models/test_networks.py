"""CIFAR ResNets and VGG-16: published cost, shortcuts, names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import prunus.data
from prunus.errors import ConfigError
from prunus.models import (
    CifarResNet,
    ShortcutA,
    load_weights,
    resnet8,
    resnet20,
    resnet32,
    resnet44,
    resnet56,
    resnet110,
    vgg16_bn,
)
from prunus.training import evaluate

# MACs of the convolutions and the linear layer, and parameters. The soft-pruning papers leave out the linear
# layer's 640 MACs: their ResNet-110 has 252,887,040.
RESNETS: list[tuple[Callable[..., CifarResNet], int, int]] = [
    (resnet8, 12_239_488, 75_290),
    (resnet20, 40_551_040, 269_722),
    (resnet32, 68_862_592, 464_154),
    (resnet44, 97_174_144, 658_586),
    (resnet56, 125_485_696, 853_018),
    (resnet110, 252_887_680, 1_727_962),
]


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


@pytest.mark.parametrize(
    ("factory", "macs", "size"), RESNETS, ids=lambda value: getattr(value, "__name__", None)
)
def test_option_a_resnets_have_the_published_cost(
    factory: Callable[..., CifarResNet], macs: int, size: int
) -> None:
    model = factory()
    assert count_macs(model, torch.zeros(1, 3, 32, 32)) == macs
    assert parameters(model) == size


def test_projection_resnet_adds_exactly_its_projections() -> None:
    model = resnet20(num_classes=7, shortcut="projection")
    extra = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)
    assert parameters(model) == parameters(resnet20(num_classes=7)) + extra
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert "layer2.0.shortcut.0.weight" in model.state_dict()


def test_unknown_shortcut_is_refused() -> None:
    with pytest.raises(ConfigError, match="'A' or 'projection'"):
        resnet20(shortcut="B")  # type: ignore[arg-type]


def test_shortcut_a_is_the_published_padding() -> None:
    x = torch.randn(2, 16, 8, 8)
    published = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 32 // 4, 32 // 4), "constant", 0)
    assert torch.equal(ShortcutA(16, 32)(x), published)


def test_shortcut_a_pads_as_many_channels_as_its_attributes_say() -> None:
    shortcut = ShortcutA(16, 32)
    shortcut.pad_before, shortcut.pad_after = 3, 0
    assert shortcut(torch.ones(1, 5, 4, 4))[0, :, 0, 0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert "pad_before=3, pad_after=0" in repr(shortcut)


def test_resnet_names_are_those_of_the_public_checkpoints() -> None:
    names = resnet20().state_dict().keys()
    for name in "conv1.weight bn1.running_var layer1.0.conv1.weight layer3.2.bn2.bias linear.bias".split():
        assert name in names
    assert not any("shortcut" in name for name in names)


def test_resnet_takes_other_sizes_and_planes() -> None:
    assert resnet20(in_channels=1)(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_vgg_has_thirteen_convolutions_and_the_published_cost() -> None:
    model = vgg16_bn()
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == 13
    assert count_macs(model, torch.zeros(1, 3, 32, 32)) == 313_201_664
    assert round(parameters(model) / 1e6, 2) == 14.72


def test_public_checkpoint_reaches_its_accuracy_on_real_images() -> None:
    root = Path(os.environ.get("PRUNUS_DATA", "/nonexistent"))
    checkpoint = next(root.glob("cifar10-resnets/resnet20-*.th"), None)
    if checkpoint is None or not (root / "cifar-10-batches-bin").is_dir():
        pytest.skip("PRUNUS_DATA names no folder with cifar10-resnets and cifar-10-batches-bin")
    model = resnet20()
    load_weights(model, checkpoint)
    test = prunus.data.load("cifar10", root, download=False).test.subset(torch.arange(500))
    found = evaluate(model, test, ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert found.accuracy > 75
