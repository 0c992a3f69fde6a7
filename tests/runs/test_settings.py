"""What jobs are given: checked when it is made, and texts where they are enough."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest

from prunus.errors import ConfigError
from prunus.runs.data import Data, data_of
from prunus.runs.settings import Delivery, Network, make_choices, network_of


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Painted:
    colour: Colour | None

    def __post_init__(self) -> None:
        make_choices(self, {"colour": Colour})


def test_a_text_stands_for_what_it_names() -> None:
    assert Painted("blue").colour is Colour.BLUE and Painted(None).colour is None  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="colour must be one of red, blue, not 'green'"):
        Painted("green")  # type: ignore[arg-type]


def test_a_name_alone_is_a_network_and_data() -> None:
    network, data = Network("lenet5", build="mine:net"), Data("digits", seed=7)
    assert network_of("lenet5") == Network("lenet5") and network_of(network) is network
    assert data_of("digits", 3) == Data("digits", seed=3) and data_of(data, 3) is data
    assert data_of(None, 3) is None and data_of("", 3) is None


def test_fields_of_another_kind_are_named() -> None:
    assert Network("lenet5", "weights.pth").weights == Path("weights.pth")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="input_shape must be"):
        Network("lenet5", input_shape="1,1,8,8")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="onnx must be "):
        Delivery(onnx="no")  # type: ignore[arg-type]
