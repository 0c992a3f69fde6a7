"""Right arguments of whole methods, by which bad calls differ in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import prunus
from prunus import scores, training
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
from prunus.methods.soft import asymptotic_rate, soft_pruning
from prunus.methods.thresholds import threshold_pruning
from prunus.methods.train_gated import train_gated
from prunus.methods.twofold import twofold
from prunus.tasks import Task
from tests.right_calls import world


def of_methods() -> dict[Callable[..., Any], dict[str, Any]]:
    """Of methods and what belongs to them, made by name from `world`."""
    w = world()
    model, graph, plan, images, labels = w["model"], w["graph"], w["plan"], w["images"], w["labels"]
    pairs = [(images, labels)]
    config = training.TrainConfig(epochs=1)
    method = {"model": model, "task": Task(pairs, pairs, pairs)}
    never = lambda *_: None  # noqa: E731
    return {
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
