"""What a name says of the input."""

from __future__ import annotations

from prunus.runs.shapes import natural_shape


def test_natural_shapes() -> None:
    assert natural_shape("lenet5") == (1, 1, 28, 28)
    assert natural_shape("resnet56") == (1, 3, 32, 32)
    assert natural_shape("torchvision/inception_v3") == (1, 3, 299, 299)
    assert natural_shape("mine:build") is None
