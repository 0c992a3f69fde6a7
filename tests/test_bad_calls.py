"""Bad calls: every public function, every argument in turn a value of a wrong kind. A result, or one
sentence; never an error from deep inside.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any, get_origin

import numpy as np
import pytest
import torch
from torch import nn

from prunus import models, segmentation, training
from prunus.data.sets import Split
from prunus.errors import PrunusError
from prunus.methods.common import Journal
from prunus.tasks import Task
from tests.right_calls import of_rooms, world
from tests.right_calls_of_methods import of_methods

ROOMS = tuple(
    (
        "prunus paint plans surgery planning compensation dynamic models scores segmentation selection "
        "training"
    ).split()
)
EXTERNAL = {
    "prunus.load",
    "prunus.save",
    "prunus.unpack",
    "prunus.dynamic.load_gates",
    "prunus.dynamic.save_gates",
    "prunus.models.load_weights",
    *("prunus.paint_rule", "prunus.paint.paint_rule"),  # a registry that other tests would see: tests/paint
    "prunus.training.track",  # any number of trackers: tests/training
    *("prunus.from_pretrained", "prunus.push_to_hub"),  # the Hub: tests/hub
    *(
        *"prunus.core prunus.whole prunus.surgery.core prunus.surgery.whole".split(),
    ),  # detectors: tests/surgery
}  # files: tests/storage
SLOW = {
    "prunus.dynamic.export_gated",
    "prunus.dynamic.export_cascade",
    "prunus.models.load_encoder",
    "prunus.models.build",
}


def table() -> dict[Callable[..., Any], dict[str, Any]]:
    """Right arguments of every public function, made anew."""
    return of_rooms() | of_methods()


def bad_values() -> dict[str, Any]:
    w = world()
    return {
        "None": None,
        "text": "text",
        "-1": -1,
        "nan": math.nan,
        "model": w["model"],
        "plan": w["plan"],
        "graph": w["graph"],
        "list": [],
        "dict": {},
        "object": object(),
        "true": True,
        "class": nn.Linear,
        "function": len,
        "half": 0.5,
    }


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Functions that a room offers."""
    for room in ROOMS:
        module = importlib.import_module("prunus" if room == "prunus" else f"prunus.{room}")
        for name in module.__all__:
            if inspect.isfunction(getattr(module, name)):
                yield ("prunus." if room == "prunus" else f"prunus.{room}.") + name, getattr(module, name)


def name_of(function: Callable[..., Any]) -> str:
    return f"{function.__module__.removeprefix('prunus.')}.{function.__name__}"


CALLS = sorted({name_of(function) for function in table()})


def test_every_public_function_is_called_badly() -> None:
    tried = set(table())
    same = {
        models.resnet8,
        models.resnet32,
        models.resnet44,
        models.resnet56,
        models.resnet110,
        models.vgg16_bn,
        models.lenet300,
        segmentation.strips,
    }  # as resnet20 and predict
    assert [
        name for name, function in public() if function not in tried | same and name not in EXTERNAL | SLOW
    ] == []


@pytest.mark.parametrize("name", CALLS)
def test_a_bad_call_gives_a_result_or_a_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # "text" is a path to some
    (function,) = [one for one in table() if name_of(one) == name]
    known = {*inspect.signature(function).parameters}
    wrong = []
    for argument in table()[function]:
        assert argument in known
        right = table()[function]  # made anew, as calls may use it up
        # what a function of the caller's own makes of its arguments is its own affair
        own = callable(right[argument])
        for kind, value in bad_values().items():
            if own and kind in ("model", "function"):
                continue
            words = complaint(function, right | {argument: value}, argument)
            if words:
                wrong.append(f"{argument}={kind}: {words}")
    assert not wrong, "\n".join(wrong)


