"""`trace`: run the model once on meta tensors and read its channels off the paint."""

from __future__ import annotations

import dataclasses
import itertools
import math
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.collector import collector_paused
from prunus._foundation.seeds import seeded
from prunus._foundation.surroundings import uncompiled
from prunus._foundation.wording import given
from prunus.errors import ArgumentError, PrunusError, TraceError, clause
from prunus.paint.caches import forgotten
from prunus.paint.constants import keep_sizes_out
from prunus.paint.dropout import NoDropout
from prunus.paint.graph import ChannelGraph, build
from prunus.paint.lists import KnownLists
from prunus.paint.model_copy import Modules, Twin, meta_twin, tensors_in_modules, unwrap, walk
from prunus.paint.modes import trains_alike
from prunus.paint.neutral import Neutral, neutral_sources
from prunus.paint.painter import NOT_USERS, Painter
from prunus.paint.program import Listener, Program, program_of, same_program
from prunus.paint.records import Mark, Stripe, constant
from prunus.paint.rules import RULES, fallback
from prunus.paint.source import UNPAINTED, Source
from prunus.paint.state import State, state_of
from prunus.paint.train_paint import Forward, keep_readable, share
from prunus.paint.widths import KeepsWidth, SiteLog

_OVER_CHANNELS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, KeepsWidth)  # whose statistics are surely there
_SIDE = 288  # pixels: a multiple of what networks halve
Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Inputs = Tensor | tuple[Any, ...] | list[Any] | dict[str, Any]


@door(TraceError)
@collector_paused()
def trace(model: nn.Module, example_inputs: Inputs) -> ChannelGraph:
    """Find the channels of a model: which slots of which parameters live and die together.

    The model is not run on data and not changed: a twin on meta tensors is. Any Python control flow that does
    not depend on the data is fine.

    Args:
        model: any `nn.Module`.
        example_inputs: what the model is called with: a tensor, a tuple of positional arguments, or a dict of
            keyword arguments. Only shapes and dtypes are used.

    Raises:
        TraceError: the model is TorchScript, the forward reads the value of a tensor, or fails on these
            inputs; the text names the line.
    """
    model = unwrap(model)
    _refuse_scripted(model)
    return trace_model(model, *as_arguments(example_inputs))


