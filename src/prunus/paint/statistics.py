"""Which statistics over channels keep their width, and what a plan leaves of each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from prunus.paint.records import Record, Statistic
from prunus.paint.widths import (
    WHOLE,
    KeepsWidth,
    Share,
    Site,
    Width,
    WrittenAnew,
    can_keep,
    in_mode,
    numbered,
)

if TYPE_CHECKING:
    from prunus.paint.graph import ChannelGraph

# operators behind the functions that `FORMULAS` has, beside batch norms
_WITH_FORMULA = frozenset(
    (
        "native_layer_norm native_group_norm _fused_rms_norm mean var std var_mean std_mean _softmax amax"
        " amin max min"
    ).split()
)


def split_statistics(
    modules: Mapping[str, nn.Module],
    records: Sequence[Record],
    statistics: Sequence[Statistic],
    sites: Sequence[Site],
) -> tuple[list[Statistic], list[Statistic]]:
    """Those whose width can be kept, and the others: the function that computes them is not seen, or its
    module's forward cannot be replaced.
    """
    kept: list[Statistic] = []
    other: list[Statistic] = []
    for one in statistics:
        site = site_of(sites, one.record)
        can = (
            site is not None
            and bool(site.modules)
            and can_keep(modules[site.modules[-1]])
            and not records[one.record].tensors[0].dim() <= one.axis
        )
        if site is not None and one.centre is not None:  # the mean is remembered while its module runs
            centre = site_of(sites, one.centre.record)
            can = can and centre is not None and centre.frames == site.frames
        can = can or _is_written_anew(modules, records[one.record])
        (kept if can else other).append(one)
    return kept, other


def _is_written_anew(modules: Mapping[str, nn.Module], record: Record) -> bool:
    name = record.operator
    return isinstance(modules[record.module], WrittenAnew) and (name in _WITH_FORMULA or "batch_norm" in name)


def only_written_anew(graph: ChannelGraph, removed: NDArray[np.bool_]) -> int | None:
    """The first record of a statistic that loses slots and keeps its width only in a graph that is written
    anew: no function of torch's is called there, or its gradient is computed out of the module's sight.
    """
    for one in graph.statistics:
        site = site_of(graph.sites, one.record)
        left = graph.kept_length(one.labels, removed)
        if (site is None or site.hidden) and 0 < left < len(one.labels):
            return one.record
    return None


def site_of(sites: Sequence[Site], record: int) -> Site | None:
    """The call that made a record."""
    place = bisect_right(sites, record, key=lambda site: site.first) - 1
    return sites[place] if place >= 0 and record < sites[place].end else None


def widths_of(graph: ChannelGraph, removed: NDArray[np.bool_]) -> tuple[Width, ...] | None:
    """What every statistic of the compact model goes over; None where a module that runs several times would
    have to keep several widths.

    Modules that keep a width already go on doing so. Where train mode computes others, it has numbers of its
    own.
    """
    ratios = [_ratios(one, removed) for one in graph.forwards]
    wide = frozenset(
        one.sites[place].modules[-1] for one, found in zip(graph.forwards, ratios) for place in found
    )
    tables = [_tables(one, found) for one, found in zip(graph.forwards, ratios)]
    if any(table is None for table in tables):
        return None
    result = []
    for name in sorted(wide):
        own = [table.get(name, {}) for table in tables if table is not None]
        result += [Width(name, number, *share) for number, share in own[0].items()]
        if own[-1] != own[0]:
            none = {len(graph.forwards[-1].sites): Share(1.0)}  # a number that is never reached
            result += [Width(name, -1 - number, *share) for number, share in (own[-1] or none).items()]
    return tuple(result)


def _tables(graph: ChannelGraph, ratios: Mapping[int, float]) -> dict[str, dict[int, Share]] | None:
    """Module -> number of a statistic -> the share of its slots that is left; None where one number would
    have two.
    """
    numbers, counts = numbered(graph.sites, lambda place, name, number: place in ratios)
    found = dict[str, dict[int, Share]]()
    centres = _centres(graph)
    for place, ratio in ratios.items():
        share = (
            Share(ratio, numbers[centres[place][0]], centres[place][1]) if place in centres else Share(ratio)
        )
        if found.setdefault(graph.sites[place].modules[-1], {}).setdefault(numbers[place], share) != share:
            return None
    for name, shares in found.items():
        if len(counts[name]) == 1:
            shares[max(counts[name])] = WHOLE
    return found


def _centres(graph: ChannelGraph) -> dict[int, tuple[int, int]]:
    """Site -> that of the mean that was subtracted before, and the power of what it goes over."""
    places = {id(site): place for place, site in enumerate(graph.sites)}
    found = [
        (site_of(graph.sites, one.record), site_of(graph.sites, one.centre.record), one.centre)
        for one in graph.statistics
        if one.centre
    ]
    return {places[id(site)]: (places[id(mean)], centre.power) for site, mean, centre in found}


def narrowed(graph: ChannelGraph, removed: NDArray[np.bool_]) -> tuple[str, ...]:
    """One sentence per statistic that goes over fewer slots than before, for a module that does not keep its
    width.
    """
    lost = [
        one
        for each in graph.forwards
        for one in each.statistics
        if each.kept_length(one.labels, removed) < len(one.labels)
    ]
    return tuple(dict.fromkeys(f"{one.mark.reason} ({one.mark.operator}, {one.mark.where})" for one in lost))


def _ratios(graph: ChannelGraph, removed: NDArray[np.bool_]) -> dict[int, float]:
    """Site -> the share of the original slots that it goes over, where that is not all of them."""
    ratios = _earlier(graph)
    places = {id(site): place for place, site in enumerate(graph.sites)}
    for one in graph.statistics:
        left = graph.kept_length(one.labels, removed)
        site = site_of(graph.sites, one.record)
        if site is not None and 0 < left < len(one.labels):
            place = places[id(site)]
            ratios[place] = ratios.get(place, 1.0) * (left / len(one.labels))
    return ratios


def _earlier(graph: ChannelGraph) -> dict[int, float]:
    """What the traced model keeps already."""
    if not graph.watched:  # as every graph is of a model that keeps any
        return {}
    modules = graph.model.named_modules(remove_duplicate=False)
    training = graph.twin.training
    tables = {
        name: in_mode(module.kept_widths, training)
        for name, module in modules
        if isinstance(module, KeepsWidth)
    }
    numbers = numbered(graph.sites, lambda _, name, number: _has_share(tables, name, number))[0]
    earlier = {}
    for place, (site, number) in enumerate(zip(graph.sites, numbers)):
        name = site.modules[-1] if site.modules else ""
        if _has_share(tables, name, number):
            earlier[place] = tables[name][number].ratio
    return earlier


def _has_share(tables: Mapping[str, Mapping[int, Share]], name: str, number: int) -> bool:
    return tables.get(name, {}).get(number, WHOLE) != WHOLE
