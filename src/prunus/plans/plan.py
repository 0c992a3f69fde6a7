"""A plan: which channels go. Immutable, readable, JSON in and out, composable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from prunus.errors import PlanError, clause
from prunus.paint.cost import Cost
from prunus.paint.folding import unfoldable
from prunus.paint.graph import ChannelGraph
from prunus.paint.model_copy import fingerprint, named_tensors
from prunus.paint.records import without_place
from prunus.plans.described import describe_if_possible, rebuild_inputs

_SCHEMA = 2  # 1 had no checksum, and is read as it always was


@dataclass(frozen=True)
class PlanGroup:
    """What goes in one group: `removed` are slots of axis `dim` of `parameter`, one slot per removed channel;
    `size` is the number of channels.
    """

    name: str
    parameter: str
    dim: int
    size: int
    removed: tuple[int, ...]


@dataclass(frozen=True)
class Trial:
    """One step of a tolerance search; `lowest` is the metric that is not undercut with the confidence that
    was asked for.
    """

    rate: float
    metric: float
    macs: int
    accepted: bool
    lowest: float = float("-inf")


@dataclass(frozen=True)
class Timing:
    """One step of a latency search: milliseconds predicted and measured, those of the dense network in the
    same rounds, and whether they are few enough.
    """

    predicted_ms: float
    measured_ms: float
    dense_ms: float
    macs: int
    accepted: bool


@dataclass(frozen=True)
class Plan:
    """Channels to remove from one model. Made by `prunus.plan`; `str(plan)` is a table per group.

    `exact` says whether the compact model will compute the same function as the masked one; if not, `notes`
    says where it cannot.
    """

    groups: tuple[PlanGroup, ...]
    fingerprint: str
    inputs: str
    before: Cost
    after: Cost
    notes: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = ()
    timings: tuple[Timing, ...] = ()
    graph: ChannelGraph | None = field(default=None, compare=False, repr=False)

    @property
    def exact(self) -> bool:
        """Whether compact equals masked up to rounding."""
        return not self.notes

    @property
    def removed(self) -> int:
        """Number of channels that go."""
        return sum(len(g.removed) for g in self.groups)

    def removed_in(self, graph: ChannelGraph) -> NDArray[np.bool_]:
        """Boolean array over the channels of a graph, True where they go.

        Raises PlanError if the plan was made for another model.
        """
        return self._own_removed if graph is self.graph else self._removed_anew(graph)

    @cached_property
    def _own_removed(self) -> NDArray[np.bool_]:
        assert self.graph is not None
        return self._removed_anew(self.graph)

    def _removed_anew(self, graph: ChannelGraph) -> NDArray[np.bool_]:
        if graph.fingerprint != self.fingerprint:
            check_fingerprint(self, graph.twin.model)
        result = np.zeros(graph.num_channels, dtype=bool)
        axes = {(axis.name, axis.dim): axis.channels for axis in graph.axes}
        for group in self.groups:
            if (group.parameter, group.dim) not in axes:
                raise PlanError(
                    f"The plan removes slots of axis {group.dim} of {group.parameter}, which"
                    f" {type(graph.twin.model).__name__} does not have."
                )
            slots = axes[group.parameter, group.dim]
            outside = [slot for slot in group.removed if not 0 <= slot < len(slots)]
            if outside:
                raise PlanError(
                    f"The plan removes slot {outside[0]} of axis {group.dim} of {group.parameter}, which has"
                    f" {len(slots)}."
                )
            channels = slots[list(group.removed)]
            if (channels < 0).any():
                raise PlanError(f"The plan removes slots of {group.parameter} that are pinned in this model.")
            result[channels] = True
        return result

    def attach(self, graph: ChannelGraph) -> Plan:
        """The same plan on a freshly traced model, for one read from JSON; raises PlanError if it was made
        for another model.
        """
        self._removed_anew(graph)
        return replace(self, graph=graph)

    def __or__(self, other: Plan) -> Plan:
        """Remove what either plan removes."""
        graph = _common_graph(self, other)
        return make_plan(graph, self.removed_in(graph) | other.removed_in(graph))

    def __sub__(self, other: Plan) -> Plan:
        """Remove what this plan removes and the other does not."""
        graph = _common_graph(self, other)
        return make_plan(graph, self.removed_in(graph) & ~other.removed_in(graph))

    def to_json(self) -> str:
        """The plan as JSON text, without lines of the user's code in its notes; `Plan.from_json` reads it
        back.
        """
        data = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "graph"}
        data["notes"] = [without_place(note) for note in self.notes]
        data["groups"] = [asdict(g) for g in self.groups]
        data["before"], data["after"] = asdict(self.before), asdict(self.after)
        data["trials"] = [asdict(t) for t in self.trials]
        data["timings"] = [asdict(t) for t in self.timings]
        data = json.loads(json.dumps({"prunus_plan": _SCHEMA, **data}))
        return json.dumps(data | {"sha256": _checksum(data)})

    @staticmethod
    def from_json(text: str) -> Plan:
        """Read a plan; raises PlanError if the text is not one, or was changed since it was written."""
        try:
            data = _checked(json.loads(text))
            if data.keys() != {f.name for f in fields(Plan) if f.name != "graph"}:
                raise PlanError("This is not a plan written by prunus: its fields are not those of a plan.")
            data["groups"] = tuple(_read_group(g) for g in data["groups"])
            data["before"], data["after"] = _read_cost(data["before"]), _read_cost(data["after"])
            data["trials"] = tuple(Trial(**t) for t in data["trials"])
            data["timings"] = tuple(Timing(**t) for t in data["timings"])
            data["notes"] = tuple(data["notes"])
            if not all(
                isinstance(text, str) for text in (data["fingerprint"], data["inputs"], *data["notes"])
            ):
                raise PlanError(
                    "This is not a plan written by prunus: its fingerprint, inputs or notes are no text."
                )
            if data["inputs"]:
                rebuild_inputs(data["inputs"])
            return Plan(**data)
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            IndexError,
            RuntimeError,
        ) as error:  # RecursionError is a RuntimeError
            raise PlanError(
                f"This is not a plan written by prunus ({type(error).__name__}: {clause(error)})."
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: everything but the graph, which holds the whole model; where it is needed, the
        model is traced again.
        """
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"graph": None}

    def __copy__(self) -> Plan:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Plan:
        return self

    def __str__(self) -> str:
        from prunus.plans.tables import plan_table

        return plan_table(self)


