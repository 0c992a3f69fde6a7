"""Who looks at what the modules of a network make, from the operators that were seen when it was traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prunus.paint.graph import ChannelGraph
from prunus.paint.records import Record

_Reading = dict[int, list[Record]]  # by the `id` of a tensor


@dataclass(frozen=True)
class Users:
    """What looks at a module's output: modules, "" where it is not known who does; and whether code between
    modules computes with it.
    """

    modules: frozenset[str]
    between: bool


def users_of(graph: ChannelGraph, can: Callable[[str], bool]) -> dict[str, Users]:
    """Modules that can be stood in for by what they made once -> who looks at that.

    Args:
        graph: of the network.
        can: whether that holds for a module by its name, as far as operators do not say.
    """
    made = {name: tensor for name, tensor in _made(graph).items() if can(name)}
    reading = _reading(graph)
    return {name: _users(graph, reading, name, made) for name in made}


def _made(graph: ChannelGraph) -> dict[str, int]:
    """Modules of which nothing but one tensor is seen outside -> that tensor, by its `id`.

    A module that hands features on by other ways than what it returns, through a hook or an attribute, has
    more, and cannot be stood in for; nor can one that writes into what it was given.
    """
    makers: dict[int, str] = {}
    escaped: dict[str, set[int]] = {}
    writing: set[str] = set()
    for record in graph.records:
        for outer in around(record.module):
            escaped.setdefault(outer, set())
        written = _written(record)
        for tensor in map(id, record.tensors):
            maker = makers.get(tensor, "")
            for outer in around(maker):
                if not _inside(record.module, outer):
                    escaped[outer].add(tensor)
            if tensor in written:
                writing.update(outer for outer in around(record.module) if not _inside(maker, outer))
        # who writes into a tensor does not make another
        makers.update((tensor, record.module) for tensor in map(id, record.outputs) if tensor not in written)
    for tensor in map(id, graph.returned):
        for outer in around(makers.get(tensor, "")):
            escaped[outer].add(tensor)
    return {
        name: next(iter(tensors))
        for name, tensors in escaped.items()
        if len(tensors) == 1 and name not in writing
    }


def _written(record: Record) -> set[int]:
    """Tensors that an operator was given and changed."""
    return set(map(id, record.tensors)) & set(map(id, record.outputs))


def _reading(graph: ChannelGraph) -> _Reading:
    """Which operators read a tensor."""
    found: _Reading = {}
    for record in graph.records:
        for tensor in set(map(id, record.tensors)):
            found.setdefault(tensor, []).append(record)
    return found


def _users(graph: ChannelGraph, reading: _Reading, name: str, made: Mapping[str, int]) -> Users:
    """What looks at the output of a module, where those in `made` can be stood in for.

    Code between modules runs in any case, on anything: lengths that depend on values cannot be traced. So
    what it computes is followed on to whoever looks at that; only what computes nothing, such as a check that
    a matrix has an inverse, looks itself.
    """
    returned = set(map(id, graph.returned))
    found: set[str] = set()
    between = False
    seen, left = {made[name]}, [made[name]]
    while left:
        tensor = left.pop()
        if tensor in returned:
            found.add("")
        for record in reading.get(tensor, ()):
            if _inside(record.module, name):
                continue
            if any(outer in made and not _inside(name, outer) for outer in around(record.module)):
                found.add(record.module)
                continue
            between = True
            more = set(map(id, record.outputs)) - {tensor}
            if not record.outputs:
                found.add("")
            elif any(output not in reading and output not in returned for output in more):
                found.add("")  # it may be kept somewhere
            left.extend(more - seen)
            seen |= more
    return Users(frozenset(found), between)


def above(name: str) -> list[str]:
    """The modules that a module lies in."""
    return around(name)[:-1]


def around(name: str) -> list[str]:
    """A module and those that it lies in, the network itself left out."""
    parts = name.split(".") if name else []
    return [".".join(parts[: n + 1]) for n in range(len(parts))]


def _inside(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")
