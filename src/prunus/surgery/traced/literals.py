"""Rewrite the size constants of a traced graph: what each operator's literals must be once channels are gone,
read off the paint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from prunus.paint.graph import ChannelGraph
from prunus.paint.records import Paint, Stripe

_ENDLESS = 1 << 60


class UnrewritableError(Exception):
    """A literal of this node cannot follow the channels."""

    def __init__(self, node: fx.Node, reason: str) -> None:
        super().__init__(f"{node.target}: {reason}")
        self.node = node


@dataclass(frozen=True, eq=False)
class Painted:
    """Shape and stripes of one value of the traced graph, before anything is removed."""

    shape: tuple[int, ...]
    paint: Paint


@dataclass(frozen=True, eq=False)
class Scene:
    """What a rewriter may look at: the painted graph, what goes, and the paint of every node's values."""

    graph: ChannelGraph
    removed: NDArray[np.bool_]
    values: Mapping[fx.Node, tuple[Painted, ...]]

    def before(self, node: Any) -> Painted:
        """The (first) tensor of a node."""
        return self.values[node][0]

    def after(self, painted: Painted) -> tuple[int, ...]:
        """Its shape once the channels are gone."""
        return self.graph.kept_shape(painted.shape, painted.paint, self.removed)

    def stripe(self, painted: Painted, axis: int) -> Stripe | None:
        """The stripe along an axis."""
        return next((y for y in painted.paint if y.axis == axis), None)

    def changed(self, node: fx.Node) -> bool:
        """Whether a node or one of its operands loses slots."""
        values = [
            *self.values.get(node, ()),
            *(p for n in node.all_input_nodes for p in self.values.get(n, ())),
        ]
        return any(self.after(p) != p.shape for p in values)

    def kept_before(self, stripe: Stripe, position: int) -> int:
        """Slots kept among the first `position`."""
        return self.graph.kept_length(stripe.labels[:position], self.removed)


Rewriter = Callable[[Scene, fx.Node], None]


def rewrite(scene: Scene, node: fx.Node) -> None:
    """Set a node's literals to what they must be; nodes without literals are left alone. Raises
    UnrewritableError.
    """
    name = operator_name(node)
    rewriter = _REWRITERS.get(name)
    if rewriter is not None and (scene.changed(node) or name == "scaled_dot_product_attention"):
        rewriter(scene, node)


def operator_name(node: fx.Node) -> str:
    """aten.conv2d.default -> conv2d."""
    schema = getattr(node.target, "_schema", None)
    return schema.name.removeprefix("aten::") if schema is not None else ""


def set_argument(node: fx.Node, index: int, name: str, value: Any) -> None:
    """Replace a positional argument, or the keyword of the same name if it was not given by position."""
    if index < len(node.args):
        node.update_arg(index, value)
    else:
        node.update_kwarg(name, value)


def get_argument(node: fx.Node, index: int, name: str, default: Any = None) -> Any:
    """A positional argument, or the keyword of the same name."""
    return node.args[index] if index < len(node.args) else node.kwargs.get(name, default)


def _sizes_at(index: int, name: str) -> Rewriter:
    """Size lists: view, reshape, expand, zeros, new_zeros …"""

    def rewriter(scene: Scene, node: fx.Node) -> None:
        wanted = scene.after(scene.before(node))
        sizes = list(get_argument(node, index, name))
        for axis, (size, old, new) in enumerate(zip(sizes, scene.before(node).shape, wanted)):
            if old == new or size == -1:
                continue
            if isinstance(size, int):
                sizes[axis] = new
            elif -1 not in sizes and operator_name(node) in ("view", "reshape"):
                sizes[axis] = -1  # a symbolic size that contains a channel count
            else:
                raise UnrewritableError(node, "a symbolic size contains a channel count")
        set_argument(node, index, name, sizes)

    return rewriter


