"""Let torchvision, and timm which needs it, be imported beside a CPU build of torch.

The wheels of torchvision carry a compiled library that matches one exact build of torch. Beside another build
it does not load, the operators stay undeclared, and `import torchvision` fails: "operator torchvision::nms
does not exist". Declaring the schemas is enough for the import; none of the networks tested here calls one of
these operators. For tests and benchmarks only; never part of the package.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from functools import cache

import torch

_ROI = "Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width"
_ROI_GRAD = (
    "Tensor grad, Tensor rois, {extra}float spatial_scale, SymInt pooled_height, SymInt pooled_width, {more}"
    "SymInt batch_size, SymInt channels, SymInt height, SymInt width"
)
_DEFORM = (
    "SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, "
    "SymInt groups, SymInt offset_groups, bool use_mask"
)
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    f"roi_align({_ROI}, int sampling_ratio, bool aligned) -> Tensor",
    f"_roi_align_backward({_ROI_GRAD.format(extra='', more='')}, int sampling_ratio, bool aligned) -> Tensor",
    f"roi_pool({_ROI}) -> (Tensor, Tensor)",
    f"_roi_pool_backward({_ROI_GRAD.format(extra='Tensor argmax, ', more='')}) -> Tensor",
    f"ps_roi_align({_ROI}, int sampling_ratio) -> (Tensor, Tensor)",
    (
        f"_ps_roi_align_backward({_ROI_GRAD.format(extra='Tensor mapping, ', more='int sampling_ratio, ')})"
        " -> Tensor"
    ),
    f"ps_roi_pool({_ROI}) -> (Tensor, Tensor)",
    f"_ps_roi_pool_backward({_ROI_GRAD.format(extra='Tensor mapping, ', more='')}) -> Tensor",
    (
        f"deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, {_DEFORM}) ->"
        " Tensor"
    ),
    (
        "_deform_conv2d_backward(Tensor grad, Tensor input, Tensor weight, Tensor offset, Tensor mask,"
        f" Tensor bias, {_DEFORM}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
    ),
)


@cache
def _library() -> torch.library.Library:
    # kept alive by the cache: it undeclares when collected
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        if not hasattr(torch.ops.torchvision, schema.split("(", 1)[0]):
            library.define(schema)
    return library


@cache
def missing(*packages: str) -> str:
    """Why `packages` ("torchvision", or such as may import it) cannot be imported, or "" after that."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed"
    there = importlib.util.find_spec("torchvision") is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for package in (*(("torchvision",) if there else ()), *packages):
                _import(package)
        except (ImportError, RuntimeError) as error:
            return f"{', '.join(packages)} cannot be imported: {error}"
    if there:
        _lend_suppression()
    return ""


def _import(package: str) -> None:
    """Import it; with the operators of torchvision declared, where it needs that."""
    try:
        __import__(package)
    except RuntimeError:
        _library()
        __import__(package)


def _lend_suppression() -> None:
    """Non-maximum suppression in Python, for detectors, where torchvision's compiled one is not there."""
    extension = importlib.import_module("torchvision.extension")
    if not extension._has_ops():
        _library().impl("nms", nms, "CPU")
        extension._has_ops = _has_operators  # type: ignore[attr-defined]  # a module's own name


def _has_operators() -> bool:  # a function with types, as torchvision compiles it
    return True


def nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Places of the boxes (n, 4) that no better one overlaps by more than the threshold, best first."""
    left, dead = [], torch.zeros(len(boxes), dtype=torch.bool)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for place in scores.argsort(descending=True).tolist():
        if not dead[place]:
            left.append(place)
            both = (
                (
                    torch.minimum(boxes[place, 2:], boxes[:, 2:])
                    - torch.maximum(boxes[place, :2], boxes[:, :2])
                )
                .clamp(min=0)
                .prod(1)
            )
            dead |= both / (areas[place] + areas - both) > threshold
    return torch.tensor(left, dtype=torch.int64)
