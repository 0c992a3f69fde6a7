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
from functools import cache
from pathlib import Path
from typing import Any, get_origin

import numpy as np
import pytest
import torch
from torch import nn

import prunus
from prunus import compensation, dynamic, models, scores, segmentation, selection, training
from prunus._foundation.confidence import judged
from prunus.data.sets import Split
from prunus.errors import PrunusError
from prunus.methods.adversarial import adversarial_pruning
from prunus.methods.at_initialisation import snip_pruning
from prunus.methods.autoprune import autoprune
from prunus.methods.block_removal import fewer_blocks, leave_out
from prunus.methods.channels_and_layers import channels_and_layers
from prunus.methods.common import Journal, Target
from prunus.methods.greedy import greedy_pruning
from prunus.methods.history import history_pruning
from prunus.methods.history_schedules import resnet, vgg16
from prunus.methods.importance import importance_pruning
from prunus.methods.one_shot import one_shot
from prunus.methods.play_and_prune import play_and_prune
from prunus.methods.selective_decay import selective_decay, selective_decay_loss
from prunus.methods.slimming import slimming, slimming_loss
from prunus.methods.soft import asymptotic_rate, filter_norms, soft_pruning
from prunus.methods.thresholds import threshold_pruning
from prunus.methods.train_gated import train_gated
from prunus.methods.twofold import twofold
from prunus.planning.space import matching
from prunus.planning.targets import plan_above
from prunus.planning.tolerance import all_within, largest_within
from prunus.scores.history import closest_pairs, filter_l1, from_checkpoints
from prunus.scores.initialisation import channel_saliency, force, snip
from prunus.tasks import Task

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


