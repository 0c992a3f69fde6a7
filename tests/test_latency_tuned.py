"""Plans for a latency are judged by accuracy: what is as quick is kept, refitted, and tuned from its file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import latency_tuned
from benchmarks.latency_tuned_table import AS_IT_IS, PLAN, table
from benchmarks.rows import Row
from benchmarks.stages import Material
from torch import nn

import prunus
from prunus import data, scores

RIVAL = "MACs"


def test_what_is_as_quick_is_kept_and_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = data.load("digits")
    example = torch.zeros(1, 1, 8, 8)
    samples = Material(images.train, images.test, images.test, images.normalise, "none", example)
    dense = network(argparse.Namespace())
    graph = prunus.trace(dense, example)
    plans = {
        way: (prunus.plan(graph, scores.norm(graph), macs=macs), 0.5, 1.0)
        for way, macs in ((PLAN, 0.6), (RIVAL, 0.4))
    }
    monkeypatch.setattr(latency_tuned, "as_quick_as_planned", lambda *about: plans)
    monkeypatch.setattr(latency_tuned, "empty", network)
    monkeypatch.setattr(latency_tuned, "RESULT", tmp_path / "latency_tuned.json")
    usual: dict[str, Any] = {"called": "digits", "network": "tiny", "epochs": 1, "lr": 0.1, "share": 0.5}
    usual |= {
        "weights": None,
        "seed": 0,
        "rewind": 0,
        "taught": False,
        "optimizer": "sgd",
        "choosing": False,
        "compile": False,
    }
    options = argparse.Namespace(**usual, models=tmp_path, seeds=2, tune_epochs=3, tune_lr=0.2)
    result: Row = {"rows": []}
    for _ in range(2):  # what is there is not measured again
        latency_tuned.plan(result, options, dense, samples)
        latency_tuned.tune(result, options, dense, samples)
        assert [(row["way"], row["training"] == AS_IT_IS, row["seed"]) for row in result["rows"]] == [
            (PLAN, True, 0),
            (RIVAL, True, 0),
            *((way, False, seed) for seed in (0, 1) for way in (PLAN, RIVAL)),
        ]
    begun, tuned = result["rows"][0], result["rows"][2]
    assert begun["macs"] == tuned["macs"] == plans[PLAN][0].after.macs / plans[PLAN][0].before.macs
    assert tuned["accuracy"]["after"] > begun["accuracy"]["after"]
    apart = [
        result["rows"][2 + 2 * seed]["accuracy"]["after"] - result["rows"][3 + 2 * seed]["accuracy"]["after"]
        for seed in (0, 1)
    ]
    assert f"| {sum(apart) / 2:+.2f} ±" in table(result)


def network(options: argparse.Namespace) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    ).eval()
