"""YOLO of ultralytics: prune, retrain with its own trainer and its averaged weights, export, and load again.

Needs `ultralytics`, whose licence is the AGPL: whoever runs this takes it. One begins with a network that was
trained on the data already, such as `yolov8n.pt` on `coco.yaml`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

import prunus
from prunus.deploy.onnx import export


def prune(network: nn.Module, macs: float = 0.5, side: int = 640, round_to: int = 8) -> nn.Module:
    """The network with this share of its multiply-accumulates; what a head returns keeps its channels.

    Args:
        network: the module itself, `YOLO(…).model`: pictures (batch, 3, side, side) to boxes and scores.
        macs: share that is left, of (0, 1).
        side: pixels.
        round_to: widths are multiples of this.
    """
    graph = prunus.trace(network, torch.zeros(1, 3, side, side))
    plan = prunus.plan(graph, prunus.scores.norm(graph), macs=macs, round_to=round_to)
    print(f"{plan.before.macs:,} MACs before, {plan.after.macs:,} after")
    return prunus.compact(network, plan)


def trainer_of(small: nn.Module) -> type[Any]:
    """A trainer of theirs that trains a given network, in place of one that it builds from its own table."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    class Retrain(DetectionTrainer):  # type: ignore[misc]
        """All that theirs does: schedule, augmentation, averaged weights, validation, checkpoints."""

        def get_model(self, *args: Any, **kwargs: Any) -> nn.Module:
            """The pruned one; where it comes from is not for their checkpoints."""
            vars(small).pop("prunus", None)
            return small

    return Retrain


def write(network: nn.Module, path: str | Path, side: int = 640) -> None:
    """An ONNX file, checked against the network, on one picture."""
    check = export(network.cpu().float(), torch.rand(1, 3, side, side), path)
    print(f"{path}: differs by {check.max_abs:.1e} at most")


def main(weights: str = "yolov8n.pt", data: str = "coco8.yaml", side: int = 640, **options: Any) -> Any:
    """Prune, retrain, write what their own loader reads, and an ONNX file.

    Args:
        weights: a file of theirs, or one of their tables for a network without weights.
        data: of the training, one of their files.
        side: pixels.
        options: of their trainer, such as `epochs=30`.
    """
    from ultralytics import YOLO

    yolo = YOLO(weights)
    small = prune(yolo.model, 0.5, side)
    yolo.train(data=data, imgsz=side, trainer=trainer_of(small), **options)
    print(f"Retrained: {yolo.trainer.best}")
    again = YOLO(yolo.trainer.best)  # the averaged weights of the best epoch, in the pruned network
    write(again.model, "model.onnx", side)
    return again


if __name__ == "__main__":
    main(*sys.argv[1:3], epochs=30)
