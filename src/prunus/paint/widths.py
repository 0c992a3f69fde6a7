"""Norms that keep their width: what averages over channels goes on dividing by as many channels as there
were.

A layer norm over N channels, of which n are left and the others are zero, has the mean r·m and the mean
square r·q, where m and q are those of what is left and r = n / N. Modules whose forward computes such
statistics over channels that go become instances of a class made of their own, whose forward hands these
calls, and no others, to the formulas below. They are still instances of the user's class, with its attributes
and methods.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd import function
from torch.nn.modules import module as modules_of_torch
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint

from prunus.errors import ArgumentError
from prunus.paint.lists import KnownLists
from prunus.paint.width_formulas import FORMULAS, Held

_MODULES = modules_of_torch.__file__
_LATER = frozenset({function.__file__, checkpoint.__file__})


class Width(NamedTuple):
    """The statistic that a module computes as its `number`-th goes over `ratio` of the slots that it went
    over.

    Where a module has negative numbers too, these are the statistics of train mode, from -1 downwards, and
    the others those of eval mode alone. Where a mean was subtracted from all slots before, `centre` is its
    number among those of the same mode, from 0, and `power` that to which the distances were raised, 1 or 2.
    """

    module: str
    number: int
    ratio: float
    centre: int | None = None
    power: int = 1


class Share(NamedTuple):
    """What of the slots of a statistic is left, and what was subtracted before; see `Width`."""

    ratio: float
    centre: int | None = None
    power: int = 1


WHOLE = Share(1.0, power=2)  # under the number of all statistics, which none of them has


class Site(NamedTuple):
    """One call of a function that computes statistics, while a model was traced.

    `modules` are the names of the modules that run, outermost first, `frames` a number for each of these
    runs; the call made the records from `first` to before `end`. `hidden`: what goes backward through it runs
    once the module's forward is over, in a backward of the user's or in a forward that is run again.
    """

    modules: tuple[str, ...]
    frames: tuple[int, ...]
    first: int
    end: int
    hidden: bool = False


class WrittenAnew:
    """A base of modules whose forward is a graph, which surgery writes anew with what its statistics keep."""


class KeepsWidth:
    """A second base of a module's class: statistics over fewer slots than before are worked out as if the
    others were there, and zero.
    """

    kept_widths: dict[int, Share]  # by number of the statistic

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own forward. Raises ArgumentError where it computes another number of statistics than
        it did when it was traced, so that nobody knows which is which.
        """
        shares = in_mode(self.kept_widths, self.training)  # type: ignore[attr-defined]
        with _Statistics(shares) as mode:
            result = super().forward(*args, **kwargs)  # type: ignore[misc]
        if not torch.compiler.is_compiling():
            _refuse_other_calls(plain_class(type(self)).__name__, shares, mode.calls)
        return result

    def __reduce_ex__(self, protocol: Any) -> Any:
        base = plain_class(type(self))
        return _made_again, (base, self.__getstate__())  # a module of its own form says what of it is kept


def _refuse_other_calls(name: str, shares: Mapping[int, Share], calls: int) -> None:
    count = max(shares, default=0)
    if shares and shares[count] == WHOLE and calls != count:
        raise ArgumentError(
            f"{name} averages, normalises and the like {calls} times on these inputs, and {count} times on"
            " those that it was traced with, so which of these go over removed channels is not known; trace"
            " the dense model with inputs like these, or give the norm a module of its own."
        )


def in_mode(shares: Mapping[int, Share], training: bool) -> dict[int, Share]:
    """The shares of what a module computes in one mode, by number from 0."""
    own = {-1 - number: share for number, share in shares.items() if number < 0}
    return own if training and own else {number: share for number, share in shares.items() if number >= 0}


def _made_again(base: type[nn.Module], state: dict[str, Any]) -> nn.Module:
    """A module of a class that keeps widths, from what was copied or pickled."""
    kind = wide_class(base)
    module: nn.Module = kind.__new__(kind)
    module.__setstate__(state)  # type: ignore[no-untyped-call]
    return module


def wide_class(base: type[nn.Module]) -> Any:
    """The class of modules of another class that keep their width; it has the same name."""
    return _made_class(base)  # type: ignore[arg-type]  # classes can be hashed


@cache
def _made_class(base: Any) -> Any:
    @wraps(base.forward)  # whoever asks for its arguments by name finds the user's
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return KeepsWidth.forward(self, *args, **kwargs)

    own = {name: getattr(base, name) for name in ("__module__", "__doc__", "__qualname__")}
    return type(base.__name__, (KeepsWidth, base), own | {"forward": forward})


