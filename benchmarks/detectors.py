"""Whole detectors of torchvision, pruned through `prunus.surgery.parts.core`, compared box by box."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

import prunus
from prunus.surgery.parts import core, whole


def plain_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """What torchvision's compiled operator does: the best box, then the best that does not overlap any before
    it too much.
    """
    box_iou = import_module("torchvision.ops.boxes").box_iou
    order, kept = scores.argsort(descending=True, stable=True), []
    while len(order):
        kept.append(order[0])
        order = order[1:][box_iou(boxes[order[:1]], boxes[order[1:]])[0] <= iou_threshold]
    return torch.stack(kept) if kept else order


def box_by_box(dense: nn.Module, plan: prunus.Plan, size: int = 128) -> tuple[float, int]:
    """The largest difference of any box, score or mask of the masked and the compact detector on one image,
    and how many boxes there are.

    `dense` is a detector's core in double precision.
    """
    boxes: Any = import_module("torchvision.ops.boxes")
    boxes.nms = plain_nms
    image = torch.rand(3, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found: list[dict[str, Tensor]] = []
    for part in (prunus.mask(dense, plan), prunus.compact(dense, plan, prefer="eager", check=False)):
        detector: Any = whole(part).eval()
        with torch.no_grad():
            found += detector([image])
    masked, small = found
    if {key: value.shape for key, value in masked.items()} != {
        key: value.shape for key, value in small.items()
    }:
        return float("inf"), len(masked["boxes"])
    return max(
        float((masked[key] - small[key]).abs().max()) if masked[key].numel() else 0.0 for key in masked
    ), len(masked["boxes"])


__all__ = ["box_by_box", "core"]
