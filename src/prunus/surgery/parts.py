"""Parts of a model that cannot be traced whole: its own modules under another forward, so that one plan and
one compact hold for all of it.

The forward of a detector reads values (how many boxes are left?), so no trace goes through it. What has
channels does not: the backbone, the heads. `core` is the model with a forward that runs these in turn, and
feature maps carry their channels from one to the next. It is an ordinary module with the model's own tensors
under their own names: it is traced, pruned, masked, verified, saved and loaded as any other. `whole` gives
the model's forward back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.arguments import checked
from prunus.errors import CompactError, TraceError
from prunus.surgery.traced.module import TracedModule

Forward = Callable[..., Any]


def core(model: nn.Module, forward: Forward | None = None) -> nn.Module:
    """The model with another forward, sharing all of its modules and tensors.

    Whatever `forward` does not run stays as it is, and so do the channels of whatever it returns. Where the
    model does something between its parts that cannot be traced (the pooling of regions), `forward` may do
    anything instead that treats every channel alike.

    Args:
        model: the model, of whose class a compact core will be again.
        forward: called as `forward(model, *inputs)`. Detectors built as those of torchvision are (R-CNNs;
            RetinaNet, FCOS, SSD) need none: all their parts run, on a batch of images of shape (images, 3,
            height, width), and one region of every feature map stands for all.

    Raises TraceError if no forward is given and the model is no such detector.
    """
    view = copy.copy(model)
    # is copied and pickled with the view that it runs
    view.__dict__["forward"] = partial(forward or _forward_of(model), view)
    return view


@checked()
def whole(model: nn.Module) -> nn.Module:
    """The model behind a `core`, dense or compact, with its own forward and the same tensors; where it comes
    from stays with it.

    Raises CompactError if the core was compacted by its trace, which has no other forward; `compact(...,
    prefer="eager")` keeps the class.
    """
    if isinstance(model, TracedModule):
        raise CompactError(
            "This compact core is a traced graph, without the model's own forward; compact it with"
            " prefer='eager'."
        )
    view = copy.copy(model)
    view.__dict__.pop("forward", None)
    return view


def is_core(model: nn.Module) -> bool:
    """Whether a model is a core, whose own forward `whole` gives back."""
    forward = vars(model).get("forward")
    return isinstance(forward, partial) and not isinstance(model, TracedModule)


def itself(model: nn.Module) -> nn.Module:
    """A model, or the one behind a core."""
    return whole(model) if is_core(model) else model


def _forward_of(model: nn.Module) -> Forward:
    if all(isinstance(getattr(model, name, None), nn.Module) for name in ("backbone", "rpn", "roi_heads")):
        return _run_regions
    if all(
        isinstance(getattr(model, name, None), nn.Module) for name in ("backbone", "head", "anchor_generator")
    ):
        return _run_head
    raise TraceError(
        f"{type(model).__name__} is not built as a detector of torchvision is; give forward=, a function that"
        " runs its parts."
    )


def _features(model: Any, images: Tensor) -> dict[str, Tensor]:
    found = model.backbone(images)
    return {"0": found} if isinstance(found, Tensor) else dict(found)


def _run_head(model: Any, images: Tensor) -> Any:
    """One stage: the head on all feature maps."""
    return model.head(list(_features(model, images).values()))


def _run_regions(model: Any, images: Tensor) -> list[Any]:
    """Two stages: the proposals' head on all feature maps, the others on regions of them."""
    features, heads = _features(model, images), model.roi_heads
    outputs = [
        model.rpn.head(list(features.values())),
        heads.box_predictor(heads.box_head(_regions(heads.box_roi_pool, features))),
    ]
    for kind in ("mask", "keypoint"):
        pool = getattr(heads, f"{kind}_roi_pool", None)
        if pool is not None:
            head, predictor = getattr(heads, f"{kind}_head"), getattr(heads, f"{kind}_predictor")
            outputs.append(predictor(head(_regions(pool, features))))
    return outputs


def _regions(pool: Any, features: dict[str, Tensor]) -> Tensor:
    """Every feature map that is pooled, as one region of the pooled size."""
    maps = [features[str(name)] for name in pool.featmap_names if str(name) in features]
    return torch.cat([nn.functional.adaptive_avg_pool2d(x, tuple(pool.output_size)) for x in maps])


__all__ = ["core", "whole"]
