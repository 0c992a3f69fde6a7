"""Networks by name: ours, those of timm and torchvision, and any factory on the Python path."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from torch import nn

from prunus._foundation.arguments import checked
from prunus._foundation.factories import call, called, nearest, reason, short
from prunus.errors import MissingExtraError, ModelNameError
from prunus.models.bounded import MOST, Bounded
from prunus.models.built import note
from prunus.models.lenet import lenet5, lenet300
from prunus.models.resnet import resnet8, resnet20, resnet32, resnet44, resnet56, resnet110
from prunus.models.ternausnet import ternausnet
from prunus.models.unet import unet
from prunus.models.vgg import vgg16_bn

_OURS: dict[str, Callable[..., nn.Module]] = {
    "lenet5": lenet5,
    "lenet300": lenet300,
    "resnet8": resnet8,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet44": resnet44,
    "resnet56": resnet56,
    "resnet110": resnet110,
    "vgg16_bn": vgg16_bn,
    "unet": unet,
    "ternausnet": ternausnet,
}


# What a record may build a network with, and how much of it: names and sizes that prunus writes. Nothing else
# of a file reaches a builder, as builders of libraries open and fetch files by some of their options.
_RECORDED: dict[str, int] = {
    "num_classes": 100_000,
    "in_channels": 4096,
    "in_chans": 4096,
    "image_size": 2048,
    "img_size": 2048,
    "width": 512,
    "depth": 8,
    "shortcut": 10,  # a letter or a word
}
_TEXTS = ("shortcut",)
_LIBRARY = re.compile(r"(timm|torchvision)/[A-Za-z0-9_.-]+")


def names() -> tuple[str, ...]:
    """Names of our own networks, in the order in which a list should show them."""
    return tuple(_OURS)


@checked()
def build(name: str, num_classes: int | None = None, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build a network by its name.

    Args:
        name: one of `names()`, `timm/NAME`, `torchvision/NAME` (classification and segmentation), or
            `package.module:factory`, found on the Python path or in the current directory.
        num_classes: classes told apart; None leaves the builder's own default.
        pretrained: ask timm, torchvision or the factory for published weights; ours have none.
        kwargs: passed on to the builder.

    Raises:
        ModelNameError: no such network (the text gives the nearest name), or the factory cannot be imported
            or called or returns something other than an `nn.Module`.
        MissingExtraError: timm or torchvision is not installed or does not import.
    """
    options = dict(kwargs) if num_classes is None else {"num_classes": num_classes, **kwargs}
    if ":" in name:
        return _from_factory(name, options | ({"pretrained": True} if pretrained else {}))
    source, _, rest = name.partition("/")
    if source == "timm" and rest:
        return _from_timm(name, rest, pretrained, options)
    if source == "torchvision" and rest:
        return _from_torchvision(name, rest, pretrained, options)
    if name not in _OURS:
        raise _unknown(
            name,
            names(),
            "Give one that prunus models lists, timm/NAME, torchvision/NAME, or package.module:factory.",
        )
    if pretrained:
        raise ModelNameError(
            f"{name} has no published weights of its own: build it and use load_weights with a file."
        )
    return _call(name, _OURS[name], options)


def is_plain_name(name: str) -> bool:
    """Whether a name is of a network of ours or of a library, and so names no code and no file."""
    return name in _OURS or _LIBRARY.fullmatch(name) is not None


def build_recorded(name: str, options: Mapping[str, object]) -> nn.Module:
    """Build a network, with random weights, that a file names: ours, or one of timm or torchvision.

    Args:
        name: as for `build`, but for factories: what a file says is never imported or called.
        options: what it was built with: those that prunus records.

    Raises:
        ModelNameError: the name is none of those, an option is none that prunus records, or its value is out
            of range, or it takes more memory than a file may ask for.
        MissingExtraError: timm or torchvision is not installed or does not import.
    """
    if not is_plain_name(name):
        raise ModelNameError(f"{name!r} is not the name of a network of prunus, timm or torchvision.")
    for key, value in options.items():
        if key not in _RECORDED:
            raise ModelNameError(
                f"{key!r} is no option that prunus records; those are {', '.join(_RECORDED)}."
            )
        most = _RECORDED[key]
        plain = (
            isinstance(value, str) and 0 < len(value) <= most
            if key in _TEXTS
            else type(value) is int and 0 <= value <= most
        )
        if not plain:
            wanted = "a letter or a word" if key in _TEXTS else f"a whole number up to {most:,}"
            raise ModelNameError(f"The option {key!r} of {name} must be {wanted}, not {short(value)}.")
    bounded = Bounded()
    try:
        with bounded:
            return build(name, **dict(options))  # type: ignore[arg-type]  # checked above
    except ModelNameError as error:
        if not bounded.exceeded:
            raise
        raise ModelNameError(
            f"{name} with the sizes that the file states takes more than {MOST >> 30} GiB, which is the limit"
            " of a network that a file names."
        ) from error


def _from_timm(name: str, architecture: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    timm = _extra("timm")
    if not timm.is_model(architecture):
        raise _unknown(
            name, [f"timm/{known}" for known in timm.list_models()], "All are listed by timm.list_models()."
        )
    model = _call(name, functools.partial(timm.create_model, architecture, pretrained=pretrained), options)
    return _noted(model, name, options)


def _from_torchvision(name: str, architecture: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    models = _extra("torchvision").models
    known = models.list_models()
    if architecture not in known:
        raise _unknown(
            name,
            [f"torchvision/{one}" for one in known],
            "All are listed by torchvision.models.list_models().",
        )
    builder, given = models.get_model_builder(architecture), options
    options = {"weights": "DEFAULT" if pretrained else None, **options}
    if not pretrained and "weights_backbone" in inspect.signature(builder).parameters:
        options = {
            "weights_backbone": None,
            **options,
        }  # or the backbone's weights would be downloaded unasked
    return _noted(_call(name, builder, options), name, given)


def _noted(model: nn.Module, name: str, options: Mapping[str, Any]) -> nn.Module:
    """A library's model with a note of how it was built, if a file may say that."""
    return note(model, name, options) if options.keys() <= _RECORDED.keys() else model


def _from_factory(name: str, options: dict[str, Any]) -> nn.Module:
    return _checked(name, called(name, options, "builds the model", ModelNameError))


def _call(name: str, factory: Callable[..., Any], options: dict[str, Any]) -> nn.Module:
    return _checked(name, call(name, factory, options, ModelNameError))


def _checked(name: str, model: Any) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise ModelNameError(f"{name!r} returned a {type(model).__name__}: expected a torch.nn.Module.")
    return model


def _extra(package: str) -> ModuleType:
    """Import an optional package, or say in one line how to get it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package:
            raise MissingExtraError(
                f"{package} is not installed; it is the extra '{package}': pip install 'prunus[{package}]'."
            ) from error
        raise MissingExtraError(f"{package} is installed but does not import: {reason(error)}.") from error
    # torchvision beside another build of torch raises RuntimeError: its operators lack
    except Exception as error:
        raise MissingExtraError(
            f"{package} is installed but does not import: {reason(error)}; "
            f"install builds of torch and torchvision that belong together: pip install 'prunus[{package}]'."
        ) from error


def _unknown(name: str, known: Iterable[str], more: str) -> ModelNameError:
    return ModelNameError(f"There is no model {name!r}.{nearest(name, known)} {more}")
