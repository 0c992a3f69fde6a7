"""Average precision of boxes that are matched already, on pictures that are drawn anew: what COCO's code
accumulates (Lin et al. 2014, arXiv 1405.0312), for all thresholds at once, since a bound of the metric needs
hundreds of draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Match = Mapping[str, Any] | None
"""What COCO's code says of a class in a picture, None where there is nothing of it."""


@dataclass(frozen=True, eq=False)
class _OfClass:
    """The boxes that were found of a class in all pictures, from the highest score to the lowest.

    Attributes:
        pictures: in which each was found, (boxes,).
        right, wrong: whether each matches one that is there, (thresholds, boxes); neither is, if it does not
            count.
        there: boxes that are there to be found, (pictures,).
    """

    pictures: NDArray[np.int64]
    right: Floats
    wrong: Floats
    there: NDArray[np.int64]


class Matched:
    """The matches of all pictures.

    Args:
        matches: picture by picture, and class by class.
        recalls: at which precision is read, rising.
    """

    def __init__(self, matches: Sequence[Sequence[Match]], recalls: Floats) -> None:
        self._count, self._recalls = len(matches), recalls
        self._classes = [_gathered(of_class) for of_class in zip(*matches)]

    def precisions(self, chosen: Sequence[int]) -> Floats:
        """Precision on some of the pictures, each as often as it is chosen, (thresholds, recalls, classes);
        classes that are not there are left out. Boxes of one score have the order of all pictures.
        """
        times = np.bincount(np.asarray(chosen, dtype=np.int64), minlength=self._count)
        found = [self._precision(one, times) for one in self._classes if one is not None]
        there = [one for one in found if one is not None]
        return np.stack(there, axis=-1) if there else np.empty(0)

    def _precision(self, boxes: _OfClass, times: NDArray[np.int64]) -> Floats | None:
        wanted = int(boxes.there @ times)
        if not wanted:
            return None
        weights = times[boxes.pictures].astype(np.float64)
        right, wrong = np.cumsum(boxes.right * weights, axis=1), np.cumsum(boxes.wrong * weights, axis=1)
        precision = right / (right + wrong + np.spacing(1))
        # what is reached at a recall, or at any higher one
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        padded = np.concatenate([best, np.zeros((len(best), 1))], axis=1)
        places = [np.searchsorted(row, self._recalls, side="left") for row in right / wanted]
        return np.take_along_axis(padded, np.array(places), axis=1)


def _gathered(matches: Sequence[Match]) -> _OfClass | None:
    """Of one class; None where no picture has anything of it."""
    known = [(picture, one) for picture, one in enumerate(matches) if one is not None]
    if not known:
        return None
    scores = np.concatenate([one["dtScores"] for _, one in known])
    order = np.argsort(-scores, kind="mergesort")
    pictures = np.concatenate([np.full(len(one["dtScores"]), picture) for picture, one in known])
    matched = np.concatenate([one["dtMatches"] for _, one in known], axis=1)[:, order] != 0
    ignored = np.concatenate([one["dtIgnore"] for _, one in known], axis=1)[:, order] != 0
    there = np.zeros(len(matches), dtype=np.int64)
    for picture, one in known:
        there[picture] = np.count_nonzero(np.asarray(one["gtIgnore"]) == 0)
    return _OfClass(
        pictures[order].astype(np.int64),
        (matched & ~ignored).astype(np.float64),
        (~matched & ~ignored).astype(np.float64),
        there,
    )
