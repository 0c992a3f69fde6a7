"""Tasks that a user names, and parts of any task."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch

from prunus._foundation.arguments import checked
from prunus._foundation.extensions import Extension, added
from prunus._foundation.factories import call, called, taken
from prunus.data.catalogue import names
from prunus.data.sets import Split
from prunus.errors import ConfigError, DataError
from prunus.segmentation.patches import Patches
from prunus.tasks.batches import size_of
from prunus.tasks.pictures import Pictures
from prunus.tasks.samples import Samples
from prunus.tasks.task import Task

MAKES = "makes the task"


@checked()
def named_task(name: str, given: Mapping[str, Any] | None = None) -> Task:
    """The task that a function makes: of the user's, `package.module:function`, found on the Python path or
    in the current directory, or of another package, by the name that it adds.

    Args:
        name: of the function, or one that a package adds.
        given: values by name; the function gets those that it has parameters for.

    Raises:
        DataError: the module cannot be imported, has no such function, or the function fails or returns
            something else than a `Task`; or whatever its task cannot be.
    """
    asked = parameters(name, list(given or {}))
    options = {key: value for key, value in (given or {}).items() if key in asked}
    one = added_task(name)
    found = (
        called(name, options, MAKES, DataError) if one is None else call(name, one.load(), options, DataError)
    )
    if not isinstance(found, Task):
        raise DataError(f"{name!r} returned {_kind(found)}: expected a prunus.Task.")
    return replace(found, name=name) if found.name == "data" else found


def added_task(name: str) -> Extension | None:
    """The task that another package adds under a name; None where none does."""
    return None if ":" in name else added("prunus.tasks", names()).get(name)


def parameters(name: str, words: Collection[str]) -> set[str]:
    """Which of some words a function that makes a task has as parameters; errors: those of `named_task`."""
    one = added_task(name)
    if one is None:
        return taken(name, words, MAKES, DataError)
    try:
        return set(words) & set(inspect.signature(one.load()).parameters)
    except (TypeError, ValueError):  # built into Python, without a signature
        return set()


@dataclass(frozen=True, eq=False)
class First:
    """The first batches of others, as many as hold so many samples."""

    batches: Iterable[Any]
    length: int

    @property
    def __wrapped__(self) -> Any:
        """Whose generators and workers these are."""
        return self.batches

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.batches), self.length)


@checked(ConfigError)
def limited(task: Task, samples: int, seed: int = 0) -> Task:
    """The same task with so many samples (of pictures with masks: pictures) of every part at most, drawn by
    chance; of batches the first. Those to report on are the same for every seed.

    Raises ConfigError where that is less than one.
    """
    if samples < 1:
        raise ConfigError(f"A part can be limited to 1 sample at least, not to {samples}.")
    return replace(
        task,
        **{part: _limited(getattr(task, part), samples, seed) for part in ("train", "validation")},
        test=_limited(task.test, samples, 0),
    )


def _limited(part: Any, samples: int, seed: int) -> Any:
    if part is None:
        return None
    if isinstance(part, (Split, Samples, Pictures, Patches)):
        count = _count(part)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:samples]
        return part if count <= samples else part.subset(order.sort().values)
    seen = batches = 0
    for batch in part:
        if seen >= samples:
            return First(part, batches)
        seen, batches = seen + size_of(batch), batches + 1
    return part


def _count(part: Split | Samples | Pictures | Patches) -> int:
    if isinstance(part, Patches):
        return part.pictures
    return part.count if isinstance(part, Samples) else len(part)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
