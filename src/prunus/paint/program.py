"""What a forward calls, and in what order, without its paint: enough to see whether two forwards of a model
are the same, and quick.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prunus.paint.call import Tensors
from prunus.paint.model_copy import tensors_in_modules
from prunus.paint.painter import LARGEST_CONSTANT, Operator, Painter
from prunus.paint.records import Record, Where

_NOWHERE = Where("", 0)


@dataclass
class Listener(Painter):  # type: ignore[no-untyped-call]
    """A painter that keeps the operators and their operands, and paints nothing."""

    def _apply(
        self, operator: Operator, func: Any, args: Any, kwargs: Any, tensors: Tensors, outputs: Tensors
    ) -> None:
        fixed = not operator.random and all(map(self.is_fixed, tensors))
        for tensor in outputs:
            (self._fixed.add if fixed else self._fixed.discard)(id(tensor))
        self._keep(operator.name, func, args, kwargs, tensors, outputs)

    def _create(self, operator: Operator, func: Any, args: Any, kwargs: Any) -> Tensor:
        result: Tensor = func(*args, **{**kwargs, "device": torch.device("meta")})
        if not operator.random and result.numel():
            self._fixed.add(id(result))
            if result.numel() <= LARGEST_CONSTANT and operator.name != "empty":
                self.know(result, func(*args, **{**kwargs, "device": torch.device("cpu")}))
        self._keep(operator.name, func, args, kwargs, (), (result,))
        return result

    def _keep(
        self, operator: str, func: Any, args: Any, kwargs: Any, tensors: Tensors, outputs: Tensors
    ) -> None:
        self.records.append(
            Record(operator, "", _NOWHERE, func, tuple(args), kwargs, tensors, (), outputs, (), ())
        )


@dataclass(frozen=True, eq=False)
class Program:
    """The operators of one forward, what it returned, and the names of the parameters and buffers that it may
    have read.
    """

    records: Sequence[Record]
    outputs: Sequence[Tensor]
    names: Mapping[int, str]  # by `id` of the tensor

    @property
    def read(self) -> Iterator[str]:
        """The names of those that it did read."""
        used = {id(tensor) for record in self.records for tensor in record.tensors}
        return (name for key, name in self.names.items() if key in used)


def program_of(records: Sequence[Record], outputs: Iterable[Tensor], modules: Mapping[str, Any]) -> Program:
    """The program of a forward of these modules."""
    return Program(
        records,
        tuple(outputs),
        {id(tensor): name for name, tensor in tensors_in_modules(dict(modules)).items()},
    )


def same_program(first: Program, second: Program) -> bool:
    """Whether two forwards call the same operators on the same values and return the same, whatever batch
    norms take their statistics from.
    """
    return _lines(first) == _lines(second)


def _lines(program: Program) -> list[str]:
    """One line per operator, and one for what is returned, in which a tensor is what made it."""
    counters = {key for key, name in program.names.items() if name.endswith("num_batches_tracked")}
    made: dict[int, str] = dict(program.names)

    def said(value: Any) -> str:
        if isinstance(value, Tensor):
            return made.setdefault(id(value), f"given {len(made)}")
        if isinstance(value, (list, tuple)):
            return f"[{', '.join(map(said, value))}]"
        return repr(value)

    lines: list[str] = []
    for record in program.records:
        if not counters.isdisjoint(map(id, record.tensors)):
            continue
        if "batch_norm" in record.operator:
            lines.append(f"batch_norm {said(record.tensors)}")
        else:
            lines.append(
                f"{record.operator} {said(record.args)}"
                f" {sorted((key, said(value)) for key, value in record.kwargs.items())}"
            )
        made.update(
            (id(tensor), f"{len(lines)}:{place}")
            for place, tensor in enumerate(record.outputs)
            if id(tensor) not in program.names
        )
    return [*lines, said(program.outputs)]