def _checked(data: dict[str, Any]) -> dict[str, Any]:
    """The fields of a stored plan; raises PlanError for another schema, or a checksum that does not fit."""
    version = data.pop("prunus_plan")
    if type(version) is not int or version not in (1, _SCHEMA):
        raise PlanError(
            f"The plan has schema {version}; this version of prunus reads schemas 1 and {_SCHEMA}."
        )
    if version == 1:
        data.setdefault("timings", [])  # plans from before latency was a target have none
    elif data.pop("sha256") != _checksum({"prunus_plan": version, **data}):
        raise PlanError("The plan has been changed since it was written: its checksum does not fit.")
    return data


def _checksum(data: dict[str, Any]) -> str:
    """SHA-256 of a plan's fields."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _read_group(data: dict[str, Any]) -> PlanGroup:
    """One group of a stored plan. Raises PlanError for slots that no axis has; whether this axis has them is
    checked on a model.
    """
    group = PlanGroup(**{**data, "removed": tuple(data["removed"])})
    if (
        type(group.name) is not str
        or type(group.parameter) is not str
        or type(group.dim) is not int
        or type(group.size) is not int
    ):
        raise PlanError(
            f"The plan's group {group.name!r} needs texts as name and parameter, and whole numbers as dim and"
            " size."
        )
    wrong = [slot for slot in group.removed if type(slot) is not int or slot < 0]
    if wrong or len(set(group.removed)) != len(group.removed):
        what = f"{wrong[0]!r}" if wrong else "a slot twice"
        raise PlanError(
            f"The plan removes {what} of {group.parameter}; slots are whole numbers from 0, each once."
        )
    return group


def _read_cost(data: dict[str, Any]) -> Cost:
    if not all(type(value) is int for value in data.values()):
        raise PlanError("The plan's costs must be whole numbers.")
    return Cost(**data)


def make_plan(
    graph: ChannelGraph,
    removed: NDArray[np.bool_],
    trials: Sequence[Trial] = (),
    timings: Sequence[Timing] = (),
) -> Plan:
    """The plan that removes the given channels, shape (num_channels,)."""
    groups = []
    for group, (parameter, dim), first in zip(graph.groups, *graph.anchors):
        groups.append(
            PlanGroup(group.name, parameter, dim, group.size, tuple(first[removed[group.channels]].tolist()))
        )
    plan = Plan(
        groups=tuple(groups),
        fingerprint=graph.fingerprint,
        inputs=describe_if_possible(graph.inputs),
        before=graph.cost(),
        after=graph.costs.cost(graph.kept(removed)),
        notes=_notes(graph, removed),
        trials=tuple(trials),
        timings=tuple(timings),
        graph=graph,
    )
    vars(plan)["_own_removed"] = removed.copy()  # known already
    return plan


def _notes(graph: ChannelGraph, removed: NDArray[np.bool_]) -> tuple[str, ...]:
    notes = [note.text for one in graph.forwards for note in one.notes if removed[note.channels].any()]
    left = [text for one in graph.forwards for text in unfoldable(one, removed)]
    return tuple(dict.fromkeys(notes + left + (_draws(graph) if removed.any() else [])))


def _draws(graph: ChannelGraph) -> list[str]:
    """A sentence on random numbers that the forward draws in eval mode too: outputs are equal only from equal
    random numbers.
    """
    places = dict.fromkeys(
        f"{r.operator}, {r.where}" for r in graph.records if torch.Tag.nondeterministic_seeded in r.func.tags
    )
    return [
        "the forward draws random numbers, so outputs are equal only from the same state of the generator"
        f" ({place})"
        for place in places
    ]


def check_fingerprint(plan: Plan, model: nn.Module) -> None:
    """Raises PlanError, naming a parameter that differs, if a plan was made for another model."""
    if fingerprint(model) == plan.fingerprint:
        return
    tensors = named_tensors(model)
    for group in plan.groups:
        if group.parameter not in tensors:
            raise PlanError(
                f"The plan is for another model: {type(model).__name__} has no parameter {group.parameter}."
            )
    raise PlanError(
        f"The plan is for another model: parameters of {type(model).__name__} have other shapes or names;"
        " make a plan for this one with prunus.plan."
    )


def _common_graph(first: Plan, second: Plan) -> ChannelGraph:
    if first.fingerprint != second.fingerprint:
        raise PlanError("The two plans are for different models, so they cannot be combined.")
    graph = first.graph or second.graph
    if graph is None:
        raise PlanError(
            "Neither plan is attached to a traced model; attach one with plan.attach(prunus.trace(model,"
            " example_inputs))."
        )
    return graph
