"""What calibration inputs say about every layer that reads channels: the second moments of its inputs,
streamed, beside its weight.

Shared by the scores that ask how well a layer can do without some of its inputs. Of a layer whose moments
would take too much memory each channel counts as one column, which is what it adds to the outputs: a score
then asks how well the layer can do when whole channels are rescaled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus.errors import PlanError
from prunus.observe.capture import check_finite, check_repeatable, look_at
from prunus.observe.contributions import Contributions
from prunus.observe.matrices import LEAST_ROWS, as_matrix, channel_axis, portions, positions, wide
from prunus.observe.moments import InputMoments
from prunus.observe.windows import cheaper, window_sums
from prunus.paint.components import components
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs
from prunus.paint.records import Labels
from prunus.plans.consumers import Reader, readers
from prunus.plans.verify import evaluated_copy

MOST_COLUMNS = 8192  # of a layer that is looked at whole: its sums have the square of this many numbers
MADE = 64  # outputs that say what channels add, where a layer is too wide: mixtures by chance, of all outputs
_BUDGET = 1 << 27  # numbers in all sums that are gathered in one pass


@dataclass(frozen=True, eq=False)
class LayerProducts:
    """One layer, or one group of a convolution.

    Attributes:
        channels: of every input slot, -1 where it cannot go; each once where the layer is coarse.
        weight: (outputs, slots, positions), float64.
        products: E[x x^T] of its inputs, without their means where the layer can make up for a mean; (slots *
            positions, slots * positions), float64.
        means: E[x] where the layer can make up for a mean, zero where it cannot; (slots * positions,),
            float64.
        reader: the layer.
        made: positions of `weight`'s outputs in the layer's.
        coarse: every slot is a channel with one column, what it adds to the outputs, and a weight of one.
    """

    channels: Labels
    weight: Tensor
    products: Tensor
    means: Tensor = field(default_factory=lambda: torch.zeros(()))
    reader: Reader | None = None
    made: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    coarse: bool = False

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
    """The layers that share channels, together; those of more than `MOST_COLUMNS` columns are coarse, and
    those of as many channels are left out.

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
    """Of the sums that are kept."""
    columns = len(reader.inputs) * positions(graph.model.get_submodule(reader.name))
    return columns if columns <= MOST_COLUMNS else len(np.unique(reader.inputs))


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
    looked: dict[str, list[_Look]] = {}

    def look(name: str, x: Tensor, y: Tensor) -> None:
        for one in looked[name]:
            one.look(x, y)

    with evaluated_copy(graph.model) as model:
        looked |= {one.name: _looks(one, model.get_submodule(one.name), whole) for one in found}
        for _ in look_at(model, looked, batches, look):
            pass
    if found and not any(one.moments.count for ones in looked.values() for one in ones):
        raise PlanError("There is no batch of calibration inputs; at least one is needed.")
    result = {name: [one.products() for one in looked.pop(name)] for name in list(looked)}
    for name, layers in result.items():
        for layer in layers:
            check_finite(name, layer.products)
    return result


@dataclass(frozen=True, eq=False)
class _Look:
    """At one layer, or one group of a convolution.

    Attributes:
        reader: the layer.
        layer: itself.
        columns: the wanted channels of the input; None = all.
        made: positions of the outputs that they make.
        moments: of what was seen.
        generator: of rows by chance; one for all groups of a layer, and none for several layers, so that it
            does not matter what is gathered together.
    """

    reader: Reader
    layer: nn.Module
    columns: Tensor | None
    made: Tensor
    moments: InputMoments | Contributions
    generator: torch.Generator

    def look(self, x: Tensor, y: Tensor) -> None:
        """One batch of the layer's inputs and outputs."""
        if self.columns is not None:
            x = x.index_select(channel_axis(self.layer), self.columns.to(x.device))
        if isinstance(self.moments, Contributions):
            found = portions(self.layer, x, y, self.generator, _some)
        elif cheaper(self.layer, x, y):
            self.moments.add_sums(window_sums(self.layer, x, y[:, :1]))
            return
        else:
            found = portions(self.layer, x, y, self.generator)
        for inputs, _ in found:
            self.moments.add(inputs)

    def products(self) -> LayerProducts:
        """What is known in the end."""
        centred = getattr(self.layer, "bias", None) is not None or bool(self.reader.norm)
        products = self.moments.products(centred)
        if isinstance(self.moments, Contributions):
            ones = torch.ones(1, len(products), 1, dtype=torch.float64)
            return LayerProducts(np.unique(self.reader.inputs), ones, products, coarse=True)
        weight = _matrix(self.layer)[self.made].double()
        means = self.moments.mean() * centred
        return LayerProducts(self.reader.inputs, weight, products, means, self.reader, self.made)


def _looks(reader: Reader, layer: nn.Module, whole: NDArray[np.bool_]) -> list[_Look]:
    """One for each group of a layer."""
    generator = torch.Generator().manual_seed(0)
    parts, places = reader.parts(whole), positions(layer)
    owner = torch.from_numpy(np.unique(reader.inputs, return_inverse=True)[1]).repeat_interleave(places)
    found = []
    for columns, made in parts:
        moments = (
            InputMoments(len(owner))
            if len(owner) <= MOST_COLUMNS
            else Contributions(wide(_matrix(layer)[made].flatten(1)), owner, MADE)
        )
        chosen = columns if len(parts) > 1 else None
        found.append(_Look(reader, layer, chosen, made, moments, generator))
    return found


def _matrix(layer: nn.Module) -> Tensor:
    """The weight, (outputs, slots, positions)."""
    return as_matrix(layer, layer.weight.detach().cpu())  # type: ignore[operator]


def _some(count: int) -> slice:
    """Rows of a wide layer."""
    return slice(None, None, -(-count // LEAST_ROWS) or 1)