@cache
def world() -> dict[str, Any]:
    """A small classifier and all that goes with it."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ).eval()
    images, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    graph = prunus.trace(model, images)
    values = scores.norm(graph)
    plan = prunus.plan(graph, values, rate=0.5)
    split = Split((images.abs() * 50).to(torch.uint8), labels)
    return {
        "model": model,
        "graph": graph,
        "plan": plan,
        "scores": values,
        "images": images,
        "labels": labels,
        "split": split,
        "small": prunus.compact(model, plan),
        "gated": dynamic.attach(model, images),
        "subsets": selection.aggregate(np.array([0, 0, 1, 1]), np.zeros((4, 2)), subset_size=2),
    }


def normalise() -> Any:
    return (torch.tensor([0.5]), torch.tensor([0.5]))


def table() -> dict[Callable[..., Any], dict[str, Any]]:
    """Right arguments, made by name from `world`, of every public function; those without an entry have
    defaults.
    """
    w = world()
    model, graph, plan, images, labels = w["model"], w["graph"], w["plan"], w["images"], w["labels"]
    batches, pairs, loss = [images], [(images, labels)], nn.functional.cross_entropy
    rng = np.random.default_rng(0)
    config = training.TrainConfig(epochs=1)
    of_graph = {"graph": graph}
    logits = torch.randn(4, 3)
    masks = {"logits": torch.randn(2, 1, 4, 4), "targets": torch.zeros(2, 4, 4, dtype=torch.long)}
    effects = {"effects": np.ones(len(w["subsets"])), "subsets": w["subsets"]}
    method = {"model": model, "task": Task(pairs, pairs, pairs)}
    never = lambda *_: None  # noqa: E731
    return {
        prunus.trace: {"model": model, "example_inputs": images},
        prunus.plan: {
            "graph": graph,
            "scores": w["scores"],
            "rate": 0.5,
            "scope": "uniform",
            "round_to": 1,
            "floor": 1,
            "protect": (),
            "rates": None,
            "exact": False,
            "threads": 1,
        },
        prunus.mask: {"model": model, "plan": plan},
        prunus.compact: {"model": model, "plan": plan, "optimizer": None, "prefer": "auto", "check": False},
        prunus.verify: {"model": model, "plan": plan, "compact_model": w["small"], "inputs": images},
        plan_above: {"graph": graph, "scores": w["scores"], "threshold": 0.0},
        matching: {"graph": graph, "pattern": "0"},
        largest_within: {
            "model": model,
            "nothing": plan,
            "plan_at": lambda rate: plan,
            "tolerance": 1.0,
            "evaluate": lambda m: 1.0,
            "confidence": 0.9,
        },
        judged: {"baseline": torch.ones(4), "found": torch.ones(4), "confidence": 0.9},
        all_within: {"model": model, "evaluate": lambda m: {"a": 1.0}, "tolerances": {"a": 1.0}},
        scores.activation_mean: of_graph | {"batches": batches},
        scores.bn_scale: of_graph | {"reduce": "mean"},
        scores.car: of_graph | {"evaluate": lambda m: 1.0, "layers": ("0",), "greedy": False},
        scores.geometric_median: of_graph | {"reduce": "producer"},
        scores.greedy_norm: of_graph | {"rate": 0.5, "rates": None},
        scores.lasso: of_graph | {"batches": batches},
        scores.nisp: of_graph | {"batches": batches},
        scores.norm: of_graph | {"p": 2, "reduce": "mean"},
        scores.per_channel: of_graph
        | {"axes": scores.weight_axes(graph), "slot_score": lambda rows: rows.sum(1), "reduce": "sum"},
        scores.pls: of_graph | {"batches": pairs, "components": 2},
        scores.random: of_graph | {"seed": 0},
        scores.reconstruction: of_graph | {"batches": batches, "ridge": 1e-3},
        scores.similarity: of_graph
        | {
            "metric": "inputs",
            "batches": batches,
            "distance": "next",
            "keep": "medoid",
            "representatives": 1,
        },
        scores.taylor: of_graph | {"batches": pairs, "loss": loss, "reduce": "sum"},
        scores.thinet: of_graph | {"batches": batches},
        scores.weight_axes: of_graph,
        filter_l1: of_graph,
        filter_norms: of_graph | {"p": 2, "folded": False},
        from_checkpoints: of_graph | {"files": []},
        closest_pairs: of_graph | {"history": torch.rand(3, graph.num_channels), "remove": {0: 1}},
        snip: {"model": model, "batch": pairs[0], "loss": loss, "keep": 0.5},
        force: {"model": model, "batches": pairs, "loss": loss, "keep": 0.5, "steps": 2},
        channel_saliency: of_graph | {"batch": pairs[0], "loss": loss},
        compensation.merge: {
            "model": model,
            "plan": plan,
            "into": torch.arange(graph.num_channels),
            "scales": None,
        },
        compensation.refit: {
            "model": model,
            "plan": plan,
            "batches": batches,
            "ridge": 1e-3,
            "on_step": never,
        },
        compensation.restore_means: {"model": model, "plan": plan, "batches": batches, "on_step": never},
        training.train: {
            "model": nn.Sequential(nn.Flatten(), nn.Linear(64, 3)),
            "data": w["split"],
            "config": config,
            "normalise": normalise(),
            "loss": loss,
            "validation": lambda m: 1.0,
            "optimizer": None,
            "curriculum": None,
            "pruning": None,
            "checkpoint_seconds": 60.0,
            "resume": False,
            "on_epoch": never,
            "on_step": never,
        },
        training.evaluate: {"model": model, "split": w["split"], "normalise": normalise(), "batch_size": 4},
        training.recalibrate: {
            "model": model,
            "split": w["split"],
            "normalise": normalise(),
            "batches": 1,
            "batch_size": 4,
            "seed": 0,
        },
        training.recalibrate_if_better: {
            "model": model,
            "split": w["split"],
            "normalise": normalise(),
            "validation": None,
        },
        training.batches: {
            "split": w["split"],
            "normalise": normalise(),
            "batch_size": 2,
            "generator": None,
            "augment": "none",
            "shift": 0,
            "dtype": torch.float32,
            "channels_last": False,
        },
        training.augmented: {
            "images": images,
            "augment": "crop",
            "generator": torch.Generator(),
            "batch": None,
            "share": slice(None),
            "shift": 1,
        },
        training.taught: {"outputs": torch.randn(4, 2, 3), "labels": labels},
        selection.aggregate: {
            "labels": np.array([0, 0, 1, 1]),
            "attributes": np.zeros((4, 2)),
            "subset_size": 2,
            "fine_ratio": 0.5,
            "exact_median": False,
        },
        selection.area: effects | {"drop": 0.5},
        selection.at_random: {"count": 4, "keep": 0.5, "rng": rng},
        selection.critical: effects | {"fine_effects": lambda points: np.ones(len(points))},
        selection.easy_dropped: {"losses": np.ones(4), "drop": 0.5, "rng": rng},
        selection.lower_bound: {"losses": np.ones(4), "ratio": 0.2},
        selection.importance_sampled: {"losses": np.ones(4), "keep": 0.5, "rng": rng},
        selection.sliding_window: {"losses": np.ones(4), "turn": 1, "rng": rng, "groups": 2, "width": 0.5},
        selection.batchwise_largest: {"losses": np.ones(4), "keep": 0.5, "batch": 2, "rng": rng},
        selection.everything: {"subsets": w["subsets"]},
        selection.fixed_ratio: effects | {"drop": 0.5},
        selection.guarded: {
            "selection": selection.everything(w["subsets"]),
            "labels": np.array([0, 0, 1, 1]),
            "least": 0.5,
            "rng": rng,
        },
        selection.mean_division: effects | {"ratio": 1.0},
        selection.representatives: {
            "features": np.ones((4, 2)),
            "labels": np.array([0, 0, 1, 1]),
            "keep": 0.5,
        },
        selection.cross_entropy: {"logits": logits, "labels": labels},
        selection.doubt: {"logits": logits, "labels": labels},
        selection.el2n: {"logits": logits, "labels": labels},
        selection.margin: {"logits": logits, "labels": labels},
        selection.pixel_divergence: {"logits": torch.randn(2, 3, 4, 4), "shares": torch.rand(2, 3)},
        selection.gradient_norm: {"model": model, "images": images, "labels": labels},
        selection.of_logits: {"function": loss},
        selection.latent_factors: {
            "samples": np.ones((4, 6)),
            "count": 2,
            "every": 1,
            "rounds": 1,
            "penalty": 0.1,
        },
        selection.principal_components: {"samples": rng.random((4, 6)), "count": 2, "seed": 0},
        selection.variance_pixels: {"samples": rng.random((4, 6)), "count": 2},
        selection.means: {"samples": np.ones((4, 2)), "group_of_sample": np.array([0, 0, 1, 1]), "groups": 2},
        dynamic.attach: {
            "model": model,
            "example_inputs": images,
            "layers": "auto",
            "kind": "activation",
            "hidden": 0,
            "block": 1,
            "widths": (0.5, 1.0),
        },
        dynamic.activity: {"network": w["gated"], "batches": batches},
        dynamic.anneal: {"network": w["gated"], "done": 0.5, "slope": (1.0, 2.0), "hard_from": 0.5},
        dynamic.settle: {
            "network": w["gated"],
            "seen": dynamic.activity(w["gated"], batches),
            "example_inputs": images,
        },
        dynamic.skipping: {"network": w["gated"], "example_inputs": images},
        models.lenet5: {"num_classes": 2, "in_channels": 1, "image_size": 12},
        models.names: {},
        models.resnet20: {"num_classes": 2, "shortcut": "A", "in_channels": 1},
        models.ternausnet: {"num_classes": 1, "in_channels": 1, "width": 1},
        models.unet: {"num_classes": 1, "in_channels": 1, "width": 1, "depth": 1},
        segmentation.predict: {
            "model": nn.Conv2d(1, 2, 1),
            "picture": torch.rand(1, 8, 8),
            "tile": 32,
            "overlap": 0,
            "batch_size": 1,
            "on_step": never,
        },
        segmentation.evaluate: {
            "model": nn.Conv2d(1, 2, 1),
            "examples": [],
            "normalise": normalise(),
            "tile": 32,
            "overlap": 0,
            "batch_size": 1,
        },
        segmentation.log_jaccard: masks,
        segmentation.dice_loss: masks,
        segmentation.binary: masks,
        adversarial_pruning: method
        | {"strength": 1e-3, "mu": 1.0, "every": 1, "config": config, "tuning": None},
        autoprune: method
        | {"strength": 0.1, "gate_lr": 0.01, "config": config, "tuning": None, "journal": Journal()},
        channels_and_layers: method | {"strength": 0.1, "config": config},
        fewer_blocks: method | {"blocks": 1, "evenly": False, "teach": False, "config": None},
        leave_out: {
            "model": model,
            "example_inputs": images,
            "loss": lambda m: 1.0,
            "enough": 1,
            "evenly": False,
            "watch": never,
        },
        greedy_pruning: method | {"rate": 0.5, "rates": None, "protect": (), "config": None},
        history_pruning: method
        | {
            "tolerance": 1.0,
            "rate": 0.3,
            "rounds": 1,
            "pull_epochs": 1,
            "pull_strength": 1.0,
            "regulariser": "exp",
            "protect": (),
            "config": config,
            "tuning": config,
        },
        importance_pruning: method
        | {
            "tolerance": 100.0,
            "step": 0.5,
            "least_step": 0.5,
            "by": "rate",
            "scope": "global",
            "start": "ones",
            "importance": "weight",
            "l1": 1e-4,
            "round_to": 1,
            "protect": (),
            "most": 1,
            "config": config,
        },
        one_shot: method
        | {
            "score": scores.norm,
            "target": Target("rate", 0.5),
            "compensate": lambda m, p, g: m,
            "config": None,
            "blocks": 0,
            "evenly": False,
            "teach": False,
            "example_inputs": None,
            "watch": never,
        },
        prunus.shrink: method
        | {
            "rate": 0.5,
            "score": scores.norm,
            "compensate": "none",
            "scope": "uniform",
            "round_to": 1,
            "floor": 1,
            "protect": (),
            "exact": False,
            "prefer": "auto",
            "blocks": 0,
            "config": None,
            "seed": 0,
        },
        prunus.pack: method
        | {
            "path": None,
            "error": 0.1,
            "confidence": 0.95,
            "config": None,
            "teach": False,
            "samples": 8,
            "seed": 0,
            "about": None,
            "plan": False,
            "watch": never,
        },
        play_and_prune: method
        | {
            "tolerance": 100.0,
            "alpha": 0.1,
            "strength": 0.01,
            "delta": 0.01,
            "confidence": 0.9,
            "rounds": 1,
            "config": config,
        },
        selective_decay: method
        | {
            "rate": 0.5,
            "first": 0.1,
            "last": 1.0,
            "every": 1,
            "scope": "uniform",
            "protect": (),
            "config": config,
        },
        slimming: method
        | {"rate": 0.5, "strength": 1e-4, "scope": "global", "protect": (), "config": config, "tuning": None},
        snip_pruning: method | {"rate": 0.5, "scope": "uniform", "protect": (), "config": config},
        soft_pruning: method
        | {
            "rate": 0.5,
            "growth": "constant",
            "first_rate": 0.0,
            "prune_every": 1,
            "freeze": 0.5,
            "folded": True,
            "from_start": False,
            "norm": 2,
            "rates": None,
            "protect": (),
            "config": config,
            "curriculum": None,
        },
        threshold_pruning: method | {"strength": 0.1, "config": config},
        train_gated: method
        | {
            "budget": 0.9,
            "gates": "activation",
            "gated": (),
            "gate_block": 1,
            "gate_hidden": 0,
            "pull": 1.0,
            "settle": False,
            "config": config,
        },
        twofold: method | {"pruning": None, "curriculum": None, "config": config},
        selective_decay_loss: {
            "model": model,
            "graph": graph,
            "choose": lambda g: plan,
            "steps": 2,
            "weight_decay": 0.1,
            "first": 0.1,
            "last": 1.0,
            "every": 1,
        },
        slimming_loss: {"model": model, "strength": 0.1},
        asymptotic_rate: {"progress": 0.5, "goal": 0.5, "first": 0.0},
        vgg16: {"rounds": 1, "length": 1.0, "seed": 0},
        resnet: {"rounds": 1, "length": 1.0, "seed": 0},
    }


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
