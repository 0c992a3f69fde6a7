"""`trace`: run the model once on meta tensors and read its channels off the paint."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TraceError
from .collector import collector_paused
from .direct import direct
from .graph import ChannelGraph, build
from .layers import Layer, unknown_like, zeros_like
from .paint import _OWN_FOLDER, _TORCH_FOLDER, Painter
from .rules import RULES, fallback
from .source import UNPAINTED, Source
from .twin import Modules, Twin, meta_twin, tensors_in_modules, unwrap

Inputs = Tensor | tuple[Any, ...] | list[Any] | dict[str, Any]


@collector_paused()
def trace(model: nn.Module, example_inputs: Inputs) -> ChannelGraph:
    """Find the channels of a model: which slots of which parameters live and die together.

    The model is not run on data and not changed: a twin on meta tensors is. Any Python control flow that does not depend on the data is fine.

    Args:
        model: any `nn.Module`.
        example_inputs: what the model is called with: a tensor, a tuple of positional arguments, or a dict of keyword arguments. Only shapes and
            dtypes are used.

    Raises:
        TraceError: the forward reads the value of a tensor, or fails on these inputs; the text names the line.
    """
    model = unwrap(model)
    args, kwargs = as_arguments(example_inputs)
    return trace_twin(model, meta_twin(model), args, kwargs)


def trace_twin(model: nn.Module, twin: Twin, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ChannelGraph:
    """`trace` with the meta twin already made."""
    painter = Painter(RULES, fallback)
    sources = paint_sources(painter, twin.modules)
    tell_numbers(painter, twin.numbers, {source.name: source.tensor for source in sources})
    outputs = run(painter, twin, to_meta(args), to_meta(kwargs))
    tensors = list(tensors_in(outputs))
    if not tensors:
        raise TraceError(f"The forward of {type(model).__name__} returns no tensor (but {type(outputs).__name__}), so nothing says what it computes.")
    painter.returned(tensors)
    return build(model, twin, (args, kwargs), painter, sources)


def as_arguments(example_inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments from what the user gave as example inputs."""
    if isinstance(example_inputs, dict):
        return (), dict(example_inputs)
    if isinstance(example_inputs, (tuple, list)):
        return tuple(example_inputs), {}
    return (example_inputs,), {}


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
    elif hasattr(value, "__dict__") and not isinstance(value, (type, torch.nn.Module)) and not callable(value):
        yield from tensors_in(vars(value))


def paint_sources(painter: Painter, modules: Modules) -> tuple[Source, ...]:
    """Give every slot of every axis of every parameter and buffer its own colour; kernel positions of convolutions can never go and need none.

    The first colours are theirs, without gaps.
    """
    parameters = {id(p) for m in modules.values() for p in m._parameters.values()}
    kernels = {id(p) for m in modules.values() if isinstance(m, nn.modules.conv._ConvNd) for p in _own(m) if p.dim() > 2}
    sources = []
    for name, tensor in tensors_in_modules(modules).items():
        is_parameter, painted = id(tensor) in parameters, 2 if id(tensor) in kernels else tensor.dim() if tensor.numel() else 0
        starts, layers = [], []
        for axis, size in enumerate(tensor.shape[:painted]):
            starts.append(painter.next_colour)
            labels = painter.fresh(size)
            layers.append(Layer(axis, labels, zeros_like(labels) if is_parameter else unknown_like(labels)))
        painter.set_paint(tensor, tuple(layers))
        painter.fix(tensor)
        sources.append(Source(name, tensor, is_parameter, (*starts, *[UNPAINTED] * (tensor.dim() - len(starts)))))
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
        yield from (p for p in module._parameters.values() if p is not None)  # type: ignore[union-attr]


def run(painter: Painter, twin: Twin, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a twin under the painter; an error becomes a TraceError that names the user's line."""
    try:
        with torch.no_grad(), _lists_with_values(), _own_forwards(painter, twin.modules), painter:
            return twin.model(*args, **kwargs)
    except TraceError:
        raise
    except Exception as error:
        place = _deepest_user_line(error)
        hint = "check the example inputs"
        if "meta" in str(error).lower() or isinstance(error, NotImplementedError):
            hint = "the forward needs real values there, so it cannot be traced; trace a sub-module without it"
        name = type(twin.model).__name__
        raise TraceError(f"The forward of {name} fails at {place} ({type(error).__name__}: {_first_line(error)}); {hint}.") from error


@contextmanager
def _lists_with_values() -> Iterator[None]:
    """Let a list of slots in `x[:, [2, 0, 1]]` keep its numbers: torch makes it a tensor where x is, on meta, before any dispatch mode sees it."""
    own = Tensor.__getitem__

    def getitem(self: Tensor, key: Any) -> Tensor:
        if self.is_meta and type(key) in (list, tuple):
            key = tuple(map(_listed, key)) if type(key) is tuple else _listed(key)
        return own(self, key)

    Tensor.__getitem__ = getitem  # type: ignore[method-assign]
    try:
        yield
    finally:
        Tensor.__getitem__ = own  # type: ignore[method-assign]


def _listed(key: Any) -> Any:
    return torch.tensor(key) if type(key) is list and key and all(type(k) is int for k in key) else key


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no message").splitlines()[0]


def _deepest_user_line(error: Exception) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((_TORCH_FOLDER, _OWN_FOLDER, "<"))]
    if not frames:
        return "its call"
    return f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}: {frames[-1].line}"


@contextmanager
def _own_forwards(painter: Painter, modules: Modules) -> Iterator[None]:
    """Keep the dotted name of the module that runs on top of the painter's stack, and let torch's own layers go the short way.

    Each forward is wrapped rather than hooked, since a global hook would send every module call down torch's slow path.
    """
    modules = {name: module for name, module in modules.items() if not isinstance(module, torch.jit.ScriptModule)}
    own = [vars(module).get("forward") for module in modules.values()]
    for name, module in modules.items():
        module.__dict__["forward"] = _announced(direct(module, painter.run_directly), name, painter.modules)
    try:
        yield
    finally:
        for module, forward in zip(modules.values(), own):
            if forward is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = forward
        painter.modules.clear()


def _announced(forward: Callable[..., Any], name: str, running: list[str]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        running.append(name)
        try:
            return forward(*args, **kwargs)
        finally:
            running.pop()

    return call
