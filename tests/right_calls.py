"""Right arguments of public functions, by which bad calls differ in one place."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

import prunus
from prunus import compensation, dynamic, models, scores, segmentation, selection, training
from prunus._foundation.confidence import judged
from prunus.data.sets import Split
from prunus.methods.soft import filter_norms
from prunus.planning.space import matching
from prunus.planning.targets import plan_above
from prunus.planning.tolerance import all_within, largest_within
from prunus.scores.history import closest_pairs, filter_l1, from_checkpoints
from prunus.scores.initialisation import channel_saliency, force, snip


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


def of_rooms() -> dict[Callable[..., Any], dict[str, Any]]:
    """Of the functions that rooms offer, made by name from `world`; those without an entry have defaults."""
    w = world()
    model, graph, plan, images, labels = w["model"], w["graph"], w["plan"], w["images"], w["labels"]
    batches, pairs, loss = [images], [(images, labels)], nn.functional.cross_entropy
    rng = np.random.default_rng(0)
    config = training.TrainConfig(epochs=1)
    of_graph = {"graph": graph}
    logits = torch.randn(4, 3)
    masks = {"logits": torch.randn(2, 1, 4, 4), "targets": torch.zeros(2, 4, 4, dtype=torch.long)}
    effects = {"effects": np.ones(len(w["subsets"])), "subsets": w["subsets"]}
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
    }
