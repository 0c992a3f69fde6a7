"""What jobs are given besides their data: a network by its name, and what the folder of a run gets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from prunus._foundation.arguments import check_fields
from prunus._foundation.wording import given
from prunus.errors import ConfigError


@dataclass(frozen=True)
class Network:
    """A network as a user names it.

    Attributes:
        name: of ours, `timm/NAME`, `torchvision/NAME`, `package.module:function`, `NAME@WEIGHTS`, or a folder
            that a run left.
        weights: file with weights for a name.
        pretrained: take published weights, of timm or torchvision.
        input_shape: of one input, batch axis included; None = what the network or the data say.
        build: what a compact network was made from, where its folder does not say so, or names code.
    """

    name: str
    weights: Path | None = None
    pretrained: bool = False
    input_shape: tuple[int, ...] | None = None
    build: str = ""

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)


@dataclass(frozen=True)
class Quantisation:
    """A file in 8 bits: points of the metric on held-out samples that it may cost, and the confidence with
    which it does not cost more.
    """

    tolerance: float = 0.5
    confidence: float = 0.95

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)


@dataclass(frozen=True)
class Delivery:
    """What the folder of a run gets besides the network, its plan and the result.

    Attributes:
        onnx: export, check, and measure in ONNX Runtime too (needs the extra `onnx`).
        dynamic_batch: let the ONNX file take batches of any size.
        report: write `report.html` (needs the extra `report`).
        int8: also write the ONNX file in 8 bits; None = do not.
    """

    onnx: bool = True
    dynamic_batch: bool = False
    report: bool = True
    int8: Quantisation | None = None

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)


USUAL = Delivery()


def network_of(model: Network | str) -> Network:
    """A network by its name alone, where that is all there is to say; raises ConfigError for what is none."""
    if not isinstance(model, (Network, str)):
        raise ConfigError(f"A network is given by its name, or as a prunus.runs.Network, not {given(model)}.")
    return Network(model) if isinstance(model, str) else model


def files_of(*networks: Network) -> list[Path | str | None]:
    """What is read of networks, as their user named it."""
    return [part for one in networks for part in (one.name, one.weights)]


def make_choices(settings: Any, choices: dict[str, type[StrEnum]]) -> None:
    """Let texts stand for the choices that they name, for use in `__post_init__`. Raises ConfigError for
    others.
    """
    for name, kind in choices.items():
        value = getattr(settings, name)
        if value is None or isinstance(value, kind):
            continue
        if value not in [one.value for one in kind]:
            raise ConfigError(f"{name} must be one of {', '.join(kind)}, not {value!r}.")
        object.__setattr__(settings, name, kind(value))