def plain_class(kind: type) -> type[nn.Module]:
    """The user's own class behind one that keeps widths, or the class itself."""
    return kind.__mro__[2] if issubclass(kind, KeepsWidth) else kind


def can_keep(module: nn.Module) -> bool:
    """Whether a module's forward can be replaced: it is Python, and of its class."""
    return "forward" not in vars(module) and not isinstance(module, torch.jit.ScriptModule)


def set_widths(modules: Mapping[str, nn.Module], widths: Sequence[Width]) -> None:
    """Let modules keep their widths; those that did so before go on with what is given here alone."""
    tables: dict[str, dict[int, Share]] = {}
    for width in widths:
        tables.setdefault(width.module, {})[width.number] = Share(*width[2:])
    for name, module in modules.items():
        if name in tables:
            module.__class__ = wide_class(plain_class(type(module)))
            module.__dict__["kept_widths"] = tables[name]
    for module in modules.values():
        if isinstance(module, nn.TransformerEncoderLayer) and any(
            isinstance(norm, KeepsWidth) for norm in (module.norm1, module.norm2)
        ):
            module.activation_relu_or_gelu = (
                0  # else torch computes the layer in one piece in eval mode, its norms as torch knows them
            )


def kept_in(modules: Mapping[str, nn.Module]) -> tuple[Width, ...]:
    """The widths that modules keep, as `set_widths` takes them."""
    wide = ((name, module) for name, module in modules.items() if isinstance(module, KeepsWidth))
    return tuple(
        Width(name, number, *share) for name, module in wide for number, share in module.kept_widths.items()
    )


def without_widths(modules: Mapping[str, nn.Module]) -> None:
    """Give modules their own classes back, in place."""
    for module in modules.values():
        if isinstance(module, KeepsWidth):
            owner: Any = module
            owner.__class__ = plain_class(type(module))


def numbered(
    sites: Sequence[Site], shared: Callable[[int, str, int], bool]
) -> tuple[list[int], dict[str, set[int]]]:
    """The number of every site among the statistics that its innermost module sees, and for every module how
    many it sees whenever it runs.

    A module sees the calls of those inside it as well, but for those that have a share there: `shared` says
    so by place, module and number.
    """
    seen: dict[int, int] = {}
    names: dict[int, str] = {}
    result = []
    for place, site in enumerate(sites):
        result.append(seen.get(site.frames[-1], 0) if site.frames else 0)
        for depth in range(len(site.frames) - 1, -1, -1):
            frame, name = site.frames[depth], site.modules[depth]
            number = seen.get(frame, 0)
            seen[frame], names[frame] = number + 1, name
            if shared(place if depth == len(site.frames) - 1 else -1, name, number):
                break
    counts: dict[str, set[int]] = {}
    for frame, count in seen.items():
        counts.setdefault(names[frame], set()).add(count)
    return result, counts


class _Statistics(TorchFunctionMode):
    """Hands numbered calls to their formulas while a module runs."""

    def __init__(self, shares: Mapping[int, Share]) -> None:
        super().__init__()
        self.shares, self.calls = shares, 0
        self.means: dict[int, Any] = {
            share.centre: None for share in shares.values() if share.centre is not None
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in FORMULAS:
            return func(*args, **kwargs)
        number, self.calls = self.calls, self.calls + 1
        share = self.shares.get(number)
        if share is None:
            result = func(*args, **kwargs)
        elif share.centre is None:
            result = FORMULAS[func](share.ratio, *args, **kwargs)
        else:
            result = FORMULAS[func](
                share.ratio, *args, **kwargs, held=Held(self.means[share.centre], share.power)
            )
        if number in self.means:
            self.means[number] = result
        return result


class SiteLog(KnownLists):
    """Notes every call of a function that computes statistics; `running` is what runs: names of modules, and
    a number for each run of one.
    """

    def __init__(self, running: Sequence[tuple[str, int]], records: Sequence[Any]) -> None:
        super().__init__()
        self.running, self.records = running, records
        self.sites: list[Site] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in FORMULAS:
            return super().__torch_function__(func, types, args, kwargs)
        first = len(self.records)
        result = func(*args, **(kwargs or {}))
        names, frames = tuple([name for name, _ in self.running]), tuple([frame for _, frame in self.running])
        self.sites.append(Site(names, frames, first, len(self.records), _is_hidden()))
        return result


def _is_hidden() -> bool:
    """Whether a function with a backward of its own, or a checkpoint, stands between a call and the module
    whose forward makes it.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename != _MODULES:
        if frame.f_code.co_filename in _LATER:
            return True
        frame = frame.f_back
    return False