def trace_model(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ChannelGraph:
    """`trace` with positional and keyword arguments.

    Where a removed channel would be divided by, it is painted again with what must not be zero; what still is
    then, stays.
    """
    runs, neutral = _runs(model, (args, kwargs))
    for one in runs:
        keep_sizes_out(one.painter, partial(_repainted, model, one, neutral))
        for hazard in one.painter.hazards:
            one.painter.pins.append(
                Mark(hazard.labels, "a removed channel would be divided by", hazard.operator, hazard.where)
            )
    if len(runs) == 1:
        return runs[0].graph(model)
    share(*runs)
    return dataclasses.replace(runs[0].graph(model), training=runs[1].graph(model))


def _runs(model: nn.Module, inputs: Arguments) -> tuple[list[_Run], frozenset[Neutral]]:
    """The painted forward in eval mode, and the one in train mode where it is another.

    Watching every function of torch costs a tenth of a trace, and most networks call none that needs it.
    """
    if not any(isinstance(module, _OVER_CHANNELS) for module in walk(model).values()):
        try:
            runs, neutral = _runs_until_neutral(model, inputs, watched=False)
        except TraceError:
            pass
        else:
            if not any(run.painter.statistics or run.painter.unlisted for run in runs):
                return runs, neutral
    return _runs_until_neutral(model, inputs, watched=True)


def _runs_until_neutral(
    model: nn.Module, inputs: Arguments, watched: bool
) -> tuple[list[_Run], frozenset[Neutral]]:
    """Paint until nothing new turns up that must not be zero; that is returned, too."""
    neutral = frozenset[Neutral]()
    train_run: _Run | None = None
    while True:
        eval_run = _paint(model, inputs, neutral, watched=watched)
        if not neutral:
            train_run = _paint_training(model, eval_run)
        elif train_run is not None:
            train_run = _paint(model, train_run.inputs, neutral, training=True, watched=watched)
        runs = [run for run in (eval_run, train_run) if run is not None]
        found = (
            frozenset[Neutral]().union(
                *(neutral_sources(run.painter.records, run.sources, run.painter.hazards) for run in runs)
            )
            - neutral
        )
        if not found:
            return runs, neutral
        neutral |= found


@dataclasses.dataclass(frozen=True, eq=False)
class _Run(Forward):
    """A forward that was painted, and what its graph needs besides."""

    log: SiteLog | None  # where functions were watched
    state: State
    inputs: Arguments

    @property
    def program(self) -> Program:
        """The operators that it called."""
        return program_of(self.painter.records, self.outputs, self.twin.modules)

    def graph(self, model: nn.Module) -> ChannelGraph:
        """The channels that it shows."""
        return build(
            model,
            self.twin,
            self.inputs,
            self.painter,
            self.sources,
            None if self.log is None else self.log.sites,
            self.state,
        )


def _paint(
    model: nn.Module,
    inputs: Arguments,
    neutral: frozenset[Neutral] = frozenset(),
    training: bool = False,
    watched: bool = True,
) -> _Run:
    painter, twin = Painter(RULES, fallback), meta_twin(model, training=training)
    sources, state = paint_sources(painter, twin.modules, neutral), state_of(twin.modules)
    tell_numbers(painter, twin.numbers, {source.name: source.tensor for source in sources})
    log = SiteLog(painter.running, painter.records) if watched else None
    args, kwargs = to_meta(inputs)
    outputs = run(painter, twin, args, kwargs, log or nullcontext())
    pin_outputs(painter, type(model).__name__, outputs)
    return _Run(painter, twin, sources, tuple(tensors_in(outputs)), log, state, inputs)


def _listen(model: nn.Module, inputs: Arguments, training: bool = False) -> Program:
    """The operators that a forward calls, on a twin of its own."""
    listener, twin = Listener(RULES, fallback), meta_twin(model, training=training)
    tensors = tensors_in_modules(twin.modules)
    for tensor in tensors.values():
        listener.fix(tensor)
    tell_numbers(listener, twin.numbers, tensors)
    args, kwargs = to_meta(inputs)
    outputs = run(listener, twin, args, kwargs)
    return program_of(listener.records, tensors_in(outputs), twin.modules)


def _repainted(
    model: nn.Module, run: _Run, neutral: frozenset[Neutral], change: Callable[[Tensor], Tensor]
) -> Painter:
    return _paint(
        model, map_tensors(run.inputs, change), neutral, run.twin.training, run.log is not None
    ).painter


def _paint_training(model: nn.Module, eval_run: _Run) -> _Run | None:
    """The forward in train mode; None where it is the one in eval mode, or cannot be followed.

    Batch norm may want a batch of more than one, and heads that only training runs larger images. What cannot
    be painted is told, and what parameters may read there stays.
    """
    if trains_alike(walk(model)):
        return None
    twice = map_tensors(eval_run.inputs, two_of)
    failure: TraceError | ArgumentError | None = None
    for inputs in (eval_run.inputs, twice, map_tensors(twice, _larger)):
        try:
            heard = _listen(model, inputs, training=True)
            if same_program(eval_run.program if inputs is eval_run.inputs else _listen(model, inputs), heard):
                return None
            return _paint(model, inputs, training=True, watched=eval_run.log is not None)
        except (TraceError, ArgumentError) as error:
            failure = failure or error
    assert failure is not None
    if eval_run.log is None:
        raise TraceError(str(failure)) from failure
    _warn_of_training(type(model).__name__, keep_readable(eval_run), failure)
    return None


def _larger(tensor: Tensor) -> Tensor:
    """An image of the usual sizes instead of a small one."""
    if tensor.dim() != 4 or not tensor.is_floating_point():
        return tensor
    return torch.empty(
        [*tensor.shape[:2], *(n + _SIDE for n in tensor.shape[2:])], dtype=tensor.dtype, device="meta"
    )


def _warn_of_training(name: str, left: Sequence[str], failure: PrunusError) -> None:
    """`left` are parameters that the forward in eval mode does not read."""
    some = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
    what = (
        f"{some} of {name} are not read in eval mode, and its forward" if left else f"The forward of {name}"
    )
    then = (
        "what they may read there stays whole"
        if left
        else "what it does there with pruned channels is not known"
    )
    warnings.warn(f"{what} in train mode cannot be followed ({clause(failure)}); {then}.", stacklevel=9)


def pin_outputs(painter: Painter, name: str, outputs: Any) -> None:
    """What a model returns stays as it is. Raises TraceError if it returns no tensor."""
    tensors = list(tensors_in(outputs))
    if not tensors:
        raise TraceError(
            f"The forward of {name} returns no tensor (but {type(outputs).__name__}), so nothing says what it"
            " computes."
        )
    painter.returned(tensors)


def _refuse_scripted(model: nn.Module) -> None:
    """TorchScript runs its operators where nobody sees which parameters they read."""
    if isinstance(model, torch.jit.ScriptModule):
        raise TraceError(
            "The model is TorchScript, whose channels cannot be followed; give the torch.nn.Module that it"
            " was scripted or traced from."
        )
    scripted = [
        name
        for name, module in walk(model).items()
        if isinstance(module, torch.jit.ScriptModule) and any(True for _ in module.parameters())
    ]
    outer = [name for name in scripted if name.rpartition(".")[0] not in scripted]
    if outer:
        warnings.warn(
            f"Channels in and around {', '.join(outer)} stay: TorchScript cannot be followed; put the module"
            " in before it is scripted.",
            stacklevel=6,
        )


def as_arguments(example_inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments from what the user gave as inputs; tensors made in inference mode are
    copied, so that they can be used.

    Raises ArgumentError for what no model is called with.
    """
    if (
        isinstance(example_inputs, (tuple, list))
        and example_inputs
        and all(type(size) is int for size in example_inputs)
    ):
        shape = ", ".join(map(str, example_inputs))
        raise ArgumentError(
            f"The inputs are a shape, ({shape}), not tensors; give a tensor, such as torch.zeros({shape})."
        )
    if not isinstance(example_inputs, (Tensor, tuple, list, dict)):
        raise ArgumentError(
            "The inputs must be a tensor, a tuple of arguments or a dict of named ones, not"
            f" {given(example_inputs)}."
        )
    if not torch.is_inference_mode_enabled() and any(
        tensor.is_inference() for tensor in tensors_in(example_inputs)
    ):
        example_inputs = map_tensors(
            example_inputs, lambda tensor: tensor.clone() if tensor.is_inference() else tensor
        )
    if isinstance(example_inputs, dict):
        return (), dict(example_inputs)
    if isinstance(example_inputs, (tuple, list)):
        return tuple(example_inputs), {}
    return (example_inputs,), {}


def called(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    kind: type[PrunusError] = ArgumentError,
) -> Any:
    """What a model makes of inputs; raises an error of `kind` in which the model's own is told, where its
    forward fails on them.
    """
    try:
        return model(*args, **kwargs)
    except PrunusError:
        raise
    except Exception as error:  # any forward may fail in any way
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors_in((args, kwargs))) or "no tensors"
        what = f"{type(error).__name__}: {_first_line(error).rstrip('.')}"
        raise kind(
            f"The forward of {type(model).__name__} fails on inputs of shape {shapes} ({what}); give it"
            " inputs like the example's."
        ) from error


def to_meta(value: Any) -> Any:
    """The same nest of containers with meta tensors in it."""
    return map_tensors(value, lambda t: torch.empty_like(t, device="meta", requires_grad=False))


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Replace every tensor in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return type(value)((k, map_tensors(v, change)) for k, v in value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(v, change) for v in value))
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(v, change) for v in value)
    return value


def two_of(tensor: Tensor) -> Tensor:
    """A batch of two instead of one: batch norm needs something to compare."""
    if tensor.dim() < 2 or tensor.shape[0] != 1:
        return tensor
    return torch.cat([tensor, tensor.flip(-1)])


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested containers, dataclasses and output objects, in a fixed order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name))
    elif (
        hasattr(value, "__dict__") and not isinstance(value, (type, torch.nn.Module)) and not callable(value)
    ):
        yield from tensors_in(vars(value))


def paint_sources(
    painter: Painter, modules: Modules, neutral: Collection[Neutral] = ()
) -> tuple[Source, ...]:
    """Give every slot of every axis of every parameter and buffer its own colour; kernel positions of
    convolutions can never go and need none.

    The first colours are theirs, without gaps. Removed slots hold zero, along axes in `neutral` one, and
    whole numbers, which may be indices, what they held.
    """
    parameters = {id(p) for m in modules.values() for p in m._parameters.values()}
    kernels = {
        id(p)
        for m in modules.values()
        if isinstance(m, nn.modules.conv._ConvNd)
        for p in _own(m)
        if p.dim() > 2
    }
    sources = []
    for name, tensor in tensors_in_modules(modules).items():
        is_parameter, painted = (
            id(tensor) in parameters,
            2 if id(tensor) in kernels else tensor.dim() if tensor.numel() else 0,
        )
        starts, stripes, values = (
            [],
            [],
            tuple([float((name, axis) in neutral) for axis in range(tensor.dim())]),
        )
        real = tensor.dtype.is_floating_point or tensor.dtype.is_complex
        for axis, size in enumerate(tensor.shape[:painted]):
            starts.append(painter.next_colour)
            labels = painter.fresh(size)
            stripes.append(Stripe(axis, labels, constant(values[axis] if real else math.nan, size)))
        painter.set_paint(tensor, tuple(stripes))
        painter.fix(tensor)
        sources.append(
            Source(name, tensor, is_parameter, (*starts, *[UNPAINTED] * (tensor.dim() - len(starts))), values)
        )
    painter.owned = painter.next_colour
    return tuple(sources)


def tell_numbers(painter: Painter, numbers: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Let the forward read the values of small buffers; copies, as it may count in them."""
    for name, value in numbers.items():
        painter.know(tensors[name], value.clone(), volatile=True)


def _own(layer: nn.Module) -> Iterator[Tensor]:
    """A layer's parameters, and those that its weight is made of."""
    made = layer._modules.get("parametrizations")
    for module in (layer, *(made._modules.values() if made is not None else ())):
        yield from (p for p in module._parameters.values() if p is not None)


def run(
    painter: Painter,
    twin: Twin,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    watch: AbstractContextManager[Any] | None = None,
) -> Any:
    """Run a twin under the painter, and what watches functions besides; an error becomes a TraceError that
    names the user's line.
    """
    try:
        with (
            seeded(),  # a forward may throw dice in Python
            torch.no_grad(),
            uncompiled(),
            forgotten(twin.modules),
            _own_forwards(painter, twin.modules),
            painter,
            watch or KnownLists(),
            NoDropout() if twin.training else nullcontext(),
        ):
            return twin.model(*args, **kwargs)
    except TraceError:
        raise
    except Exception as error:
        place = _deepest_user_line(error)
        hint = "check the example inputs"
        if "meta" in str(error).lower() or isinstance(error, NotImplementedError):
            hint = (
                "the forward needs real values there, so it cannot be traced; trace a sub-module without it"
            )
        name = type(twin.model).__name__
        raise TraceError(
            f"The forward of {name} fails at {place} ({type(error).__name__}: {_first_line(error)}); {hint}."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no message").splitlines()[0]


def _deepest_user_line(error: Exception) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(NOT_USERS)]
    if not frames:
        return "its call"
    return f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}: {frames[-1].line}"


@contextmanager
def _own_forwards(painter: Painter, modules: Modules) -> Iterator[None]:
    """Keep the dotted name of the module that runs on top of the painter's stack.

    Each forward is wrapped rather than hooked, since a global hook would send every module call down torch's
    slow path.
    """
    modules = {
        name: module for name, module in modules.items() if not isinstance(module, torch.jit.ScriptModule)
    }
    own = [vars(module).get("forward") for module in modules.values()]
    count = itertools.count()
    for name, module in modules.items():
        module.__dict__["forward"] = _announced(module.forward, name, painter.running, count)
    try:
        yield
    finally:
        for module, forward in zip(modules.values(), own):
            if forward is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = forward
        painter.running.clear()


def _announced(
    forward: Callable[..., Any], name: str, running: list[tuple[str, int]], runs: Iterator[int]
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        running.append((name, next(runs)))
        try:
            return forward(*args, **kwargs)
        finally:
            running.pop()

    return call
