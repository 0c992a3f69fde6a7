"""What a model is exported with: inputs like the example's in other batches and sizes, and whether the model
takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prunus.errors import TraceError
from prunus.paint.forward import run
from prunus.paint.inputs import map_tensors, tensors_in
from prunus.paint.model_copy import meta_twin
from prunus.paint.painter import Painter

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
PRIME = 251  # inputs in a batch: a number that hardly any size is a multiple of
_FEW = 64  # operators that a larger batch may add


@dataclass(frozen=True)
class Batch:
    """The length that first axes of inputs share, and which inputs have it."""

    size: int
    has: tuple[bool, ...]

    def resized(self, inputs: Inputs, size: int, blank: Callable[[Tensor, list[int]], Tensor]) -> Inputs:
        """The inputs in a batch of another size; `blank` makes a tensor like another one,
        of another shape.
        """
        having = iter(self.has)
        changed: Inputs = map_tensors(
            inputs, lambda t: blank(t, [size, *t.shape[1:]] if next(having) else list(t.shape))
        )
        return changed


def batch_of(model: nn.Module, inputs: Inputs, size: int = PRIME, most: int | None = None) -> Batch | None:
    """The batch of the inputs, if the model takes `size` of them in not many more than `most` operators; else
    None.

    Inputs with one axis may be numbers per sample or not: they are in the batch if the model takes that.
    """
    tensors = list(tensors_in(inputs))
    lengths = {int(tensor.shape[0]) for tensor in tensors if tensor.dim() > 1}
    if len(lengths) != 1 or 0 in lengths:
        return None
    (own,) = lengths
    for least in (1, 2):
        batch = Batch(own, tuple(tensor.dim() >= least and tensor.shape[0] == own for tensor in tensors))
        if _runs(model, batch.resized(inputs, size, _on_meta), None if most is None else most + _FEW):
            return batch
    return None


def larger_inputs(model: nn.Module, inputs: Inputs) -> Inputs | None:
    """Larger images, or longer sequences, that the model takes; None if it takes none.

    Tried on meta tensors, because making sizes symbolic that are not costs torch.export much time.
    """

    def images(tensor: Tensor, steps: tuple[int, ...]) -> Tensor:
        spatial = dict(zip(range(2, tensor.dim()), steps))
        return _on_meta(tensor, [n + spatial.get(axis, 0) for axis, n in enumerate(tensor.shape)])

    def sequences(tensor: Tensor) -> Tensor:
        longer = tensor.dim() == 3 or (tensor.dim() == 2 and not tensor.is_floating_point())
        return _on_meta(tensor, [n + 8 if longer and axis == 1 else n for axis, n in enumerate(tensor.shape)])

    for change in (lambda t: images(t, (32, 64, 64)), lambda t: images(t, (32, 32, 32)), sequences):
        larger: Inputs = map_tensors(inputs, change)
        if [t.shape for t in tensors_in(larger)] != [t.shape for t in tensors_in(inputs)] and _runs(
            model, larger
        ):
            return larger
    return None


@dataclass
class _Limited(Painter):  # type: ignore[no-untyped-call]
    """A painter that gives up after so many operators."""

    most: int | None = None

    def on_record(self) -> None:
        if self.most is not None and len(self.records) > self.most:
            raise TraceError("The forward calls more operators on a larger batch.")


def _runs(model: nn.Module, inputs: Inputs, most: int | None = None) -> bool:
    try:
        run(_Limited(most=most), meta_twin(model), *inputs)
    except TraceError:
        return False
    return True


def _on_meta(tensor: Tensor, shape: list[int]) -> Tensor:
    return torch.empty(shape, dtype=tensor.dtype, device="meta")


def of_batch_two(inputs: Inputs) -> Inputs:
    """First axes of length one become two, as torch.export would take a one for a constant."""
    changed: Inputs = map_tensors(
        inputs, lambda t: _on_meta(t, [2 if n == 1 and axis == 0 else n for axis, n in enumerate(t.shape)])
    )
    return changed


def drawn(tensor: Tensor, shape: list[int], device: torch.device) -> Tensor:
    """Random numbers, or zeros where they are whole, of a tensor's type."""
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex:
        wide = torch.complex64 if tensor.dtype.is_complex else torch.float32
        return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=wide).to(
            device, tensor.dtype
        )
    return torch.zeros(shape, dtype=tensor.dtype, device=device)


def unset(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor whose numbers nobody reads: no memory is touched for it."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)


__all__ = ["PRIME", "Batch", "Inputs", "batch_of", "drawn", "larger_inputs", "of_batch_two", "unset"]
