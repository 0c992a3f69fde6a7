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
from numpy.typing import NDArray
from torch import Tensor

from prunus._foundation.confidence import Rows
from prunus.errors import ConfigError, MissingExtraError
from prunus.tasks.metrics import ClassFigure

Boxes = Mapping[str, Tensor]
"""Of one picture: `boxes` (boxes, 4), x1 y1 x2 y2 in pixels; `labels` (boxes,); and, where they were found,
`scores` (boxes,).
"""


@dataclass(frozen=True)
class MeanAveragePrecision:
    """mAP over IoU thresholds from 0.5 to 0.95 [percent], as torchvision's detectors return boxes: a list
    with one dictionary per picture.

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

    def entries(self, outputs: Any, targets: Any) -> Sequence[Any]:
        """What was found in every picture, and what is there; raises ConfigError where these are no boxes."""
        need_pycocotools()
        if not isinstance(outputs, Sequence) or len(outputs) != len(targets):
            raise ConfigError(
                f"mAP is of one dictionary of boxes per picture, not of {type(outputs).__name__}."
            )
        for found in outputs:
            if not isinstance(found, Mapping) or not {"boxes", "labels", "scores"} <= set(found):
                raise ConfigError(
                    "mAP needs boxes, labels and scores of every picture, as torchvision's detectors return"
                    " them in eval mode."
                )
        return [(_plain(found), _plain(there)) for found, there in zip(outputs, targets)]

    def points(self, entries: Sequence[Any]) -> Tensor | Rows:
        """Pictures are matched with their boxes once; what is drawn anew are the matches."""
        judge = self._judge(entries)
        classes, count = len(judge.params.catIds), len(entries)
        matches = [
            [judge.evalImgs[kind * count + picture] for kind in range(classes)] for picture in range(count)
        ]

        def precision(chosen: Sequence[Any]) -> float:
            judge.evalImgs = [one[kind] for kind in range(classes) for one in chosen]
            judge.params.imgIds = list(range(1, len(chosen) + 1))
            judge._paramsEval.imgIds = judge.params.imgIds
            return _mean(_precisions(judge), 0.0)

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


def _plain(boxes: Boxes) -> dict[str, Any]:
    return {
        key: boxes[key].detach().cpu().double().tolist()
        for key in ("boxes", "labels", "scores")
        if key in boxes
    }


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