def _drawn(scene: Scene, node: fx.Node) -> None:
    """randint(high, size), randint(low, high, size) and normal(mean, std, size)."""
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    if "size" in names:
        _sizes_at(names.index("size"), "size")(scene, node)


def _unflatten(scene: Scene, node: fx.Node) -> None:
    painted, x = scene.before(node), scene.before(node.args[0])
    axis = get_argument(node, 1, "dim") % len(x.shape)
    sizes = list(get_argument(node, 2, "sizes"))
    wanted = scene.after(painted)[axis : axis + len(sizes)]
    set_argument(
        node, 2, "sizes", [s if s == -1 or not isinstance(s, int) else n for s, n in zip(sizes, wanted)]
    )


def _split(scene: Scene, node: fx.Node) -> None:
    """split, chunk and tensor_split become a split by the sizes that are left."""
    x = scene.before(node.args[0])
    axis = get_argument(node, 2, "dim", 0) % len(x.shape)
    sizes = [scene.after(p)[axis] for p in scene.values[node]]
    node.target = torch.ops.aten.split_with_sizes.default
    node.args, node.kwargs = (node.args[0], sizes, axis), {}


def _slice(scene: Scene, node: fx.Node) -> None:
    x = scene.before(node.args[0])
    axis = get_argument(node, 1, "dim", 0) % len(x.shape)
    stripe = scene.stripe(x, axis)
    if stripe is None:
        return
    for index, name in ((2, "start"), (3, "end")):
        bound = get_argument(node, index, name)
        if isinstance(bound, int) and bound < _ENDLESS:
            position = bound + x.shape[axis] if bound < 0 else min(bound, x.shape[axis])
            kept = scene.kept_before(stripe, position)
            set_argument(node, index, name, kept)


def _narrow(scene: Scene, node: fx.Node) -> None:
    x = scene.before(node.args[0])
    axis = int(node.args[1]) % len(x.shape)  # type: ignore[arg-type]
    stripe = scene.stripe(x, axis)
    if stripe is not None:
        start, length = int(node.args[2]), int(node.args[3])  # type: ignore[arg-type]
        first = scene.kept_before(stripe, start)
        node.update_arg(2, first)
        node.update_arg(3, scene.kept_before(stripe, start + length) - first)


def _pad(scene: Scene, node: fx.Node) -> None:
    """Padding of a painted axis: the padded slots that stay."""
    out = scene.before(node)
    pads = list(get_argument(node, 1, "pad"))
    for stripe in out.paint:
        position = 2 * (len(out.shape) - 1 - stripe.axis)
        if position + 1 < len(pads):
            before, after = max(0, pads[position]), max(0, pads[position + 1])
            if (
                min(pads[position], pads[position + 1]) < 0
                and scene.after(out)[stripe.axis] != out.shape[stripe.axis]
            ):
                raise UnrewritableError(node, "negative padding of the channels")
            pads[position] = min(pads[position], 0) or scene.kept_before(stripe, before)
            tail = Stripe(
                0, stripe.labels[len(stripe.labels) - after :], stripe.dead[len(stripe.labels) - after :]
            )
            pads[position + 1] = min(pads[position + 1], 0) or scene.graph.kept_length(
                tail.labels, scene.removed
            )
    set_argument(node, 1, "pad", pads)


def _groups_at(index: int) -> Rewriter:
    """Depthwise convolutions have as many groups as channels are left; a group per sample of the batch stays
    one.
    """

    def rewriter(scene: Scene, node: fx.Node) -> None:
        groups = get_argument(node, index, "groups", 1)
        x, weight = scene.before(node.args[0]), scene.before(node.args[1])
        axis = len(x.shape) - (len(weight.shape) - 2) - 1
        if isinstance(groups, int) and groups > 1 and x.shape[axis] == groups:
            set_argument(node, index, "groups", scene.after(x)[axis])

    return rewriter


