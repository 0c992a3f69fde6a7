"""How good two networks are at every class of the test samples: a part of `result.json`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from prunus.tasks import ClassFigure, Task


def panel(task: Task | None, before: nn.Module | None, after: nn.Module) -> dict[str, Any] | None:
    """The metric class by class of two networks, or of one where there was none before; None where the metric
    knows no classes, or there are no test samples.
    """
    judge = task.by_class if task is not None else None
    if task is None or judge is None or task.test is None:
        return None
    sides = {
        side: {one.label: one for one in judge.by_class(task.entries(network))}
        for side, network in (("before", before), ("after", after))
        if network is not None
    }
    labels = sorted({label for side in sides.values() for label in side})
    names = names_of(labels, task.classes)
    rows = [
        {
            "label": label,
            "name": name,
            "there": max(side[label].there for side in sides.values() if label in side),
            "before": _value(sides.get("before", {}).get(label)),
            "after": _value(sides["after"].get(label)),
        }
        for label, name in zip(labels, names)
    ]
    return {"figure": judge.figure, "counted": judge.counted, "rows": rows}


def names_of(labels: Sequence[int], classes: Sequence[str]) -> list[str]:
    """What labels are called: their numbers, unless every one of them has a name."""
    named = all(0 <= label < len(classes) for label in labels)
    return [classes[label] if named else str(label) for label in labels]


def _value(found: ClassFigure | None) -> float | None:
    return None if found is None or math.isnan(found.value) else round(found.value, 4)
