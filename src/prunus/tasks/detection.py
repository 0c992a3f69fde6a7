"""Detection: mean average precision of boxes, by COCO's definition (Lin et al. 2014, arXiv 1405.0312), with
pycocotools.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunus._foundation.arguments import check_fields
from prunus._foundation.confidence import Rows
from prunus._foundation.wording import given
from prunus.errors import ConfigError, DataError, MissingExtraError
from prunus.tasks.average_precision import Matched
from prunus.tasks.metrics import ClassFigure

_NOWHERE = [-2.0, -2.0, -1.0, -1.0]  # beside every picture


@dataclass(frozen=True)
class MeanAveragePrecision:
    """mAP over IoU thresholds from 0.5 to 0.95 [percent], as torchvision's detectors return boxes: a list
    with one dictionary per picture, of `boxes` (boxes, 4), x1 y1 x2 y2 in pixels, `labels` (boxes,) and,
    where they were found, `scores` (boxes,).

    Attributes:
        threshold: 0.5 alone, say, in place of all ten.
        name: what it is called.
        figure: what it is called of one class.
        counted: what a class has many of.
    """

    threshold: float | None = None
    name: str = "mAP"
    figure: str = "AP"
    counted: str = "boxes"

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise ConfigError(f"threshold is an IoU, above 0 up to 1, not {self.threshold}.")

    def entries(self, outputs: Any, targets: Any) -> Sequence[Any]:
        """What was found in every picture, and what is there; raises ConfigError where these are no boxes."""
        need_pycocotools()
        for each in (outputs, targets):
            if isinstance(each, str) or not isinstance(each, Sequence) or len(each) != len(outputs):
                raise ConfigError(
                    "mAP is of one dictionary of boxes per picture, and of one with what is there, not of"
                    f" {given(outputs)} and {given(targets)}."
                )
        found = [_plain(one, ("boxes", "labels", "scores"), "found") for one in outputs]
        there = [_plain(one, ("boxes", "labels"), "there") for one in targets]
        if any(math.isnan(number) for one in there for box in one["boxes"] for number in box):
            raise DataError("The boxes of a picture hold numbers that are none: leave such boxes out.")
        return list(zip(map(_nowhere, found), there))

    def points(self, entries: Sequence[Any]) -> Tensor | Rows:
        """Pictures are matched with their boxes once; what is drawn anew are the matches."""
        judge = self._judge(entries)
        classes, count = len(judge.params.catIds), len(entries)
        matches = [
            [judge.evalImgs[kind * count + picture] for kind in range(classes)] for picture in range(count)
        ]

        matched = Matched(matches, np.asarray(judge.params.recThrs))
        places = {id(one): picture for picture, one in enumerate(matches)}

        def precision(chosen: Sequence[Any]) -> float:
            return _mean(matched.precisions([places[id(one)] for one in chosen]), 0.0)

        return Rows(matches, precision)

    def by_class(self, entries: Sequence[Any]) -> Sequence[ClassFigure]:
        """AP of every class, over all pictures; NaN of one that is found and not there."""
        judge = self._judge(entries)
        there = Counter(int(label) for _, one in entries for label in one["labels"])
        values = np.moveaxis(_precisions(judge), 2, 0)
        labels = [int(label) for label in judge.params.catIds]
        return [
            ClassFigure(label, _mean(value, math.nan), there[label]) for label, value in zip(labels, values)
        ]

    def _judge(self, entries: Sequence[Any]) -> Any:
        """COCO's evaluation with the boxes of every picture matched."""
        from pycocotools.cocoeval import COCOeval

        with contextlib.redirect_stdout(io.StringIO()):
            judge = COCOeval(_coco(entries, found=False), _coco(entries, found=True), "bbox")
            judge.params.areaRng, judge.params.areaRngLbl = (
                judge.params.areaRng[:1],
                judge.params.areaRngLbl[:1],
            )
            if self.threshold is not None:
                judge.params.iouThrs = judge.params.iouThrs[:1] * 0 + self.threshold
            judge.evaluate()
        return judge


def _precisions(judge: Any) -> NDArray[np.float64]:
    """Precision by threshold, recall and class, (thresholds, recalls, classes); -1 where a class is not
    there.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        judge.accumulate()
    found: NDArray[np.float64] = judge.eval["precision"][..., 0, -1]
    return found


def _mean(precisions: NDArray[np.float64], nothing: float) -> float:
    """Mean precision [percent] of what is there; `nothing` where nothing is."""
    there = precisions[precisions > -1]
    return 100.0 * float(there.mean()) if there.size else nothing


def need_pycocotools() -> None:
    """Raises MissingExtraError unless pycocotools is installed."""
    try:
        import pycocotools  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "mAP is worked out by pycocotools, which is the extra 'detection': pip install"
            " 'prunus[detection]'."
        ) from error


def _plain(boxes: Any, keys: Sequence[str], which: str) -> dict[str, Any]:
    """Boxes as lists; raises ConfigError for what is none."""
    if not isinstance(boxes, Mapping) or not set(keys) <= set(boxes):
        what = "as torchvision's detectors return them in eval mode" if which == "found" else "in its targets"
        raise ConfigError(
            f"mAP needs {', '.join(keys[:-1])} and {keys[-1]} of every picture, {what}, not {given(boxes)}."
        )
    plain = {}
    for key in keys:
        try:
            plain[key] = torch.as_tensor(boxes[key]).detach().cpu().double()
        except (TypeError, ValueError, RuntimeError):
            raise ConfigError(f"The {key} of a picture must be numbers, not {given(boxes[key])}.") from None
    count = len(plain["labels"]) if plain["labels"].dim() else -1
    shapes = {"boxes": (count, 4), "labels": (count,), "scores": (count,)}
    plain["boxes"] = plain["boxes"] if plain["boxes"].numel() else plain["boxes"].reshape(-1, 4)
    for key, numbers in plain.items():
        if tuple(numbers.shape) != shapes[key]:
            raise ConfigError(
                f"Boxes of a picture are of shape (boxes, 4), their labels and scores (boxes,), not {key} of"
                f" {tuple(numbers.shape)} beside labels of {tuple(plain['labels'].shape)}."
            )
    return {key: numbers.tolist() for key, numbers in plain.items()}


def _nowhere(found: dict[str, Any]) -> dict[str, Any]:
    """Boxes that are found with numbers that are none match nothing; in COCO's code they match everything."""
    boxes = [box if all(map(math.isfinite, box)) else _NOWHERE for box in found["boxes"]]
    scores = [score if not math.isnan(score) else -math.inf for score in found["scores"]]
    return {**found, "boxes": boxes, "scores": scores}


def _coco(entries: Sequence[Any], found: bool) -> Any:
    """Boxes in COCO's own form."""
    from pycocotools.coco import COCO

    labels = sorted({int(label) for entry in entries for one in entry for label in one["labels"]})
    annotations: list[dict[str, Any]] = []
    for picture, entry in enumerate(entries, 1):
        one = entry[0] if found else entry[1]
        for place, ((left, top, right, bottom), label) in enumerate(zip(one["boxes"], one["labels"])):
            width, height = right - left, bottom - top
            row = {
                "id": len(annotations) + 1,
                "image_id": picture,
                "category_id": int(label),
                "bbox": [left, top, width, height],
            }
            row |= {"area": width * height, "iscrowd": 0} | ({"score": one["scores"][place]} if found else {})
            annotations.append(row)
    result = COCO()
    result.dataset = {
        "images": [{"id": picture} for picture in range(1, len(entries) + 1)],
        "categories": [{"id": label} for label in labels],
        "annotations": annotations,
    }
    result.createIndex()
    return result
