"""`attach`: gates for the layers of any traced network."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
from torch import Tensor, nn

from prunus import scores
from prunus._foundation.arguments import at_least, door
from prunus.dynamic.gates import WIDTHS, Form, Gate, KernelActivation, Kind, Widths, Winners
from prunus.dynamic.layers import GatedLayer, Live, places_of
from prunus.dynamic.network import DynamicNetwork
from prunus.errors import PlanError
from prunus.observe.capture import seen_by_all
from prunus.paint import trace
from prunus.paint.folding import plain_layer
from prunus.paint.graph import ChannelGraph, Group
from prunus.paint.inputs import Inputs
from prunus.planning.space import matching
from prunus.plans.consumers import norms_behind
from prunus.plans.verify import evaluating
from prunus.training.evaluation import placement

_MAKING = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@dataclass(frozen=True, eq=False)
class Gated:
    """A group of channels that can be gated.

    Attributes:
        group: the channels.
        makers: the layers that make them, in the order in which they run; the gate looks at what the first
            gets.
        norms: the batch norm behind each of these, "" for none.
    """

    group: Group
    makers: tuple[str, ...]
    norms: tuple[str, ...]


@door()
def attach(
    model: nn.Module,
    example_inputs: Inputs,
    layers: Literal["auto"] | Sequence[str] = "auto",
    kind: Kind = "activation",
    *,
    hidden: int = 0,
    block: int = 1,
    widths: Sequence[float] = WIDTHS,
) -> DynamicNetwork:
    """A copy of a model with a gate for the channels of every layer that is named; all gates are open, so it
    computes what the model computes.

    Coupled channels have one gate: it looks at what the first of their layers gets, and opens and closes them
    in all.

    Args:
        model: trained.
        example_inputs: what it is called with.
        layers: glob patterns of the layers whose channels are gated; "auto", all channels that one layer
            makes and others read (those inside residual blocks), but for those that are made from the input
            of the network.
        kind, hidden, block, widths: of the gates, see `Form`.

    Raises:
        PlanError: a pattern that matches nothing, channels that cannot be gated (and why), or none that
            "auto" finds.
    """
    at_least(0, hidden=hidden)
    at_least(1, block=block)
    copied = copy.deepcopy(model)
    graph = trace(copied, example_inputs)
    wanted = _auto(graph) if layers == "auto" else _named(graph, layers)
    if not wanted:
        raise PlanError(
            f"{type(model).__name__} has no layer whose channels one gate could switch off; name layers, and"
            " the error says why not."
        )
    form = Form(kind, hidden, block, tuple(widths))
    strength = scores.norm(graph, 2, "producer")
    gates = {
        gated.group.name: _gate(form, copied.get_submodule(gated.makers[0]), gated.group, strength)
        for gated in wanted
    }
    places, live = _places(copied, wanted, example_inputs), Live()
    for name in dict.fromkeys(maker for gated in wanted for maker in gated.makers):
        _replace(copied, graph, name, [gated for gated in wanted if name in gated.makers], gates, live)
    norms = {name: norm for gated in wanted for name, norm in zip(gated.makers, gated.norms)}
    return DynamicNetwork(
        copied, graph, gates, live, form, sum(gate.macs(places[name]) for name, gate in gates.items()), norms
    )


def _places(model: nn.Module, wanted: Sequence[Gated], example_inputs: Inputs) -> dict[str, int]:
    """Places of the input of the first layer of every group, for one input."""
    names = {gated.makers[0]: gated.group.name for gated in wanted}
    with evaluating(model):
        (seen,) = seen_by_all(model, names, [example_inputs])
    return {names[name]: prod(inputs.shape[2:]) for name, [(inputs, _)] in seen.items()}


def _gate(form: Form, first: nn.Module, group: Group, strength: Tensor) -> Gate:
    inputs: int = first.in_features if isinstance(first, nn.Linear) else first.in_channels  # type: ignore[assignment]
    order = strength[group.channels].argsort(descending=True, stable=True)
    match form.kind:
        case "activation":
            gate: Gate = KernelActivation(inputs, group.size, form.hidden, form.block, order)
        case "winners":
            gate = Winners(inputs, group.size, form.hidden)
        case "widths":
            gate = Widths(inputs, group.size, form.widths, order, form.hidden)
        case _:
            raise PlanError(f"The kind of gates is 'activation', 'winners' or 'widths', not {form.kind!r}.")
    return gate.to(*placement(first))


def _replace(
    model: nn.Module,
    graph: ChannelGraph,
    name: str,
    making: Sequence[Gated],
    gates: Mapping[str, Gate],
    live: Live,
) -> None:
    """Put a gated layer in the place of a layer, and the identity in that of the norm behind it."""
    weight = next(axis for axis in graph.axes if axis.name == f"{name}.weight" and axis.dim == 0)
    norm = making[0].norms[making[0].makers.index(name)]
    own = {gated.group.name: gates[gated.group.name] for gated in making if gated.makers[0] == name}
    behind = model.get_submodule(norm) if norm else nn.Identity()
    groups = [gated.group for gated in making]
    names, places = [group.name for group in groups], places_of(groups, weight.channels)
    model.set_submodule(name, GatedLayer(model.get_submodule(name), behind, names, own, places, live))
    if norm:
        model.set_submodule(norm, nn.Identity())


def _auto(graph: ChannelGraph) -> list[Gated]:
    """Groups with one dense maker that reads channels, and depthwise layers at most besides."""
    found = []
    reads = {axis.name for axis in graph.axes if not axis.produces and (axis.channels >= 0).any()}
    layers = _plain_layers(graph)
    for group in graph.groups:
        gated = gateable(graph, group, layers)
        if isinstance(gated, str):
            continue
        dense = [name for name in gated.makers if getattr(graph.model.get_submodule(name), "groups", 1) == 1]
        if dense == [gated.makers[0]] and f"{dense[0]}.weight" in reads:
            found.append(gated)
    return found


def _named(graph: ChannelGraph, patterns: Sequence[str]) -> list[Gated]:
    """The groups of these layers; raises PlanError for one that cannot be gated."""
    groups = {group.index: group for pattern in patterns for group in matching(graph, pattern)}
    found, layers = [], _plain_layers(graph)
    for _, group in sorted(groups.items()):
        gated = gateable(graph, group, layers)
        if isinstance(gated, str):
            raise PlanError(f"The channels of {group.name} cannot be gated: {gated}.")
        found.append(gated)
    return found


def gateable(graph: ChannelGraph, group: Group, layers: Mapping[str, str]) -> Gated | str:
    """How a group can be gated, or one sentence that says why it cannot; `layers` are those of
    `_plain_layers`.
    """
    producing = {(axis.name, axis.dim) for axis in graph.axes if axis.produces}
    changed = [name for name, dim in group.members if (name, dim) in producing]
    makers = tuple(name for name in layers if f"{name}.weight" in changed)
    if not makers:
        return "no convolution or linear layer that runs once makes them"
    norms = tuple(layers[name] for name in makers)
    known = {
        f"{name}.{parameter}"
        for name in (*makers, *filter(None, norms))
        for parameter in ("weight", "bias", "running_mean", "running_var")
    }
    others = sorted(set(changed) - known)
    if others:
        return (
            f"{others[0]} changes them too, and is neither one of the layers that make them nor the batch"
            " norm behind one"
        )
    for leak in graph.leaks:
        constant = graph.channel_of_colour[leak.labels[leak.dead != 0]]
        if np.isin(group.channels, constant).any():
            return (
                f"a closed channel would not be zero where it is read ({graph.records[leak.record].operator},"
                f" {graph.records[leak.record].where})"
            )
    return Gated(group, makers, norms)


def _plain_layers(graph: ChannelGraph) -> dict[str, str]:
    """Every layer that could be gated, in the order in which they run, and the batch norm behind it, "" for
    none.
    """
    behind = norms_behind(graph)
    products = sorted({contraction.record for contraction in graph.contractions})
    found = (plain_layer(graph.records, graph.twin.modules, index, _MAKING) for index in products)
    return {name: behind.get(name, "") for name in found if name is not None}