def _group_norm(scene: Scene, node: fx.Node) -> None:
    x = scene.before(node.args[0])
    groups = get_argument(node, 1, "num_groups")
    if groups > 1:
        set_argument(node, 1, "num_groups", scene.after(x)[1] * groups // x.shape[1])


def _normalized_shape(scene: Scene, node: fx.Node) -> None:
    x = scene.before(node.args[0])
    shape = get_argument(node, 1, "normalized_shape")
    set_argument(node, 1, "normalized_shape", list(scene.after(x)[-len(shape) :]))


def _attention(scene: Scene, node: fx.Node) -> None:
    """The default scale is read off the head size: fix it at what it was."""
    if get_argument(node, 6, "scale") is None:
        node.update_kwarg("scale", scene.before(node.args[0]).shape[-1] ** -0.5)


def _numbers(scene: Scene, node: fx.Node) -> None:
    """A range over channels goes on being made in full, and the numbers of those that are left are taken out
    of it.
    """
    out, nodes = scene.before(node), node.graph
    lost = [stripe for stripe in out.paint if scene.after(out)[stripe.axis] != out.shape[stripe.axis]]
    with nodes.inserting_before(node):
        made = nodes.create_node("call_function", node.target, node.args, node.kwargs)
        for stripe in lost:
            name = f"_slots_of_{node.name}_{stripe.axis}"
            kept = np.flatnonzero(scene.graph.stays(stripe.labels, scene.removed))
            scene.graph.model.register_buffer(name, torch.from_numpy(kept), persistent=False)
            picked = (
                made,
                stripe.axis,
                nodes.create_node("get_attr", name),
            )  # get_attr() looks the name up in another module
            if stripe is not lost[-1]:
                made = nodes.create_node("call_function", torch.ops.aten.index_select.default, picked)
    if lost:
        node.target, node.args, node.kwargs = torch.ops.aten.index_select.default, picked, {}


def _repeat(scene: Scene, node: fx.Node) -> None:
    """Copies along a new axis, or one of length one, are as many as are left; a repeated axis is repeated as
    often as before.
    """
    x, out = scene.before(node.args[0]), scene.before(node)
    times: list[Any] = list(get_argument(node, 1, "repeats"))
    lead = len(times) - len(x.shape)
    for axis, (old, new) in enumerate(zip(out.shape, scene.after(out))):
        if old != new and (axis < lead or x.shape[axis - lead] == 1):
            times[axis] = new
    set_argument(node, 1, "repeats", times)


def _repeat_interleave(scene: Scene, node: fx.Node) -> None:
    """repeat_interleave(x, times, dim) of an axis of length one."""
    x, out, axis = scene.before(node.args[0]), scene.before(node), get_argument(node, 2, "dim")
    if isinstance(axis, int) and x.shape[axis] == 1:
        set_argument(node, 1, "repeats", scene.after(out)[axis])


_REWRITERS: dict[str, Rewriter] = {
    **dict.fromkeys(
        "view reshape _unsafe_view expand new_zeros new_ones new_full new_empty broadcast_to".split(),
        _sizes_at(1, "size"),
    ),
    **dict.fromkeys(("zeros", "ones", "full", "empty", "rand", "randn"), _sizes_at(0, "size")),
    **dict.fromkeys(("randint", "normal"), _drawn),
    "unflatten": _unflatten,
    **dict.fromkeys(
        ("split", "split_with_sizes", "unsafe_split", "chunk", "unsafe_chunk", "tensor_split"), _split
    ),
    "slice": _slice,
    "narrow": _narrow,
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
        _groups_at(6),
    ),
    "convolution": _groups_at(8),
    "group_norm": _group_norm,
    **dict.fromkeys(("layer_norm", "native_layer_norm", "rms_norm"), _normalized_shape),
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(("arange", "linspace", "logspace", "eye", "hann_window", "hamming_window"), _numbers),
    "repeat": _repeat,
    "repeat_interleave": _repeat_interleave,
}
