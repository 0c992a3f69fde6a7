"""A network in half precision, as a module of a user's own would make it."""

from __future__ import annotations

from torch import nn

from prunus.models import lenet5

NAME = "tests.runs.halves:build"


def build() -> nn.Module:
    """Random weights."""
    return lenet5(image_size=8).half()
