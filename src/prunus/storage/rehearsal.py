"""A traced graph, run once on tensors without data: its shapes fit, and nothing in it is out of proportion to
what goes in.

On inputs like those that the model was made with, no value has more than `LEAST_ROOM` + `GROWTH` x (numbers
in the file's tensors + numbers in the inputs, of which at most `MOST_INPUTS` count), and all values together
at most `TOGETHER` times as many.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx import _pytree as fx_pytree
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from prunus.errors import FileFormatError, PlanError, clause
from prunus.paint.inputs import tensors_in
from prunus.plans.described import rebuild_inputs
from prunus.plans.resolve import in_types_of
from prunus.surgery.traced.module import TracedModule

LEAST_ROOM = 1 << 26
GROWTH = 256
MOST_INPUTS = 1 << 22
TOGETHER = 16
_MOST_PIECES = 1 << 12
_CALLS_PER_NODE, _LEAST_CALLS = 64, 1 << 14
_INTO_PIECES = {
    torch.ops.aten.unbind.int: 1,
    torch.ops.aten.split.Tensor: 2,
    torch.ops.aten.unsafe_split.Tensor: 2,
}  # to the place of their axis


def rehearse(model: TracedModule, inputs: str) -> None:
    """Run a model whose tensors are on the meta device; raises FileFormatError, naming the node, where it
    cannot be run or asks for too much.

    Args:
        model: traced, on meta.
        inputs: what it is called with, as in a plan.
    """
    try:
        arguments = rebuild_inputs(inputs)
    except PlanError as error:
        raise FileFormatError(
            f"The traced model does not say what it is called with ({clause(error)})."
        ) from error
    numbers = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    room = LEAST_ROOM + GROWTH * (
        numbers + min(MOST_INPUTS, sum(tensor.numel() for tensor in tensors_in(arguments)))
    )
    problem: Exception | None = None
    for given in in_types_of(model, arguments):
        runner = _Runner(model, room)
        try:
            with torch.no_grad(), runner.measure:
                runner.run(*_leaves(model, given), enable_io_processing=False)
            return
        except FileFormatError:
            raise
        except Exception as caught:  # operators raise errors of many kinds
            problem, failed = caught, runner.at
    assert problem is not None
    raise FileFormatError(
        f"The traced graph cannot be run on inputs like those of its plan: {failed} fails"
        f" ({type(problem).__name__}: {_first_line(problem)})."
    ) from problem


def _first_line(error: Exception) -> str:
    """What an operator says, without torch.fx's own account of where."""
    return clause(Exception((str(error).strip() or type(error).__name__).splitlines()[0]))[:300]


def _leaves(model: TracedModule, arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> list[Any]:
    """What the placeholders get, in their order."""
    spec = model.graph._codegen.pytree_info.in_spec  # type: ignore[attr-defined]
    try:
        return list(fx_pytree.tree_flatten_spec(arguments, spec))
    except Exception:  # a container that has another type in the plan
        return pytree.tree_leaves(arguments)


class _Runner(fx.Interpreter):
    """Runs a graph node by node, and knows where it is."""

    def __init__(self, model: TracedModule, room: int) -> None:
        super().__init__(model, graph=model.graph)
        self.at = "its first node"
        self.measure = _Measure(room, _LEAST_CALLS + _CALLS_PER_NODE * len(model.graph.nodes))

    def run_node(self, n: fx.Node) -> Any:
        self.at = self.measure.at = f"{n.name} ({n.target})"
        return super().run_node(n)


class _Measure(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps everything on the meta device and adds up the numbers that are made; raises FileFormatError
    beyond the room there is.
    """

    def __init__(self, room: int, calls: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.room, self.calls, self.left, self.at = room, calls, TOGETHER * room, ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        self.calls -= 1
        if self.calls < 0 or (func in _INTO_PIECES and _pieces(func, args, kwargs) > _MOST_PIECES):
            raise FileFormatError(f"The traced graph takes too many steps or pieces at {self.at}.")
        if any(argument.name == "device" for argument in func._schema.arguments):
            kwargs["device"] = torch.device("meta")
        result = func(*args, **kwargs)
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor):
                self._add(math.prod(tensor.shape))
        return result

    def _add(self, numbers: int) -> None:
        self.left -= numbers
        if numbers > self.room or self.left < 0:
            raise FileFormatError(
                f"The traced graph makes {numbers:,} numbers at {self.at}, out of proportion to its tensors"
                f" and inputs (at most {self.room:,} at once and {TOGETHER * self.room:,} together)."
            )


def _pieces(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Into how many tensors an operator cuts one."""
    place = _INTO_PIECES[func]
    dim = args[place] if len(args) > place else kwargs.get("dim", 0)
    size = 1 if place == 1 else args[1] if len(args) > 1 else kwargs.get("split_size", 1)
    shape = args[0].shape
    return int(shape[dim]) // max(1, int(size)) if shape else 1


__all__ = ["rehearse"]
