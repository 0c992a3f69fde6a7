"""What a training was begun with, as a checkpoint holds it: who resumes it with something else is told."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from prunus._foundation.made import begun_by, described, name_of, plain
from prunus.data.sets import Split
from prunus.paint.nests import tensors_in
from prunus.storage.digest import digest
from prunus.training.feeding import Normalise

# of an optimiser: the rate comes from the schedule, and these say how fast it computes the same
_APART = frozenset("lr foreach fused capturable differentiable".split())


def origin(
    data: Any,
    normalise: Normalise | None,
    loss: Any,
    optimizer: Optimizer,
    parts: Mapping[str, Any],
    judge: Any = None,
) -> dict[str, Any]:
    """What decides about the weights besides the settings of the training, in plain numbers and texts.

    Args:
        data: samples or batches; their content counts where it lies in memory.
        normalise: see `prunus.training.train`.
        loss: of one's own, or None.
        optimizer: what steps.
        parts: the curriculum and the pruning.
        judge: what the best epoch is told by; None where it is not asked for.
    """
    numbers = {name: value for name, value in optimizer.defaults.items() if name not in _APART}
    return {
        "data": contents(data),
        "normalise": None if normalise is None else [[float(one) for one in part] for part in normalise],
        "loss": _loss(loss),
        "optimizer": {"kind": type(optimizer).__name__, **plain(numbers)},
        "validation": contents(judge),
        "method": begun_by(),
        **{name: described(part) for name, part in parts.items()},
    }


def contents(data: Any) -> str | None:
    """A checksum of samples or batches that lie in memory; None of what is made as it is asked for."""
    held = _held(inspect.unwrap(data))
    return (
        digest({str(place): tensor.detach().cpu() for place, tensor in enumerate(held)}, {}) if held else None
    )


def _held(data: Any) -> list[Tensor]:
    if isinstance(data, (Split, list, tuple)):
        return list(tensors_in(_pair(data)))
    if dataclasses.is_dataclass(data):
        values = [getattr(data, field.name) for field in dataclasses.fields(data)]
        return [value for value in values if isinstance(value, Tensor)]
    tensors = getattr(getattr(data, "dataset", None), "tensors", ())  # of a loader
    return [one for one in tensors if isinstance(one, Tensor)]


def _pair(data: Any) -> Any:
    return (data.images, data.labels) if isinstance(data, Split) else data


def _loss(loss: Any) -> Any:
    """What a loss is called, and the constants that torch knows of a module."""
    if loss is None:
        return "cross-entropy"
    loss = inspect.unwrap(loss)
    if not isinstance(loss, nn.Module):
        return plain(loss)
    constants = {name: plain(getattr(loss, name, None)) for name in getattr(loss, "__constants__", ())}
    return {"kind": name_of(loss), **constants}
