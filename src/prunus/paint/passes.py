"""Forwards that are another from one pass to the next: by numbers that they draw from Python or NumPy, or by
a count that they keep.

What such a forward runs now and then, as a branch that is left out by chance, is painted with what it always
runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from prunus.paint.forward import run, tell_numbers
from prunus.paint.inputs import Arguments, tensors_in, to_meta
from prunus.paint.model_copy import Twin, tensors_in_modules
from prunus.paint.painter import Painter
from prunus.paint.program import Listener, Program, program_of
from prunus.paint.state import state_of

_PASSES = 8  # the chance that a coin always falls on one side is below one percent
_COUNTED = (bool, int, float)


def counts(twin: Twin) -> dict[tuple[str, str], Any]:
    """The numbers that modules keep, as attributes or in small buffers, by module and name; those of batch
    norms' passes change nothing.
    """
    attributes = {
        (path, name): value
        for path, values in state_of(twin.modules).items()
        for name, value in values.items()
        if type(value) in _COUNTED
    }
    buffers = {
        (path, name): buffer.item()
        for path, module in twin.modules.items()
        for name, buffer in module._buffers.items()
        if name != "num_batches_tracked" and buffer is not None and _is_count(buffer)
    }
    return attributes | buffers | {("", name): value.tolist() for name, value in twin.numbers.items()}


def listen(twin: Twin, inputs: Arguments, seed: int = 0) -> tuple[Program, bool]:
    """The operators that a forward calls on a twin, and whether the next forward may call others."""
    listener, tensors = Listener(seed=seed), tensors_in_modules(twin.modules)
    for tensor in tensors.values():
        listener.fix(tensor)
    outputs, varies = run_once(listener, twin, inputs, tensors)
    return program_of(listener.records, tensors_in(outputs), twin.modules), varies


def run_once(
    painter: Painter,
    twin: Twin,
    inputs: Arguments,
    tensors: Mapping[str, Tensor],
    watch: AbstractContextManager[Any] | None = None,
) -> tuple[Any, bool]:
    """What a forward returns, and whether the next one on the same twin may be another."""
    before = counts(twin)
    tell_numbers(painter, twin.numbers, tensors)
    args, kwargs = to_meta(inputs)
    outputs = run(painter, twin, args, kwargs, watch)
    _count_on(painter, twin, tensors)
    return outputs, painter.drew or counts(twin) != before


def _count_on(painter: Painter, twin: Twin, tensors: Mapping[str, Tensor]) -> None:
    """Let the next forward of a twin read what this one counted in small buffers of real numbers."""
    twin.numbers.update(
        {name: value for name in twin.numbers if (value := painter.value_of(tensors[name])) is not None}
    )


def passes(twin: Twin, inputs: Arguments) -> Iterator[Program]:
    """One forward after the other on one twin, each with numbers of its own, until they repeat themselves."""
    for count in range(_PASSES):
        program, varies = listen(twin, inputs, count)
        yield program
        if not varies:
            return


def _is_count(buffer: Tensor) -> bool:
    return (
        buffer.numel() == 1 and not buffer.is_meta and not (buffer.is_floating_point() or buffer.is_complex())
    )


__all__ = ["counts", "listen", "passes", "run_once"]
