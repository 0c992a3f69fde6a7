"""Whether a traced module computes what its model does on other inputs than the example's: in other batches,
and of other sizes.

torch.export writes down what a forward makes of sizes in Python (`math.sqrt(h * w)`, `float(len(x))`, a
condition), and nothing in the graph says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from prunus._foundation.agreement import difference, rounding
from prunus._foundation.seeds import seeded
from prunus.paint.inputs import map_tensors, tensors_in
from prunus.paint.model_copy import named_tensors
from prunus.surgery.traced.example import Batch, Inputs, drawn

BATCH, SIZE = "batch", "size"


@dataclass(eq=False)
class _Probe:
    """Inputs that are other than the example's in some ways, and what the model gives on them, once it is
    known.
    """

    ways: frozenset[str]
    inputs: Inputs
    expected: list[list[Tensor] | None] = field(default_factory=list)


class Elsewhere:
    """Other inputs of a model, on which traced modules are compared with it.

    Args:
        source: the model, in eval mode.
        inputs: the example's.
        batch: what first axes share; None where the model takes no other batch.
        larger: inputs of another size that the model takes, or None.
    """

    def __init__(self, source: nn.Module, inputs: Inputs, batch: Batch | None, larger: Inputs | None) -> None:
        self.source, self.batch, self.device = source, batch, device_of(source)
        self.example = _Probe(frozenset(), self._drawn(inputs))
        sizes = [] if larger is None else [_Probe(frozenset({SIZE}), self._drawn(larger))]
        batches: list[_Probe] = []
        if batch is not None:
            one, three = 1 if batch.size != 1 else 2, 3 if batch.size != 3 else 2
            batches = [
                _Probe(frozenset({BATCH, SIZE}), self._drawn(batch.resized(probe.inputs, three, _of_shape)))
                for probe in sizes
            ]
            batches += [
                _Probe(frozenset({BATCH}), self._drawn(batch.resized(inputs, length, _of_shape)))
                for length in (one, three)
            ]
        self.probes = [*batches, *sizes]

    def ties(self, traced: nn.Module) -> frozenset[str]:
        """In which ways other inputs give something else than the model does; none of them where a traced
        module follows its model.
        """
        if all(
            self._same(traced, probe) for probe in self.probes[:2]
        ):  # both ways at once, and a batch of one
            return frozenset()
        failed = [probe.ways for probe in self.probes if not self._same(traced, probe)]
        return frozenset().union(*([ways for ways in failed if len(ways) == 1] or failed))

    def fits(self, traced: nn.Module) -> bool:
        """Whether a traced module computes what the model does on inputs of the example's shapes."""
        return self._same(traced, self.example)

    def lengths(self, ties: frozenset[str]) -> tuple[tuple[int | None, ...], ...]:
        """For every input that is a tensor, its length along axes in which a traced module with these ties is
        the example's, elsewhere None.
        """
        shapes = [
            [tensor.shape for tensor in tensors_in(probe.inputs)]
            for probe in self.probes
            if probe.ways <= ties
        ]
        own = [tensor.shape for tensor in tensors_in(self.example.inputs)]
        return tuple(
            tuple(
                n if any(other[place][axis] != n for other in shapes) else None
                for axis, n in enumerate(shape)
            )
            for place, shape in enumerate(own)
        )

    def _same(self, traced: nn.Module, probe: _Probe) -> bool:
        if not probe.expected:
            probe.expected.append(_outputs(self.source, probe.inputs))
        expected = probe.expected[0]
        if expected is None:
            return True
        found = _outputs(traced, probe.inputs)
        if found is None or [t.shape for t in found] != [t.shape for t in expected]:
            return False
        if self.device.type == "meta" or not all(bool(t.isfinite().all()) for t in expected):
            return True
        return difference(expected, found).relative <= rounding(dtype_of(self.source))

    def _drawn(self, inputs: Inputs) -> Inputs:
        changed: Inputs = map_tensors(inputs, lambda tensor: drawn(tensor, list(tensor.shape), self.device))
        return changed


def _of_shape(tensor: Tensor, shape: list[int]) -> Tensor:
    return torch.empty(shape, dtype=tensor.dtype, device="meta")


def _outputs(model: nn.Module, inputs: Inputs) -> list[Tensor] | None:
    args, kwargs = inputs
    try:
        with torch.no_grad(), seeded():
            return list(tensors_in(model(*args, **kwargs)))
    except Exception:  # a forward that does not take such inputs raises what it likes
        return None


def device_of(model: nn.Module) -> torch.device:
    """Where the tensors of a model are."""
    return next((tensor.device for tensor in named_tensors(model).values()), torch.device("cpu"))


def dtype_of(model: nn.Module) -> torch.dtype:
    """The type of a model's parameters."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


__all__ = ["BATCH", "SIZE", "Elsewhere", "device_of", "dtype_of"]
