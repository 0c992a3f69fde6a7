"""What calibration inputs say about every layer that reads channels: the second moments of its inputs,
streamed, beside its weight.

Shared by the scores that ask how well a layer can do without some of its inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from prunus.errors import PlanError
from prunus.observe.capture import check_repeatable, look_at
from prunus.observe.matrices import as_matrix, channel_axis, portions, positions
from prunus.observe.moments import InputMoments
from prunus.paint.components import components
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs
from prunus.paint.records import Labels
from prunus.plans.consumers import Reader, readers
from prunus.plans.verify import evaluating

MOST_COLUMNS = 8192  # of a layer that is looked at: its sums have the square of this many numbers
_BUDGET = 1 << 27  # numbers in all sums that are gathered in one pass


@dataclass(frozen=True, eq=False)
class LayerProducts:
    """One layer, or one group of a convolution.

    Attributes:
        channels: of every input slot, -1 where it cannot go.
        weight: (outputs, slots, positions), float64.
        products: E[x x^T] of its inputs, without their means where the layer can make up for a mean; (slots *
            positions, slots * positions), float64.
        means: E[x] where the layer can make up for a mean, zero where it cannot; (slots * positions,),
            float64.
        reader: the layer.
        made: positions of `weight`'s outputs in the layer's.
    """

    channels: Labels
    weight: Tensor
    products: Tensor
    means: Tensor = field(default_factory=lambda: torch.zeros(()))
    reader: Reader | None = None
    made: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))

    def columns(self) -> dict[int, Tensor]:
        """Of every channel the columns that are its, in ascending order."""
        each = torch.arange(len(self.products)).view(-1, self.weight.shape[2])
        return {
            int(c): each[torch.from_numpy(self.channels == c)].flatten()
            for c in np.unique(self.channels[self.channels >= 0])
        }

    def contributions(self) -> tuple[list[int], Tensor]:
        """The channels, and the sum over outputs of E[z_i z_j] for what channels i and j add to an output,
        relative to the whole output's own.
        """
        columns = self.columns()
        weight = self.weight.flatten(1)
        weighted = (weight.T @ weight) * self.products
        owner = torch.full((len(weighted),), len(columns))
        for position, mine in enumerate(columns.values()):
            owner[mine] = position
        folded = weighted.new_zeros(len(columns) + 1, len(weighted)).index_add(0, owner, weighted)
        folded = folded.new_zeros(len(columns) + 1, len(columns) + 1).index_add(
            0, owner, folded.T.contiguous()
        )
        total = float(weighted.sum())
        return list(columns), folded[:-1, :-1] / (total or 1.0)


def families(graph: ChannelGraph, batches: Iterable[Inputs]) -> Iterator[list[LayerProducts]]:
    """The layers that share channels, together; layers of more than `MOST_COLUMNS` columns are left out.

    The inputs are read once for a small network, several times for a large one.

    Raises:
        PlanError: there are no inputs, or they can be read only once.
    """
    check_repeatable(batches)
    for portion in _portions(graph, _families(graph)):
        gathered = _gather(graph, [reader for family in portion for reader in family], batches)
        for family in portion:
            yield [layer for reader in family for layer in gathered.pop(reader.name)]


def _columns(graph: ChannelGraph, reader: Reader) -> int:
    return len(reader.inputs) * positions(graph.model.get_submodule(reader.name))


def _families(graph: ChannelGraph) -> list[list[Reader]]:
    """Readers that share channels, together."""
    found = [reader for reader in readers(graph) if _columns(graph, reader) <= MOST_COLUMNS]
    edges = []
    for index, reader in enumerate(found):
        groups = len(found) + np.unique(graph.group_of_channel[reader.inputs[reader.inputs >= 0]])
        edges.append((np.full(len(groups), index), groups))
    roots = components(len(found) + len(graph.groups), edges)
    families: dict[int, list[Reader]] = {}
    for index, reader in enumerate(found):
        families.setdefault(int(roots[index]), []).append(reader)
    return list(families.values())


def _portions(graph: ChannelGraph, families: list[list[Reader]]) -> Iterator[list[list[Reader]]]:
    """As many families at once as the sums of all their readers have room for; at least one."""
    portion: list[list[Reader]] = []
    used = 0
    for family in families:
        size = sum(reader.groups * _columns(graph, reader) ** 2 for reader in family)
        if portion and used + size > _BUDGET:
            yield portion
            portion, used = [], 0
        portion.append(family)
        used += size
    if portion:
        yield portion


def _gather(
    graph: ChannelGraph, found: list[Reader], batches: Iterable[Inputs]
) -> dict[str, list[LayerProducts]]:
    """The products of some readers, one per group of a convolution, from one pass over the inputs."""
    whole = np.zeros(graph.num_channels, dtype=bool)
    draws = {
        reader.name: torch.Generator().manual_seed(0) for reader in found
    }  # each its own, so that it does not matter what is gathered together
    layers = {reader.name: graph.model.get_submodule(reader.name) for reader in found}
    sums: dict[tuple[str, int], InputMoments] = {}
    parts = {reader.name: reader.parts(whole) for reader in found}

    def look(name: str, x: Tensor, y: Tensor) -> None:
        layer = layers[name]
        for group, (columns, _) in enumerate(parts[name]):
            part = x.index_select(channel_axis(layer), columns.to(x.device)) if len(parts[name]) > 1 else x
            for inputs, _ in portions(layer, part, y, draws[name]):
                sums.setdefault((name, group), InputMoments(inputs.shape[1])).add(inputs)

    with evaluating(graph.model):
        for _ in look_at(graph.model, layers, batches, look):
            pass
    if found and not sums:
        raise PlanError("There is no batch of calibration inputs; at least one is needed.")
    result: dict[str, list[LayerProducts]] = {}
    for reader in found:
        layer = layers[reader.name]
        centred = getattr(layer, "bias", None) is not None or bool(reader.norm)
        matrix = as_matrix(layer, layer.weight.detach().double().cpu())  # type: ignore[operator]
        for group, (_, made) in enumerate(reader.parts(whole)):
            moments = sums.pop((reader.name, group))
            one = LayerProducts(
                reader.inputs,
                matrix[made],
                moments.products(centred),
                moments.mean() * centred,
                reader,
                made,
            )
            result.setdefault(reader.name, []).append(one)
    return result
