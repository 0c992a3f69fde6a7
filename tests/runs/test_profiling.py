"""Networks by name, looked at from Python."""

from __future__ import annotations

import pytest
import torch

import prunus
from prunus import models, runs
from prunus.errors import ConfigError

SMALL = runs.Network("lenet5", input_shape=(1, 1, 8, 8))


def test_a_profile_is_the_cost_of_every_layer() -> None:
    found = runs.profile(SMALL)
    graph = prunus.trace(models.lenet5(image_size=8).eval(), torch.zeros(1, 1, 8, 8))
    assert found["cost"]["macs"] == graph.cost().macs == sum(row["macs_before"] for row in found["layers"])
    assert found["channels"] == graph.num_channels and "gates" not in found


def test_networks_of_different_inputs_are_not_compared() -> None:
    with pytest.raises(ConfigError, match=r"lenet5 takes .*1, 8, 8.* and resnet20 takes .*3, 32, 32.*: give"):
        runs.compare(SMALL, "resnet20")
