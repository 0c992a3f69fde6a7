"""Trace a model with torch.export into a `TracedModule`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from ..agreement import difference, rounding
from ..errors import TraceError
from .export_example import PRIME, Batch, Inputs, batch_of, drawn, of_batch_two, takes_other_sizes, unset
from .export_setting import EndlessSizeError, exporting
from .plan import describe_if_possible
from .rewrite import operator_name
from .seeds import seeded
from .trace import map_tensors, tensors_in
from .traced import TracedModule, install_batch_norm
from .twin import copy_model, named_tensors
from .untie import types_in, untie_batch, untie_device, untie_types

_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")
_MANY = 1 << 16  # operators

Free = Callable[[Tensor], dict[int, Any]]


class _Way(NamedTuple):
    """One way to export a model: the inputs, of which only shapes and types count, which of their axes may change, and whether they are `PRIME`
    ones, so that what was written down of the batch is known."""

    inputs: Inputs
    free: Free
    prime: bool


def export_module(model: nn.Module, inputs: Inputs, operators: int = _MANY) -> TracedModule:
    """Trace a copy of the model with torch.export: batch, all other sizes, type and device are free where the model allows.

    `operators` says how many operators the model calls, about; one that calls many more on a larger batch is tied to its batch.

    Raises TraceError if torch.export cannot.
    """
    source = copy_model(model, {}).eval()
    batch, failures, tied = batch_of(model, inputs, operators), list[BaseException](), None
    for way in _ways(inputs, takes_other_sizes(model, inputs), batch):
        if tied is not None and not way.prime:
            break
        try:
            traced, lengths = _export(source, way)
            if way.prime and batch is not None:
                untie_batch(traced.graph, PRIME, next(node for node, has in zip(lengths, batch.has, strict=True) if has))
                traced.rebuild()
                if _follows_batch(source, traced, inputs, batch):
                    return _finished(source, traced, inputs)
            elif not _is_tied(list(lengths.values()), batch):
                return _finished(source, traced, inputs)
            elif _fits(list(lengths.values()), inputs):
                tied = traced
        except (Exception, EndlessSizeError) as error:  # torch.export raises errors of many kinds
            failures.append(error)
    if tied is not None:
        return _finished(source, tied, inputs)
    reason = (str(failures[0]).strip() or repr(failures[0])).splitlines()[0] if failures else "its forward is tied to a batch"
    raise TraceError(f"torch.export cannot trace {type(model).__name__} ({reason}).")


def _ways(inputs: Inputs, sizes: bool, batch: Batch | None) -> Iterator[_Way]:
    """From free to tied. Where only the batch can be free, without any symbol first, as they cost torch.export most of its time."""
    two = of_batch_two(inputs)
    changed = [t.shape for t in tensors_in(two)] != [t.shape for t in tensors_in(inputs)]
    prime = None if batch is None else batch.resized(inputs, PRIME, lambda t, shape: torch.empty(shape, dtype=t.dtype, device="meta"))
    if prime is not None and not sizes:
        yield _Way(prime, _no_axis, True)
    if sizes:
        yield _Way(two, _all_axes, False)
        if prime is not None:
            yield _Way(prime, _all_axes, True)
    yield _Way(two, _first_axis, False)
    if changed and sizes:
        yield _Way(inputs, _all_axes, False)
    if changed:
        yield _Way(inputs, _first_axis, False)
    yield _Way(inputs, _no_axis, False)


def _all_axes(tensor: Tensor) -> dict[int, Any]:
    return dict.fromkeys(range(tensor.dim()), torch.export.Dim.AUTO)


def _first_axis(tensor: Tensor) -> dict[int, Any]:
    return {0: torch.export.Dim.AUTO} if tensor.dim() else {}


def _no_axis(tensor: Tensor) -> dict[int, Any]:
    return {}


def _is_tied(lengths: list[int | None], batch: Batch | None) -> bool:
    """Whether the batch, or the first axis of any input where nothing is known of a batch, is written down."""
    return any(length is not None for length, has in zip(lengths, batch.has if batch else [True] * len(lengths)) if has)


def _fits(lengths: list[int | None], inputs: Inputs) -> bool:
    """Whether first axes that are written down are those of the inputs."""
    own = [tensor.shape[0] if tensor.dim() else None for tensor in tensors_in(inputs)]
    return all(length is None or length == mine for length, mine in zip(lengths, own, strict=True))


def _follows_batch(source: nn.Module, traced: TracedModule, inputs: Inputs, batch: Batch) -> bool:
    """Whether the traced module computes what the model does on another batch."""
    device = _device(source)
    args, kwargs = batch.resized(inputs, 3 if batch.size == 2 else 2, partial(drawn, device=device))
    with torch.no_grad(), seeded():
        expected = list(tensors_in(source(*args, **kwargs)))
    with torch.no_grad(), seeded():
        found = list(tensors_in(traced(*args, **kwargs)))
    if device.type == "meta":
        return [t.shape for t in expected] == [t.shape for t in found]
    return difference(expected, found).relative <= rounding(_dtype(source))


def _finished(source: nn.Module, traced: TracedModule, inputs: Inputs) -> TracedModule:
    """The traced module, free of the device that it was exported on, and of the type of its parameters where the forward asks for that."""
    traced.inputs = describe_if_possible(inputs)
    anchor = next((name for name, p in traced.named_parameters() if p.is_floating_point()), None)
    if anchor is not None:
        untie_device(traced.graph, anchor)
        own = _dtype(source)
        types = types_in(traced.graph)
        if any(kind == own for _, kind in types):
            other, again = _types_of_another(source, inputs, own)
            if [name for name, _ in types] == [name for name, _ in again]:
                untie_types(traced.graph, anchor, [a == own and b == other for (_, a), (_, b) in zip(types, again)])
        traced.rebuild()
    return traced


def _types_of_another(source: nn.Module, inputs: Inputs, own: torch.dtype) -> tuple[torch.dtype, list[tuple[str, torch.dtype]]]:
    """Another type for parameters and inputs, and all types that the graph names then; none if the model does not take it."""
    other = torch.float64 if own != torch.float64 else torch.float32
    cast: Inputs = map_tensors(inputs, lambda t: torch.empty(t.shape, dtype=other if t.dtype == own else t.dtype, device="meta"))
    try:
        return other, types_in(_export(copy_model(source, {}).to(other), _Way(cast, _no_axis, False))[0].graph)
    except Exception:  # likewise
        return other, []


def _device(model: nn.Module) -> torch.device:
    return next((tensor.device for tensor in named_tensors(model).values()), torch.device("cpu"))


def _dtype(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def _export(source: nn.Module, way: _Way) -> tuple[TracedModule, dict[fx.Node, int | None]]:
    """The traced module, and for every input that is a tensor the length of its first axis, where the graph is tied to it."""
    args, kwargs = map_tensors(way.inputs, partial(unset, device=_device(source)))
    shapes = _by_parameter(source, map_tensors((args, kwargs), way.free))  # type: ignore[arg-type]
    with torch.no_grad(), exporting(), torch.random.fork_rng(devices=[]):
        program = torch.export.export(source, args, kwargs or None, dynamic_shapes=shapes, strict=False)
        module = program.module()
    for node in list(module.graph.nodes):
        if (node.op == "call_module" and "_guards" in str(node.target)) or operator_name(node).startswith(("_assert", "sym_constrain")):
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    shell = _containers(module)
    inputs = {node: node.meta.get("val") for node in module.graph.nodes if node.op == "placeholder"}
    lengths = {node: _written_length(value) for node, value in inputs.items() if isinstance(value, Tensor)}
    for node in module.graph.nodes:
        node.meta = {}
    _batch_norm_modules(source, shell, module.graph)
    return TracedModule(shell, module.graph), lengths


def _written_length(example: Tensor) -> int | None:
    from torch.fx.experimental.symbolic_shapes import free_symbols  # slow to import, and torch.export did it

    length = example.shape[0] if example.dim() else None
    return None if length is None or free_symbols(length) else int(length)


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
