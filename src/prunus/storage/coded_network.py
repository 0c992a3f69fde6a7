"""How the network of a coded file is built, as bytes: by its name in the catalogue and what surgery changed,
by a function of the user's, or by its traced graph.

Tensors have no names here where a builder gives them: they lie in the order of the dense network's own, and
biases that it does not have come last. Modules go by their number in that network.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prunus.coding.fields import Fields, number, signed, text
from prunus.errors import FileFormatError
from prunus.paint.widths import Share

CATALOGUE, OWN, TRACED = range(3)  # modes, in the lowest two bits of the first byte
_TRAINING, _SOME_FROZEN, _ALL_FROZEN, _CHANGED = 4, 8, 16, 32
OPTIONS = ("num_classes", "in_channels", "in_chans", "image_size", "img_size", "width", "depth", "shortcut")
_INT, _LIST, _TUPLE = range(3)
_MOST = 1 << 20  # entries of any list


@dataclass(frozen=True)
class Changes:
    """What surgery did to a network beside cutting tensors, its layers' sizes following from those.

    Attributes:
        left_out: names of the residual blocks that are not there.
        biases: numbers of the modules that have a bias which the builder does not give them.
        rebinds: number of the module, place in it and new size.
        widths: number of the module, number of its norm and what it keeps.
    """

    left_out: tuple[str, ...] = ()
    biases: tuple[int, ...] = ()
    rebinds: tuple[tuple[int, str, Any], ...] = ()
    widths: tuple[tuple[int, int, Share], ...] = ()


NO_CHANGES = Changes()


@dataclass(frozen=True)
class Network:
    """How the network of a file is built.

    Attributes:
        mode: CATALOGUE, OWN or TRACED.
        name: in the catalogue, or of the class.
        options: of the catalogue's builder.
        training: its mode.
        frozen: of each tensor in the order of the file, whether it is a parameter that does not learn.
        changes: what surgery did to it.
        traced: the fields of `storage.header.Traced`, as JSON data.
    """

    mode: int
    name: str
    training: bool
    frozen: tuple[bool, ...] | bool
    options: Mapping[str, Any]
    changes: Changes = NO_CHANGES
    traced: Mapping[str, Any] | None = None


def to_bytes(network: Network) -> bytes:
    """The section of a file."""
    frozen, changed = network.frozen, network.changes != NO_CHANGES
    head = network.mode | _TRAINING * network.training | _CHANGED * changed
    head |= _ALL_FROZEN if frozen is True else _SOME_FROZEN if frozen else 0
    parts = [bytes([head])]
    if not isinstance(frozen, bool):
        bits = sum(1 << place for place, one in enumerate(frozen) if one)
        parts += [number(len(frozen)), bits.to_bytes((len(frozen) + 7) // 8, "little")]
    if network.mode == CATALOGUE:
        parts += (
            [number(len(network.options)), *map(_option, *zip(*network.options.items()))]
            if network.options
            else [b"\0"]
        )
    parts += [_changes(network.changes)] if changed else []
    parts.append(network.name.encode() if network.traced is None else _json(network.traced))
    return b"".join(parts)


def from_bytes(data: bytes) -> Network:
    """What `to_bytes` wrote. Raises FileFormatError for everything else."""
    fields = Fields(data, "network")
    head = fields.byte()
    mode, frozen = head & 3, bool(head & _ALL_FROZEN)
    if mode > TRACED or head >= 2 * _CHANGED or (frozen and head & _SOME_FROZEN):
        raise FileFormatError(f"Its network is of the unknown kind {head}.")
    some = _read_bits(fields) if head & _SOME_FROZEN else None
    options = _read_options(fields) if mode == CATALOGUE else {}
    changes = _read_changes(fields) if head & _CHANGED else NO_CHANGES
    rest = fields.take(fields.left)
    name = "TracedModule" if mode == TRACED else _name(rest)
    return Network(
        mode,
        name,
        bool(head & _TRAINING),
        frozen if some is None else some,
        options,
        changes,
        _parsed(rest) if mode == TRACED else None,
    )


def _name(data: bytes) -> str:
    try:
        found = data.decode()
    except UnicodeDecodeError:
        found = ""
    if not found.isprintable() or not 0 < len(found) <= 1000:
        raise FileFormatError("Its network has no name that can be read.")
    return found


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"Its traced network is no JSON ({type(error).__name__}).") from error
    if not isinstance(found, dict):
        raise FileFormatError("Its traced network is no JSON object.")
    return found


def _read_bits(fields: Fields) -> tuple[bool, ...]:
    count = fields.number(_MOST)
    bits = int.from_bytes(fields.take((count + 7) // 8), "little")
    return tuple([bool(bits >> place & 1) for place in range(count)])


def _option(key: str, value: Any) -> bytes:
    content = text(value) if isinstance(value, str) else number(value)
    return bytes([OPTIONS.index(key)]) + content


def _read_options(fields: Fields) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(fields.number(len(OPTIONS))):
        key = fields.byte()
        if key >= len(OPTIONS) or OPTIONS[key] in found:
            raise FileFormatError(f"Its network has the option {key} twice, or there is none of that number.")
        found[OPTIONS[key]] = fields.text() if OPTIONS[key] == "shortcut" else fields.number()
    return found


def _changes(changes: Changes) -> bytes:
    return b"".join(
        (
            *(number(len(changes.left_out)), *map(text, changes.left_out)),
            *(number(len(changes.biases)), *map(number, changes.biases)),
            number(len(changes.rebinds)),
            *(number(module) + text(place) + _size(value) for module, place, value in changes.rebinds),
            number(len(changes.widths)),
            *(number(module) + signed(count) + _share(share) for module, count, share in changes.widths),
        )
    )


def _read_changes(fields: Fields) -> Changes:
    return Changes(
        tuple([fields.text() for _ in range(_count(fields))]),
        tuple([fields.number(_MOST) for _ in range(_count(fields))]),
        tuple([(fields.number(_MOST), fields.text(), _read_size(fields)) for _ in range(_count(fields))]),
        tuple([(fields.number(_MOST), fields.signed(), _read_share(fields)) for _ in range(_count(fields))]),
    )


def _count(fields: Fields) -> int:
    return fields.number(fields.left)


def _size(value: Any) -> bytes:
    if isinstance(value, int):
        return bytes([_INT]) + signed(value)
    kind = _TUPLE if isinstance(value, tuple) else _LIST
    return bytes([kind]) + number(len(value)) + b"".join(map(signed, value))


def _read_size(fields: Fields) -> Any:
    kind = fields.byte()
    if kind == _INT:
        return fields.signed()
    if kind not in (_LIST, _TUPLE):
        raise FileFormatError(f"Its network has a size of the unknown kind {kind}.")
    found = [fields.signed() for _ in range(_count(fields))]
    return tuple(found) if kind == _TUPLE else found


def _share(share: Share) -> bytes:
    centre = 0 if share.centre is None else share.centre + 1
    return struct.pack("<d", share.ratio) + number(centre) + number(share.power)


def _read_share(fields: Fields) -> Share:
    (ratio,) = struct.unpack("<d", fields.take(8))
    centre, power = fields.number(_MOST), fields.number(2)
    if not 0 < ratio <= 1:
        raise FileFormatError(f"Its network keeps the share {ratio} of a width.")
    return Share(ratio, centre - 1 if centre else None, power)


__all__ = [
    "CATALOGUE",
    "NO_CHANGES",
    "OPTIONS",
    "OWN",
    "TRACED",
    "Changes",
    "Network",
    "from_bytes",
    "to_bytes",
]
