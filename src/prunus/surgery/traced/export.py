"""Trace a model with torch.export into a `TracedModule`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from prunus.errors import TraceError
from prunus.paint.inputs import map_tensors, tensors_in
from prunus.paint.model_copy import copy_model, named_tensors
from prunus.plans.described import describe_if_possible
from prunus.surgery.traced.elsewhere import Elsewhere, device_of, dtype_of
from prunus.surgery.traced.example import PRIME, Batch, Inputs, batch_of, larger_inputs, of_batch_two, unset
from prunus.surgery.traced.literals import operator_name
from prunus.surgery.traced.module import TracedModule, install_batch_norm
from prunus.surgery.traced.setting import EndlessSizeError, exporting
from prunus.surgery.traced.untie import types_in, untie_batch, untie_device, untie_types

_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")
_MANY = 1 << 16  # operators

Free = Callable[[Tensor], dict[int, Any]]


class _Way(NamedTuple):
    """One way to export a model: the inputs, of which only shapes and types count, which of their axes may
    change, whether they are `PRIME` ones, so that what was written down of the batch is known, and whether
    its code is read rather than run, which follows numbers made of sizes.
    """

    inputs: Inputs
    free: Free
    prime: bool = False
    strict: bool = False


def export_module(model: nn.Module, inputs: Inputs, operators: int = _MANY) -> TracedModule:
    """Trace a copy of the model with torch.export: batch, all other sizes, type and device are free where the
    model allows.

    `operators` says how many operators the model calls, about; one that calls many more on a larger batch is
    tied to its batch. What the module is tied to stands in its `lengths`.

    Raises TraceError if torch.export cannot.
    """
    source = copy_model(model, {}).eval()
    batch, larger = batch_of(model, inputs, most=operators), larger_inputs(model, inputs)
    # a forward may keep state of what it saw
    shared = copy_model(source, {id(tensor): tensor for tensor in named_tensors(source).values()})
    elsewhere = Elsewhere(
        shared, inputs, batch or batch_of(model, inputs, 3) or batch_of(model, inputs, 2), larger
    )
    failures, tied = list[BaseException](), list[tuple[int, TracedModule]]()
    for way in _ways(inputs, larger is not None, batch):
        if tied and not (way.prime or way.strict):
            break
        try:
            traced, written = _export(source, way)
            if way.prime and batch is not None:
                untie_batch(
                    traced.graph,
                    PRIME,
                    next(node for node, has in zip(written, batch.has, strict=True) if has),
                )
                traced.rebuild()
            ties = elsewhere.ties(traced)
            loose = len(ties) + (
                elsewhere.batch is None and any(length is not None for length in written.values())
            )
            if not loose:
                return _finished(source, traced, inputs)
            if elsewhere.fits(traced):
                traced.lengths = elsewhere.lengths(ties) if ties else ()
                tied.append((loose, traced))
        except (Exception, EndlessSizeError) as error:  # torch.export raises errors of many kinds
            failures.append(error)
    if tied:
        return _finished(source, min(tied, key=lambda found: found[0])[1], inputs)
    reason = (
        (str(failures[0]).strip() or repr(failures[0])).splitlines()[0]
        if failures
        else "its forward is tied to a batch"
    )
    raise TraceError(f"torch.export cannot trace {type(model).__name__} ({reason}).")


def _ways(inputs: Inputs, sizes: bool, batch: Batch | None) -> Iterator[_Way]:
    """From free to tied. Where only the batch can be free, without any symbol first, as torch.export
    has to reason about each.
    """
    two = of_batch_two(inputs)
    changed = [t.shape for t in tensors_in(two)] != [t.shape for t in tensors_in(inputs)]
    prime = (
        None
        if batch is None
        else batch.resized(inputs, PRIME, lambda t, shape: torch.empty(shape, dtype=t.dtype, device="meta"))
    )
    if prime is not None and not sizes:
        yield _Way(prime, _no_axis, prime=True)
    if sizes:
        yield _Way(two, _all_axes)
        if prime is not None:
            yield _Way(prime, _all_axes, prime=True)
        yield _Way(two, _all_axes, strict=True)
    yield _Way(two, _first_axis)
    if not sizes:
        yield _Way(two, _first_axis, strict=True)
    if changed and sizes:
        yield _Way(inputs, _all_axes)
    if changed:
        yield _Way(inputs, _first_axis)
    yield _Way(inputs, _no_axis)


def _all_axes(tensor: Tensor) -> dict[int, Any]:
    return dict.fromkeys(range(tensor.dim()), torch.export.Dim.AUTO)


def _first_axis(tensor: Tensor) -> dict[int, Any]:
    return {0: torch.export.Dim.AUTO} if tensor.dim() else {}


def _no_axis(tensor: Tensor) -> dict[int, Any]:
    return {}


def _finished(source: nn.Module, traced: TracedModule, inputs: Inputs) -> TracedModule:
    """The traced module, free of the device that it was exported on, and of the type of its parameters where
    the forward asks for that.
    """
    traced.inputs = describe_if_possible(inputs)
    if isinstance(source, TracedModule):
        traced.lengths = traced.lengths or source.lengths
    anchor = next((name for name, p in traced.named_parameters() if p.is_floating_point()), None)
    if anchor is not None:
        untie_device(traced.graph, anchor)
        own = dtype_of(source)
        types = types_in(traced.graph)
        if any(kind == own for _, kind in types):
            other, again = _types_of_another(source, inputs, own)
            if [name for name, _ in types] == [name for name, _ in again]:
                untie_types(
                    traced.graph, anchor, [a == own and b == other for (_, a), (_, b) in zip(types, again)]
                )
        traced.rebuild()
    return traced


def _types_of_another(
    source: nn.Module, inputs: Inputs, own: torch.dtype
) -> tuple[torch.dtype, list[tuple[str, torch.dtype]]]:
    """Another type for parameters and inputs, and all types that the graph names then; none if the model does
    not take it.
    """
    other = torch.float64 if own != torch.float64 else torch.float32
    cast: Inputs = map_tensors(
        inputs, lambda t: torch.empty(t.shape, dtype=other if t.dtype == own else t.dtype, device="meta")
    )
    try:
        return other, types_in(_export(copy_model(source, {}).to(other), _Way(cast, _no_axis))[0].graph)
    except Exception:  # likewise
        return other, []


def _export(source: nn.Module, way: _Way) -> tuple[TracedModule, dict[fx.Node, int | None]]:
    """The traced module, and for every input that is a tensor the length of its first axis, where the graph
    is tied to it.
    """
    args, kwargs = map_tensors(way.inputs, partial(unset, device=device_of(source)))
    shapes = _by_parameter(source, map_tensors((args, kwargs), way.free))  # type: ignore[arg-type]
    with torch.no_grad(), exporting(way.strict), torch.random.fork_rng(devices=[]):
        program = torch.export.export(source, args, kwargs or None, dynamic_shapes=shapes, strict=way.strict)
        module = program.module()
    for node in list(module.graph.nodes):
        if (node.op == "call_module" and "_guards" in str(node.target)) or operator_name(node).startswith(
            ("_assert", "sym_constrain")
        ):
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    shell = _containers(module)
    _add_unread(shell, source)
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
    """Turn batch-norm operators back into modules, so that modes, momentum and statistics
    work as everywhere.
    """
    for node in list(graph.nodes):
        if operator_name(node) != "batch_norm" or node.args[3] is None:
            continue
        parts = [None if n is None else str(n.target).rpartition(".") for n in node.args[1:5]]
        owners = {part[0] for part in parts if part is not None}
        names = [part[2] if part else None for part in parts]
        if (
            len(owners) != 1
            or "" in owners
            or any(n not in (None, wanted) for n, wanted in zip(names, _NORM_TENSORS))
        ):
            continue
        (owner,) = owners
        # none: a cumulative average, which the graph does not know
        momentum = getattr(source.get_submodule(owner), "momentum", node.args[6])
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
    named = {
        name: value
        for name, value in kwargs.items()
        if rest is None or name in source.forward.__code__.co_varnames
    }
    shapes |= named
    if rest is not None and len(named) < len(kwargs):
        shapes[rest] = {name: value for name, value in kwargs.items() if name not in named}
    return shapes


def _add_unread(shell: nn.Module, source: nn.Module) -> None:
    """What no forward reads is kept too, under its name: torch.export may leave it out."""
    held = {name for name, _ in shell.named_parameters(remove_duplicate=False)}
    for name, parameter in source.named_parameters(remove_duplicate=False):
        if name not in held:
            place = shell
            *path, leaf = name.split(".")
            for part in path:
                if part not in place._modules:
                    place.add_module(part, nn.Module())
                place = place.get_submodule(part)
            place.register_parameter(leaf, parameter)


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
