"""What a task holds, in one line: said before work begins, so that nobody waits for a network that was
trained on something else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from prunus._foundation.wording import PERCENT
from prunus.paint.nests import tensors_in
from prunus.tasks.metrics import Accuracy, as_metric, in_percent
from prunus.training.calls import samples_of

if TYPE_CHECKING:
    from prunus.tasks.task import Part, Task
    from prunus.training import Normalise

MOST_NAMES = 4


def in_words(task: Task) -> str:
    """Such as: digits: 10 classes (0, 1, 2, 3 …), 1,294 samples to train on, 144 to choose by, 355 to report
    on, one of 1×8×8; top-1 accuracy.
    """
    counts = [f"{task.count(part):,} {purpose}" for part, purpose in _parts(task)]
    counts[0] = counts[0].replace(" ", f" {task.kind('train')} ", 1)
    shape = _shape(task)
    return (
        f"{task.name}: {', '.join([*_classes(task), *counts])}{f', one of {shape}' if shape else ''};"
        f" {task.metric_name}."
    )


def record_of(task: Task) -> dict[str, Any]:
    """What a result says of its data: their name, how many there are, and how their planes are normalised."""
    scale = normalisation_of(task)
    counts = {
        "train": task.count("train"),
        "validation": task.count("validation"),
        "test": task.count("test"),
    }
    planes = {"mean": list(scale[0]), "std": list(scale[1])} if scale else {}
    block = getattr(task, "block", 1)  # of pictures
    blocks = {"block": block} if block > 1 else {}
    classes = {"classes": list(task.classes)} if task.classes else {}
    return {"name": task.name} | counts | planes | classes | blocks


def metric_text(task: Task) -> str:
    """The metric, with its unit where that is known, as results have it."""
    return (
        f"{task.metric_name}{PERCENT}"
        if in_percent(as_metric(task.metric or Accuracy()))
        else task.metric_name
    )


def reported_on(task: Task) -> int:
    """How many samples are reported on, in however many batches; these are read for it."""
    if task.kind("test") != "batches":
        return task.count("test")
    return sum(samples_of(inputs, targets) for inputs, targets in task.batches("test"))


def normalisation_of(task: Task) -> Normalise | None:
    """(mean, std) of the planes: the task's, or that of pictures, which know their own; None where inputs are
    taken as they are.
    """
    found: Normalise | None = task.normalise or getattr(task.test, "normalise", None)
    return found


def _parts(task: Task) -> list[tuple[Part, str]]:
    purposes = {"train": "to train on", "validation": "to choose by", "test": "to report on"}
    return [
        (cast("Part", part), purpose) for part, purpose in purposes.items() if getattr(task, part) is not None
    ]


def _classes(task: Task) -> list[str]:
    if not task.classes:
        return []
    names = ", ".join(task.classes[:MOST_NAMES]) + (" …" if len(task.classes) > MOST_NAMES else "")
    return [f"{len(task.classes)} class{'es' if len(task.classes) != 1 else ''} ({names})"]


def _shape(task: Task) -> str:
    """Of one input, without the axis of the samples."""
    inputs: Any = task.example_inputs()
    found = [tuple(tensor.shape) for tensor in tensors_in(inputs)]
    return " and ".join("×".join(map(str, shape[1:] if len(shape) > 1 else shape)) for shape in found)
