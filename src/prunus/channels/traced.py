"""The fallback for forwards that hard-code sizes: the exported graph as a trainable module, its size constants rewritten."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from ..errors import TraceError
from .fold import Fold, folded_shift, folds
from .graph import ChannelGraph, build
from .paint import Painter
from .plan import Plan
from .rewrite import Painted, Scene, UnrewritableError, operator_name, rewrite
from .rules import RULES, fallback
from .surgery import Surgery, cut, slices_of
from .trace import map_tensors, paint_sources, run, tensors_in, to_meta
from .twin import copy_model, meta_twin, named_tensors


class TracedModule(nn.Module):
    """A traced forward as an ordinary module: parameters under their original names, batch size and resolution free, train and eval mode.

    Attributes:
        graph: the ATen operators, as a torch.fx graph.
    """

    def __init__(self, tensors: nn.Module, graph: fx.Graph) -> None:
        super().__init__()
        self._parameters = tensors._parameters
        self._buffers = tensors._buffers
        self._non_persistent_buffers_set = tensors._non_persistent_buffers_set
        self._modules = tensors._modules
        self.training = False
        self.graph = graph
        info = graph._codegen.pytree_info  # type: ignore[attr-defined]
        self._in_spec, self._out_spec = info.in_spec, info.out_spec  # the names that the generated code uses
        self._run: Callable[..., Any] = compile_graph(graph)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph; same inputs and outputs as the module that was traced."""
        return self._run(self, *args, **kwargs)

    def train(self, mode: bool = True) -> TracedModule:
        """Switch batch norms and dropouts of the graph between training and evaluation."""
        super().train(mode)
        self.switch_mode(mode)
        return self

    def switch_mode(self, training: bool) -> None:
        """Set the training flag of every operator that has one; only needed where `training` was set without `train()`."""
        changed = False
        for node in self.graph.nodes:
            changed |= _switch(node, training)
        if changed:
            self.rebuild()

    def rebuild(self) -> None:
        """Compile the graph again after its nodes changed."""
        self._run = compile_graph(self.graph)

    def __deepcopy__(self, memo: dict[int, Any]) -> TracedModule:
        shell = nn.Module()
        for name in ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules"):
            setattr(shell, name, copy.deepcopy(getattr(self, name), memo))
        result = TracedModule(shell, copy.deepcopy(self.graph))
        kept = (
            "_parameters",
            "_buffers",
            "_non_persistent_buffers_set",
            "_modules",
            "graph",
            "_run",
            "_in_spec",
            "_out_spec",
        )
        for name, value in self.__dict__.items():
            if name not in kept:
                result.__dict__[name] = copy.deepcopy(value, memo) if name != "prunus" else value
        return result


def _switch(node: fx.Node, training: bool) -> bool:
    """Set one node's training flag: batch_norm(…, training, momentum, eps, cudnn), instance_norm is free of modes, dropout(x, p, train)."""
    name = operator_name(node)
    index = {"batch_norm": 5, "dropout": 2, "feature_dropout": 2, "alpha_dropout": 2}.get(name)
    if index is None or node.args[index] == training:
        return False
    if name == "batch_norm" and node.args[3] is None:
        return False  # without running statistics it always uses those of the batch
    node.update_arg(index, training)
    return True


def compile_graph(graph: fx.Graph) -> Callable[..., Any]:
    """The Python function of a graph; its first argument is the module that owns the tensors."""
    code = graph.python_code("self")
    scope = dict(code.globals)
    exec(compile(code.src, "<prunus traced graph>", "exec"), scope)
    function: Callable[..., Any] = scope["forward"]
    return function


def compact_traced(model: nn.Module, graph: ChannelGraph, plan: Plan) -> TracedModule | None:
    """The traced compact model, or None where export or a literal refuses."""
    try:
        removed = plan.removed_in(graph)
        result = _shrink(export_module(model, graph.inputs), graph, removed)
        fold_traced(model, result, folds(graph, removed), Surgery(slices_of(graph, removed)))
        return result
    except (TraceError, UnrewritableError):
        return None
    except Exception as error:  # whatever torch.export's graph holds, the eager way with fewer channels is still open
        warnings.warn(
            f"the traced graph of {type(model).__name__} cannot be shrunk ({type(error).__name__}); using its own forward",
            stacklevel=3,
        )
        return None


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
                return _export(source, example[0], example[1], map_tensors(example, free))  # type: ignore[arg-type]
            except Exception as error:  # torch.export raises errors of many kinds
                failures.append(error)
    reason = (str(failures[0]).strip() or repr(failures[0])).splitlines()[0]
    raise TraceError(f"torch.export cannot trace {type(model).__name__} ({reason})")


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
        return torch.randn(shape, dtype=torch.float32).to(device, tensor.dtype)
    return torch.zeros(shape, dtype=tensor.dtype, device=device)


def _export(source: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: Any) -> TracedModule:
    shapes = dynamic[0] if not dynamic[1] else _by_name(source, dynamic)
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
    return TracedModule(shell, module.graph)


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


def _by_name(source: nn.Module, dynamic: Any) -> dict[str, Any]:
    import inspect

    names = list(inspect.signature(source.forward).parameters)
    return {**dict(zip(names, dynamic[0])), **dynamic[1]}


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


