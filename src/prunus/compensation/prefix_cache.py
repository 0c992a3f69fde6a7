"""What one layer after another gets and makes, without running the network from its beginning each time.

Refitting asks a network for the inputs of every layer in turn, and what lies before that layer does not
change any more. So a module's output is kept once it is final, and stands in for the module from then on: the
work for all layers together grows like the network, not like its square.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import ref

import torch
from torch import Tensor, jit, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from prunus.errors import PlanError
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs, as_arguments, called

_SUMS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})
MOST_BYTES = 2 << 30  # of outputs that are kept; a module whose output does not fit is run again


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
        self._kept: dict[int, dict[str, _Kept]] = {}
        self._keeping = True  # what is made, until the layer that is asked for has run
        calls, returned = _calls(model, batch)
        # what the network returns is looked at by nobody but whoever called it
        users, self._written = _users(graph)
        self._users = {name: some | {""} if name in returned else some for name, some in users.items()}
        for name in self._users:
            module = model.get_submodule(name)
            if calls[name] == 1 and not isinstance(module, jit.ScriptModule):
                module.forward = self._standing_in(name, module.forward)

    def upto(self, name: str, number: int, batch: Inputs) -> tuple[Tensor, Tensor]:
        """What a layer gets and makes on a batch, which is known by its number; the rest of the network is
        not run.

        Raises PlanError if the layer does not run on this batch.
        """
        given, made, _ = self._run(name, None, number, batch)
        return given, made

    def upto_sum(
        self, name: str, norm: str, number: int, batch: Inputs
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The same, and what the layer's output, or that of the norm behind it, is added to next; None
        if it is not added to anything.

        Raises PlanError as `upto`.
        """
        return self._run(name, norm or name, number, batch)

    def _run(
        self, name: str, summand: str | None, number: int, batch: Inputs
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Run up to a layer, or on to the sum that the output of the module `summand` goes into."""
        found: list[tuple[Tensor, Tensor]] = []
        meeting = _Meeting()

        def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
            found.append((args[0] if args else kwargs["input"], output))
            if summand is None:
                raise _SeenError
            self._keeping = False

        self._number, self._keeping = number, True
        self._kept.setdefault(number, {})
        layer = self._model.get_submodule(name)
        # what the layer itself makes is not final: it is about to be refitted
        own = layer.__dict__.pop("forward", None)
        handles = [layer.register_forward_hook(look, with_kwargs=True)]
        if summand is not None:
            handles.append(self._model.get_submodule(summand).register_forward_hook(meeting.expect))
        args, kwargs = as_arguments(batch)
        try:
            with nullcontext() if summand is None else meeting:
                called(self._model, args, kwargs)
        except _SeenError:
            pass
        finally:
            for handle in handles:
                handle.remove()
            if own is not None:
                layer.forward = own
        if found:
            return *found[0], meeting.other
        raise PlanError(
            f"{name} did not run on the calibration inputs, but on the example inputs that the model was"
            " traced with."
        )

    def whole(self, number: int, batch: Inputs) -> Any:
        """What the network makes of a batch, which is known by its number. What changed meanwhile runs after
        the layer that was asked for last, or is it; nothing of it is kept.
        """
        self._number, self._keeping = number, False
        self._kept.setdefault(number, {})
        args, kwargs = as_arguments(batch)
        try:
            return called(self._model, args, kwargs)
        finally:
            self._keeping = True

    def forget(self) -> None:
        """Begin anew: every layer may be asked for, and changed."""
        self._kept, self._bytes = {}, 0

    def _standing_in(self, name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        """A module's forward that is run once per batch; what follows may work in place, so a copy is handed
        out.
        """

        def stand_in(*args: Any, **kwargs: Any) -> Any:
            final = self._kept[self._number].get(name)
            if final is not None and not final.values:
                # nobody looks at it, but who writes into it needs memory to write to
                return torch.zeros_like(final.output) if name in self._written else final.output
            if final is not None:
                return final.output.clone()
            output = forward(*args, **kwargs)
            if isinstance(output, Tensor) and self._keeping:
                self._keep(name, output)
            return output

        return stand_in

    def _keep(self, name: str, output: Tensor) -> None:
        """Keep a final output, and forget what only modules look at that are not run any more."""
        kept, copy = self._kept[self._number], output.clone()
        if (
            copy.stride() != output.stride()
        ):  # a view with gaps: laid out otherwise, sums over it would be rounded otherwise
            return
        for inner in [other for other in kept if _inside(other, name)]:
            self._bytes -= kept.pop(inner).bytes()
        if self._bytes + output.numel() * output.element_size() > self._most_bytes:
            return
        kept[name] = _Kept(copy)
        self._bytes += kept[name].bytes()
        for other, final in kept.items():
            if (
                final.values
                and other != name
                and all(any(_inside(user, stays) for stays in kept) for user in self._users[other])
            ):
                self._bytes -= final.bytes()
                kept[other] = _Kept(final.output.new_empty(()).expand(final.output.shape), values=False)


def _inside(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def _calls(model: nn.Module, batch: Inputs) -> tuple[Counter[str], set[str]]:
    """How often every module is called in a forward, and those that make what the forward returns."""
    count: Counter[str] = Counter()
    made: list[tuple[str, ref[Tensor]]] = []  # nobody shall hold all that a forward makes

    def look(name: str, output: Any) -> None:
        if isinstance(output, Tensor):
            made.append((name, ref(output)))

    handles = [
        module.register_forward_pre_hook(lambda module, args, name=name: count.update([name]))
        for name, module in model.named_modules()
    ]
    handles += [
        module.register_forward_hook(lambda module, args, output, name=name: look(name, output))
        for name, module in model.named_modules()
    ]
    args, kwargs = as_arguments(batch)
    try:
        outputs = tree_leaves(called(model, args, kwargs))
    finally:
        for handle in handles:
            handle.remove()
    return count, {name for name, output in made if any(output() is leaf for leaf in outputs)}


def _users(graph: ChannelGraph) -> tuple[dict[str, frozenset[str]], set[str]]:
    """Modules of which nothing but one tensor is seen outside -> the modules that look at it; and those whose
    tensor is written into by others.

    Who only writes into a tensor does not look at it: whoever looks at it afterwards does. A module that
    hands features on by other ways than what it returns, through a hook or an attribute, has more, and cannot
    be stood in for; nor can one that writes into what it was given.
    """
    makers: dict[int, str] = {}
    escaped: dict[str, set[int]] = {}
    users: dict[str, set[str]] = {}
    writing: set[str] = set()
    written: set[str] = set()
    for record in graph.records:
        for around in _around(record.module):
            escaped.setdefault(around, set())
            users.setdefault(around, set())
        changed = {id(tensor) for tensor in record.outputs} & {id(tensor) for tensor in record.tensors}
        for tensor in record.tensors:
            maker = makers.get(id(tensor), "")
            outside = [around for around in _around(maker) if not _inside(record.module, around)]
            for around in outside:
                escaped[around].add(id(tensor))
            if id(tensor) in changed:
                written.update(outside)
                writing.update(around for around in _around(record.module) if not _inside(maker, around))
            else:
                for around in outside:
                    users[around].add(record.module)
        for tensor in record.outputs:
            if id(tensor) not in changed:
                makers[id(tensor)] = record.module
    found = {
        name: frozenset(users[name])
        for name, tensors in escaped.items()
        if len(tensors) == 1 and name not in writing
    }
    return found, written


def _around(name: str) -> list[str]:
    """A module and those that it lies in, the network itself left out."""
    parts = name.split(".") if name else []
    return [".".join(parts[: n + 1]) for n in range(len(parts))]
