"""The fallback for forwards that hard-code sizes: the exported graph, its size constants rewritten and its
parameters sliced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from prunus._foundation.warned import warn
from prunus.errors import TraceError
from prunus.paint.build import build
from prunus.paint.folding import Fold, folded_shift, folds
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import tensors_in, to_meta
from prunus.paint.model_copy import copy_model, meta_twin, named_tensors
from prunus.paint.painter import Painter
from prunus.paint.source import paint_sources
from prunus.paint.trace import pin_outputs
from prunus.plans.plan import Plan
from prunus.plans.slices import cut, slices_of
from prunus.surgery.indices import follow
from prunus.surgery.slicing import Surgery
from prunus.surgery.traced.export import export_module
from prunus.surgery.traced.literals import Painted, Scene, UnrewritableError, rewrite
from prunus.surgery.traced.module import TracedBatchNorm, TracedModule
from prunus.surgery.traced.widths import keep_width


def compact_traced(model: nn.Module, graph: ChannelGraph, plan: Plan, norms: str) -> TracedModule | None:
    """The traced compact model, or None where export or a literal refuses."""
    try:
        removed = plan.removed_in(graph)
        result = _shrink(export_module(model, graph.inputs, len(graph.records)), graph, removed, norms)
        fold_traced(model, result, folds(graph, removed), Surgery(slices_of(graph, removed)))
        return result
    except (TraceError, UnrewritableError):
        return None
    # whatever torch.export's graph holds, the eager way with fewer channels is still open
    except Exception as error:
        warn(
            f"the traced graph of {type(model).__name__} cannot be shrunk ({type(error).__name__}); using its"
            " own forward"
        )
        return None


class _NodePainter(fx.Interpreter):
    """Runs a graph under a painter and remembers the tensors of every node."""

    def __init__(self, module: nn.Module, graph: fx.Graph, painter: Painter) -> None:
        super().__init__(module, garbage_collect_values=False, graph=graph)
        self.painter = painter
        self.tensors: dict[fx.Node, tuple[Tensor, ...]] = {}
        self.values: dict[
            fx.Node, tuple[Painted, ...]
        ] = {}  # as they were then: a tensor may be given another shape in place
        self.made_by: list[fx.Node] = []  # per record of the painter that runs

    def run_node(self, node: fx.Node) -> Any:
        result = super().run_node(node)
        self.tensors[node] = tuple(tensors_in(result))
        self.values[node] = tuple(
            [Painted(tuple(t.shape), self.painter.paint_of(t)) for t in self.tensors[node]]
        )
        self.made_by += [node] * (len(self.painter.records) - len(self.made_by))
        return result


def _shrink(
    module: TracedModule, dense: ChannelGraph, removed: NDArray[np.bool_], norms: str
) -> TracedModule:
    """Paint the exported graph, find the same channels in it, rewrite its literals and
    slice its parameters.
    """
    painter = Painter()
    twin = meta_twin(module)
    sources = paint_sources(painter, twin.modules)
    runner = _NodePainter(twin.model, module.graph, painter)
    inputs = [to_meta(t) for t in tensors_in(dense.inputs)]
    with torch.no_grad(), painter:
        outputs = runner.run(*inputs, enable_io_processing=False)
    pin_outputs(painter, "the traced graph", outputs)
    painted = build(module, twin, dense.inputs, painter, sources)
    read = {id(t) for record in painter.records for t in record.tensors}
    unused = {source.name for source in sources if id(source.tensor) not in read}
    gone = _same_channels(painted, dense, removed, unused)
    values = {node: painted for node, painted in runner.values.items() if painted}
    scene = Scene(painted, gone, values)
    first = {node: painter.value_of(tensors[0]) for node, tensors in runner.tensors.items() if tensors}
    known = {node: value for node, value in first.items() if value is not None}
    paints = {node: painted[0].paint for node, painted in values.items()}
    follow(
        module,
        scene.graph,
        gone,
        module.graph,
        paints,
        {node: len(painted[0].shape) for node, painted in values.items()},
        known,
    )
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node in values:
            rewrite(scene, node)
    if norms == "original":
        _keep_widths(module.graph, scene, runner)
    tensors = named_tensors(module)
    slices = {name: axes for name, axes in slices_of(dense, removed).items() if name in tensors}
    replace = {id(tensors[name]): cut(tensors[name], axes) for name, axes in slices.items()}
    result = cast(TracedModule, copy_model(module, replace))
    for norm in result.modules():
        if isinstance(norm, TracedBatchNorm):
            norm.num_features = len(cast(Tensor, norm.running_mean))
    _check_shapes(result, scene, inputs)
    return result


def _keep_widths(graph: fx.Graph, scene: Scene, runner: _NodePainter) -> None:
    """Let every statistic that loses slots go on dividing by as many as there were; raises UnrewritableError
    where it cannot.
    """
    ratios: dict[fx.Node, float] = {}
    centres: dict[fx.Node, tuple[fx.Node, int]] = {}
    for one in runner.painter.statistics:
        left = scene.graph.kept_length(one.labels, scene.removed)
        if 0 < left < len(one.labels):
            node = runner.made_by[one.record]
            ratios[node] = ratios.get(node, 1.0) * (left / len(one.labels))
            if one.centre is not None:
                centres[node] = runner.made_by[one.centre.record], one.centre.power
    known = {
        node: (_known_lengths(scene, scene.before(node)), tensors[0].dtype)
        for node, tensors in runner.tensors.items()
        if tensors
    }
    for node, ratio in ratios.items():
        became = keep_width(graph, node, ratio, known, centres.get(node))
        if became is None:
            raise UnrewritableError(node, "has no formula that keeps its width")
        known |= {became: known[node]} if node in known else {}
        centres |= {other: (became, power) for other, (mean, power) in centres.items() if mean is node}


def _known_lengths(scene: Scene, value: Painted) -> tuple[int | None, ...]:
    """The lengths of what is left of a tensor along its painted axes, which are the same whatever the inputs
    are.
    """
    painted = {stripe.axis for stripe in value.paint}
    return tuple(n if axis in painted else None for axis, n in enumerate(scene.after(value)))


def _check_shapes(result: TracedModule, scene: Scene, inputs: list[Tensor]) -> None:
    """Run the rewritten graph on meta tensors; raises UnrewritableError at the first node whose shape is not
    what should be left.
    """
    painter = Painter()  # which also keeps constants on meta
    runner = _NodePainter(meta_twin(result).model, result.graph, painter)
    with torch.no_grad(), painter:
        runner.run(*inputs, enable_io_processing=False)
    found = {node.name: made for node, made in runner.values.items()}
    for node, painted in scene.values.items():
        for value, made in zip(painted, found.get(node.name, ())):
            if scene.after(value) != made.shape:
                raise UnrewritableError(node, f"gives {made.shape} instead of {scene.after(value)}")


def fold_traced(model: nn.Module, small: TracedModule, moves: Sequence[Fold], surgery: Surgery) -> None:
    """Add the constants of removed channels to the biases of the graph; a convolution without one gets a
    bias.
    """
    tensors = named_tensors(model)
    owned = dict(small.named_parameters())
    read = {node.target for node in small.graph.nodes if node.op == "get_attr"}
    for fold in moves:
        prefix = f"{fold.module}." if fold.module else ""
        if f"{prefix}weight" not in read:  # only code without effect reads it, and torch.export drops that
            continue
        shift = folded_shift(
            tensors[f"{prefix}weight"], fold, surgery.slices.get(f"{prefix}weight", {}).get(0)
        )
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


def _same_channels(
    painted: ChannelGraph, dense: ChannelGraph, removed: NDArray[np.bool_], unused: set[str]
) -> NDArray[np.bool_]:
    """The removed channels in the exported graph's numbering; raises TraceError where the two graphs do not
    agree.

    `unused` are tensors that only dead code reads: torch.export drops that code.
    """
    gone = np.zeros(painted.num_channels, dtype=bool)
    mine = {(axis.name, axis.dim): axis.channels for axis in painted.axes}
    wanted = []
    for axis in dense.axes:
        lost = (
            (axis.channels >= 0) & removed[axis.channels]
            if len(removed)
            else np.zeros(len(axis.channels), dtype=bool)
        )
        if axis.name in unused:
            continue
        if (axis.name, axis.dim) not in mine:
            if lost.any():
                raise TraceError(f"torch.export renamed {axis.name}.")
            continue
        channels = mine[axis.name, axis.dim]
        if (channels[lost] < 0).any():
            raise TraceError(f"{axis.name} is pinned in the exported graph.")
        gone[channels[lost]] = True
        wanted.append((channels, lost))
    for channels, lost in wanted:
        if (gone[channels] & (channels >= 0) != lost).any() if len(gone) else lost.any():
            raise TraceError("The exported graph couples channels that the model does not.")
    return gone