class _NodePainter(fx.Interpreter):
    """Runs a graph under a painter and remembers the tensors of every node."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        super().__init__(module, garbage_collect_values=False, graph=graph)
        self.tensors: dict[fx.Node, tuple[Tensor, ...]] = {}

    def run_node(self, node: fx.Node) -> Any:
        result = super().run_node(node)
        self.tensors[node] = tuple(tensors_in(result))
        return result


def _shrink(module: TracedModule, dense: ChannelGraph, removed: NDArray[np.bool_]) -> TracedModule:
    """Paint the exported graph, find the same channels in it, rewrite its literals and slice its parameters."""
    painter = Painter(RULES, fallback)
    twin = meta_twin(module)
    sources = paint_sources(painter, twin)
    runner = _NodePainter(twin, module.graph)
    inputs = [to_meta(t) for t in tensors_in(dense.inputs)]
    with torch.no_grad(), painter:
        outputs = runner.run(*inputs, enable_io_processing=False)
    for tensor in tensors_in(outputs):
        for layer in painter.paint_of(tensor):
            painter.pin(layer.labels, "model output", "output")
    painted = build(module, twin, dense.inputs, painter, sources)
    read = {id(t) for record in painter.records for t in record.tensors}
    unused = {source.name for source in sources if id(source.tensor) not in read}
    gone = _same_channels(painted, dense, removed, unused)
    values = {node: tuple(Painted(tuple(t.shape), painter.paint_of(t)) for t in tensors) for node, tensors in runner.tensors.items() if tensors}
    scene = Scene(painted, gone, values)
    for node in module.graph.nodes:
        if node.op == "call_function":
            rewrite(scene, node)
    tensors = named_tensors(module)
    slices = {name: axes for name, axes in slices_of(dense, removed).items() if name in tensors}
    replace = {id(tensors[name]): cut(tensors[name], axes) for name, axes in slices.items()}
    result = cast(TracedModule, copy_model(module, replace))
    _check_shapes(result, scene, inputs)
    return result


def _check_shapes(result: TracedModule, scene: Scene, inputs: list[Tensor]) -> None:
    """Run the rewritten graph on meta tensors; raises UnrewritableError at the first node whose shape is not what should be left."""
    runner = _NodePainter(meta_twin(result), result.graph)
    with torch.no_grad():
        runner.run(*inputs, enable_io_processing=False)
    found = {node.name: tensors for node, tensors in runner.tensors.items()}
    for node, painted in scene.values.items():
        for value, tensor in zip(painted, found.get(node.name, ())):
            if scene.after(value) != tuple(tensor.shape):
                raise UnrewritableError(node, f"gives {tuple(tensor.shape)} instead of {scene.after(value)}")


def fold_traced(model: nn.Module, small: TracedModule, moves: Sequence[Fold], surgery: Surgery) -> None:
    """Add the constants of removed channels to the biases of the graph; a convolution without one gets a bias."""
    tensors = named_tensors(model)
    owned = dict(small.named_parameters())
    for fold in moves:
        prefix = f"{fold.module}." if fold.module else ""
        shift = folded_shift(tensors[f"{prefix}weight"], fold, surgery.slices.get(f"{prefix}weight", {}).get(0))
        if f"{prefix}bias" in owned:
            with torch.no_grad():
                owned[f"{prefix}bias"].add_(shift)
        else:
            small.get_submodule(fold.module).register_parameter("bias", nn.Parameter(shift))
            _read_bias(small.graph, prefix)
    if moves:
        small.rebuild()


def _read_bias(graph: fx.Graph, prefix: str) -> None:
    weight = next(n for n in graph.nodes if n.op == "get_attr" and n.target == f"{prefix}weight")
    for user in list(weight.users):
        with graph.inserting_before(user):
            bias = graph.get_attr(f"{prefix}bias")
        user.args = (*user.args[:2], bias, *user.args[3:])


def _same_channels(painted: ChannelGraph, dense: ChannelGraph, removed: NDArray[np.bool_], unused: set[str]) -> NDArray[np.bool_]:
    """The removed channels in the exported graph's numbering; raises TraceError where the two graphs do not agree.

    `unused` are tensors that only dead code reads: torch.export drops that code.
    """
    gone = np.zeros(painted.num_channels, dtype=bool)
    mine = {(axis.name, axis.dim): axis.channels for axis in painted.axes}
    wanted = []
    for axis in dense.axes:
        lost = (axis.channels >= 0) & removed[axis.channels] if len(removed) else np.zeros(len(axis.channels), dtype=bool)
        if axis.name in unused:
            continue
        if (axis.name, axis.dim) not in mine:
            if lost.any():
                raise TraceError(f"torch.export renamed {axis.name}")
            continue
        channels = mine[axis.name, axis.dim]
        if (channels[lost] < 0).any():
            raise TraceError(f"{axis.name} is pinned in the exported graph")
        gone[channels[lost]] = True
        wanted.append((channels, lost))
    for channels, lost in wanted:
        if (gone[channels] & (channels >= 0) != lost).any() if len(gone) else lost.any():
            raise TraceError("the exported graph couples channels that the model does not")
    return gone
