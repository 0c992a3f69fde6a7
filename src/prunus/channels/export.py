"""Trace a model with torch.export into a `TracedModule`."""

from __future__ import annotations

import ctypes
import inspect
import logging
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..errors import TraceError
from .paint import Painter
from .plan import describe_if_possible
from .rewrite import operator_name
from .rules import RULES, fallback
from .trace import map_tensors, run
from .traced import TracedModule, install_batch_norm
from .twin import copy_model, meta_twin, named_tensors

_PATIENCE = 12.0  # seconds for an export with every size symbolic; then only the batch axis is
_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


def export_module(model: nn.Module, inputs: tuple[tuple[Any, ...], dict[str, Any]]) -> TracedModule:
    """Trace a copy of the model with torch.export: batch size and all other sizes are dynamic where the model allows.

    Raises TraceError if torch.export cannot.
    """
    source = copy_model(model, {}).eval()
    device = next((t.device for t in named_tensors(model).values()), torch.device("cpu"))
    failures = []
    for batch_of_two in (True, False):
        example = map_tensors(inputs, lambda t, two=batch_of_two: _example(t, device, two))  # type: ignore[misc]
        for free in (_all_axes, _first_axis, _no_axis) if takes_other_sizes(model, inputs) else (_first_axis, _no_axis):
            try:
                with _time_limit(_PATIENCE if free is _all_axes else None):
                    traced = _export(source, example[0], example[1], map_tensors(example, free))  # type: ignore[arg-type]
                    traced.inputs = describe_if_possible(inputs)
                    return traced
            except (Exception, _TooSlow) as error:  # torch.export raises errors of many kinds
                failures.append(error)
    reason = (str(failures[0]).strip() or repr(failures[0])).splitlines()[0]
    raise TraceError(f"torch.export cannot trace {type(model).__name__} ({reason}).")


def takes_other_sizes(model: nn.Module, inputs: tuple[tuple[Any, ...], dict[str, Any]]) -> bool:
    """Whether the model runs on larger images: tried on meta tensors, because making sizes symbolic that are not costs torch.export much time."""

    def larger(tensor: Tensor) -> Tensor:
        shape = [n + 32 if axis >= 2 and tensor.dim() > 2 else n for axis, n in enumerate(tensor.shape)]
        return torch.empty(shape, dtype=tensor.dtype, device="meta")

    painter = Painter(RULES, fallback)
    args, kwargs = map_tensors(inputs, larger)
    try:
        run(painter, meta_twin(model), args, kwargs)
    except TraceError:
        return False
    return True


def _all_axes(tensor: Tensor) -> dict[int, Any]:
    return dict.fromkeys(range(tensor.dim()), torch.export.Dim.AUTO)


def _first_axis(tensor: Tensor) -> dict[int, Any]:
    return {0: torch.export.Dim.AUTO} if tensor.dim() else {}


def _no_axis(tensor: Tensor) -> dict[int, Any]:
    return {}


def _example(tensor: Tensor, device: torch.device, batch_of_two: bool) -> Tensor:
    """A tensor of the example's shape; a batch axis of one becomes two, because torch.export would take a one for a constant."""
    shape = list(tensor.shape)
    if batch_of_two and shape and shape[0] == 1:
        shape[0] = 2
    if tensor.dtype.is_floating_point:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32).to(device, tensor.dtype)
    return torch.zeros(shape, dtype=tensor.dtype, device=device)


def _export(source: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: Any) -> TracedModule:
    shapes = _by_parameter(source, dynamic)
    with torch.no_grad(), _quiet(), torch.random.fork_rng(devices=[]):
        program = torch.export.export(source, args, kwargs or None, dynamic_shapes=shapes, strict=False)
        module = program.module()
    for node in list(module.graph.nodes):
        if (node.op == "call_module" and "_guards" in str(node.target)) or operator_name(node).startswith(("_assert", "sym_constrain")):
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    shell = _containers(module)
    for node in module.graph.nodes:
        node.meta = {}
    _batch_norm_modules(source, shell, module.graph)
    return TracedModule(shell, module.graph)


def _batch_norm_modules(source: nn.Module, shell: nn.Module, graph: fx.Graph) -> None:
    """Turn batch-norm operators back into modules, so that modes, momentum and statistics work as everywhere."""
    for node in list(graph.nodes):
        if operator_name(node) != "batch_norm" or node.args[3] is None:
            continue
        parts = [None if n is None else str(n.target).rpartition(".") for n in node.args[1:5]]
        owners = {part[0] for part in parts if part is not None}
        names = [part[2] if part else None for part in parts]
        if len(owners) != 1 or "" in owners or any(n not in (None, wanted) for n, wanted in zip(names, _NORM_TENSORS)):
            continue
        (owner,) = owners
        momentum = getattr(source.get_submodule(owner), "momentum", node.args[6])  # none: a cumulative average, which the graph does not know
        install_batch_norm(shell, owner, momentum=momentum, eps=float(node.args[7]))
        with graph.inserting_before(node):
            call = graph.call_module(owner, (node.args[0],))
        node.replace_all_uses_with(call)
        graph.erase_node(node)
    graph.eliminate_dead_code()


class _TooSlow(BaseException):
    """Raised inside torch.export when symbolic sizes take too long; not an Exception, so that nothing on the way swallows it."""


@contextmanager
def _time_limit(seconds: float | None) -> Iterator[None]:
    """Raise _TooSlow in this thread after a while: simplifying the sizes of windowed attention can take torch.export many minutes."""
    if seconds is None:
        yield
        return
    thread, fired = threading.get_ident(), threading.Event()

    def fire() -> None:
        fired.set()
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_TooSlow))

    timer = threading.Timer(seconds, fire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if fired.is_set():
            with suppress(_TooSlow):
                time.sleep(0.05)  # an exception that is still on its way arrives here


@contextmanager
def _quiet() -> Iterator[None]:
    """torch.export reports at length what it takes for constant; what matters is tested afterwards."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _by_parameter(source: nn.Module, dynamic: Any) -> Any:
    """Free axes in the form of the forward's own signature: variadic arguments are one entry each."""
    args, kwargs = dynamic
    parameters = inspect.signature(source.forward).parameters.values()
    plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variadic = next((p.name for p in parameters if p.kind == p.VAR_POSITIONAL), None)
    rest = next((p.name for p in parameters if p.kind == p.VAR_KEYWORD), None)
    shapes: dict[str, Any] = dict(zip(plain, args))
    if variadic is not None and len(args) > len(plain):
        shapes[variadic] = tuple(args[len(plain) :])
    named = {name: value for name, value in kwargs.items() if rest is None or name in source.forward.__code__.co_varnames}
    shapes |= named
    if rest is not None and len(named) < len(kwargs):
        shapes[rest] = {name: value for name, value in kwargs.items() if name not in named}
    return shapes


def _containers(module: nn.Module) -> nn.Module:
    """Plain modules that hold the same parameters and buffers under the same names."""
    shell = nn.Module()
    for name, parameter in module._parameters.items():
        shell.register_parameter(name, parameter)
    for name, buffer in module._buffers.items():
        shell.register_buffer(name, buffer, persistent=name not in module._non_persistent_buffers_set)
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            shell.register_buffer(name, value.detach(), persistent=False)
    for name, child in module._modules.items():
        if child is not None and "_guards" not in name:
            shell.add_module(name, _containers(child))
    return shell