def complaint(function: Callable[..., Any], arguments: dict[str, Any], argument: str) -> str:
    """What is wrong with the answer to a call; nothing if it is a result or a sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = function(**arguments)
            if inspect.isgenerator(made):
                list(made)
    except (PrunusError, TypeError, ValueError) as error:
        text = str(error)
        sentence = (
            re.match(r"[A-Z0-9'(]", text)
            or re.match(rf"{argument}\b", text)
            or re.match(r"[a-z_]+ (must|has|needs|takes|is|of|and)\b", text)
        )
        if not isinstance(error, PrunusError):
            return f"{type(error).__name__}: {text[:150]}"
        return "" if sentence and text.endswith(".") and "\n" not in text else f"no sentence: {text[:150]}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:150]}"
    return ""


def test_settings_are_checked_like_arguments() -> None:
    wrong = []
    for field in fields(training.TrainConfig):
        for kind, value in bad_values().items():
            words = complaint(training.TrainConfig, {field.name: value}, field.name)
            if words:
                wrong.append(f"{field.name}={kind}: {words}")
    assert not wrong, "\n".join(wrong)


def test_there_are_many_calls() -> None:
    assert sum(len(arguments) * len(bad_values()) for arguments in table().values()) > 200


@pytest.mark.parametrize("room", [*ROOMS[1:], "data", "tasks", "methods", "report", "runs"])
@pytest.mark.parametrize(
    "wrong", [None, -1.5, "x", object(), np.zeros(2), [], {}, nn.Conv2d], ids=lambda one: str(one)[:12]
)
def test_what_is_made_says_what_it_cannot_be_made_of(room: str, wrong: Any) -> None:
    """Functions and classes alike, whatever they need the same nonsense: constructors had no door."""
    module = importlib.import_module(f"prunus.{room}")
    for name in module.__all__:
        made = getattr(module, name)
        known = inspect.isclass(made) and issubclass(made, (BaseException, Enum))
        if known or not callable(made) or get_origin(made) or getattr(made, "_is_protocol", False):
            continue
        if f"prunus.{room}.{name}" in EXTERNAL | SLOW | {"prunus.runs.demo"}:
            continue
        needed = [one for one in inspect.signature(made).parameters.values() if one.default is one.empty]
        by_place = [wrong for one in needed if one.kind is one.POSITIONAL_OR_KEYWORD]
        by_name = {one.name: wrong for one in needed if one.kind is one.KEYWORD_ONLY}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                made(*by_place, **by_name)
            except PrunusError as error:
                assert str(error).endswith(".") and "\n" not in str(error), f"{room}.{name}: {error}"
            except Exception as error:
                raise AssertionError(f"{room}.{name}({wrong!r}) raises {error!r}.") from error


def test_a_task_says_which_parts_it_has() -> None:
    """A part of another name was an AttributeError, batches of a negative size were taken."""
    pairs = [(world()["images"], world()["labels"])]
    task, model = Task(pairs, pairs, pairs), world()["model"]
    calls: list[Callable[[], Any]] = [
        lambda: task.value(model, "val"),  # type: ignore[arg-type]
        lambda: task.points(model, "tests"),  # type: ignore[arg-type]
        lambda: task.count("val"),  # type: ignore[arg-type]
        lambda: task.value(world()["graph"]),
        lambda: task.batches("train", -2),
        lambda: task.calibration(0),
        lambda: task.few("test", 0),
        lambda: task.fit(model, None),  # type: ignore[arg-type]
        lambda: Task("digits"),
        lambda: Task(world()["images"]),
        lambda: Task({"train": pairs}),
        lambda: Journal("x", checkpoint_seconds=-1),
    ]
    for call in calls:
        with pytest.raises(PrunusError, match=r"\.$"):
            found = call()
            next(found) if isinstance(found, Iterator) else None
    assert Split(np.zeros((2, 1, 2, 2), np.uint8), np.zeros(2, np.int64)).images.dtype == torch.uint8  # type: ignore[arg-type]
