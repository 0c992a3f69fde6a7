"""What one layer after another gets and makes, without running the network from its beginning each time.

Refitting asks a network for the inputs of every layer in turn, and what lies before that layer does not
change any more. So a module's output is kept once it is final, and stands in for the module from then on: the
work for all layers together grows like the network, not like its square.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, jit, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from prunus.compensation.users import above, around, users_of
from prunus.errors import PlanError
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs, as_arguments, called

_Seen = TypeVar("_Seen")
_SUMS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})
MOST_BYTES = 384 << 20  # of outputs that are kept; a module whose output does not fit is run again


class _SeenError(BaseException):
    """Ends a forward whose rest nobody needs; no Exception, so that nobody on the way
    takes it for a failure.
    """


class _Meeting(TorchFunctionMode):
    """Ends a forward where a tensor is added to another, which is kept in `other`."""

    def __init__(self) -> None:
        super().__init__()
        self.other: Tensor | None = None
        self._expected: Tensor | None = None

    def expect(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """A forward hook: its output is the tensor to wait for."""
        self._expected = output

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self._expected is not None and getattr(func, "__name__", "") in _SUMS and not kwargs:
            others = [one for one in args if one is not self._expected]
            if len(args) == 2 and len(others) == 1 and isinstance(others[0], Tensor):
                self.other = others[0]
                raise _SeenError
        return func(*args, **(kwargs or {}))


@dataclass(eq=False)
class _Kept:
    """What a module made of one batch; `values` is False once nobody looks at more than its shape."""

    output: Tensor
    values: bool = True

    def bytes(self) -> int:
        return self.output.numel() * self.output.element_size() * self.values


class Resumed:
    """Runs a network up to a layer, again and again, for layers in the order in which they run.

    Between two calls only the layer that was asked for last and what runs after it may be changed.

    Args:
        model: in the mode in which it is to be run; the forwards of its modules are replaced, so give it a
            copy of your own.
        graph: of the model or of one that computes with the same modules.
        batch: any inputs; the network is run on them once, to count the calls of every module.
        most_bytes: memory for outputs.
    """

    def __init__(
        self, model: nn.Module, graph: ChannelGraph, batch: Inputs, most_bytes: int = MOST_BYTES
    ) -> None:
        self._model, self._most_bytes, self._bytes, self._number = model, most_bytes, 0, 0
        self._kept: dict[int, dict[str, _Kept]] = defaultdict(dict)
        # the shapes of what was made, kept or not
        self._ran: dict[int, dict[str, Tensor]] = defaultdict(dict)
        self._keeping = True  # what is made, until the layer that is asked for has run
        self._calls = _calls(model, batch)
        self._users = users_of(
            graph,
            lambda name: (
                self._calls[name] == 1 and not isinstance(model.get_submodule(name), jit.ScriptModule)
            ),
        )
        for name in self._users:
            module = model.get_submodule(name)
            module.forward = self._standing_in(name, module.forward)

    def upto(self, name: str, number: int, batch: Inputs) -> tuple[Tensor, Tensor]:
        """What a layer gets and makes on a batch, which is known by its number, in its first call; the rest
        of the network is not run.

        Raises PlanError if the layer does not run on this batch.
        """
        return self.every(name, number, batch)[0]

    def every(self, name: str, number: int, batch: Inputs) -> list[tuple[Tensor, Tensor]]:
        """The same, in each of its calls."""
        return self._run(name, None, number, batch)[0]

    def given(self, name: str, number: int, batch: Inputs) -> list[Tensor]:
        """What a layer gets on a batch, in each of its calls; the last of them is not run.

        Raises PlanError as `upto`.
        """

        def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._note(name, found, args[0] if args else kwargs["input"])

        found: list[Tensor] = []
        layer = self._model.get_submodule(name)
        self._forward(layer, [layer.register_forward_pre_hook(look, with_kwargs=True)], number, batch)
        return self._seen(name, found)

    def _note(self, name: str, found: list[_Seen], seen: _Seen) -> None:
        """Keep what a layer's hook saw, and end the forward after the last call. Nothing that runs after the
        first is final: the layer is about to be refitted.
        """
        found.append(seen)
        self._keeping = False
        if len(found) >= self._calls[name]:
            raise _SeenError

    def upto_sum(
        self, name: str, norm: str, number: int, batch: Inputs
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The same, and what the layer's output, or that of the norm behind it, is added to next; None
        if it is not added to anything.

        Raises PlanError as `upto`.
        """
        seen, other = self._run(name, norm or name, number, batch)
        return *seen[0], other

    def _run(
        self, name: str, summand: str | None, number: int, batch: Inputs
    ) -> tuple[list[tuple[Tensor, Tensor]], Tensor | None]:
        """Run up to a layer, or on to the sum that the output of the module `summand` goes into."""
        found: list[tuple[Tensor, Tensor]] = []
        meeting = _Meeting()

        def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
            seen = args[0] if args else kwargs["input"], output
            if summand is None:
                self._note(name, found, seen)
            else:
                found.append(seen)
                self._keeping = False

        layer = self._model.get_submodule(name)
        handles = [layer.register_forward_hook(look, with_kwargs=True)]
        if summand is not None:
            handles.append(self._model.get_submodule(summand).register_forward_hook(meeting.expect))
        with nullcontext() if summand is None else meeting:
            self._forward(layer, handles, number, batch)
        return self._seen(name, found), meeting.other

    def _forward(
        self, layer: nn.Module, handles: Sequence[RemovableHandle], number: int, batch: Inputs
    ) -> None:
        """Run the network until a hook has seen enough; the hooks are gone afterwards."""
        self._number, self._keeping = number, True
        # what the layer itself makes is not final: it is about to be refitted
        own = layer.__dict__.pop("forward", None)
        args, kwargs = as_arguments(batch)
        try:
            called(self._model, args, kwargs)
        except _SeenError:
            pass
        finally:
            for handle in handles:
                handle.remove()
            if own is not None:
                layer.forward = own

    def _seen(self, name: str, found: list[_Seen]) -> list[_Seen]:
        """What a layer's hook saw."""
        if found:
            return found
        raise PlanError(
            f"{name} did not run on the calibration inputs, but on the example inputs that the model was"
            " traced with."
        )

    def whole(self, number: int, batch: Inputs) -> Any:
        """What the network makes of a batch, which is known by its number. What changed meanwhile runs after
        the layer that was asked for last, or is it; nothing of it is kept.
        """
        self._number, self._keeping = number, False
        args, kwargs = as_arguments(batch)
        try:
            return called(self._model, args, kwargs)
        finally:
            self._keeping = True

    def forget(self) -> None:
        """Begin anew: every layer may be asked for, and changed."""
        self._kept.clear()
        self._ran.clear()
        self._bytes = 0

    def _standing_in(self, name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        """A module's forward that is run once per batch; what follows may work in place, so a copy is handed
        out.
        """

        def stand_in(*args: Any, **kwargs: Any) -> Any:
            final = self._kept[self._number].get(name)
            if final is not None and not final.values:
                # code between modules still computes with it, and may write into it
                return torch.zeros_like(final.output) if self._users[name].between else final.output
            if final is not None:
                return final.output.clone()
            output = forward(*args, **kwargs)
            if isinstance(output, Tensor) and self._keeping:
                self._keep(name, output)
            return output

        return stand_in

    def _keep(self, name: str, output: Tensor) -> None:
        """Keep a final output, and forget what only modules look at that are not run any more. Where it does
        not fit in place of that, all stays as it is.
        """
        kept, ran = self._kept[self._number], self._ran[self._number]
        ran[name] = output.new_empty(()).expand(output.shape)
        needless = self._needless({*kept, name}, ran)
        final = {
            other: _Kept(ran[other], values=False) if other in needless else kept.get(other) or _Kept(output)
            for other in {*kept, name} | needless
        }
        final = {other: one for other, one in final.items() if not any(up in final for up in above(other))}
        bytes_after = self._bytes + sum(one.bytes() for one in final.values())
        bytes_after -= sum(one.bytes() for one in kept.values())
        if bytes_after > self._most_bytes:
            return
        if name in final and final[name].values:
            copy = output.clone()
            if copy.stride() != output.stride():
                return  # a view with gaps: laid out otherwise, sums over it would be rounded otherwise
            final[name] = _Kept(copy)
        self._kept[self._number], self._bytes = final, bytes_after

    def _needless(self, kept: set[str], ran: Iterable[str]) -> set[str]:
        """Of the modules that ran, those whose outputs only modules look at that are not run any more: which
        are kept, or needless themselves.
        """
        found: set[str] = set()
        while True:
            still = kept | found
            more = {
                name
                for name in ran
                if name not in found
                and all(any(outer in still for outer in around(user)) for user in self._users[name].modules)
            }
            if not more:
                return found
            found |= more


def _calls(model: nn.Module, batch: Inputs) -> Counter[str]:
    """How often every module is called in a forward."""
    count: Counter[str] = Counter()
    handles = [
        module.register_forward_pre_hook(lambda module, args, name=name: count.update([name]))
        for name, module in model.named_modules()
    ]
    args, kwargs = as_arguments(batch)
    try:
        called(model, args, kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return count
