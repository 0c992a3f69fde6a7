"""What a forward leaves in a model: plain attributes as they were when it was traced, so that it can be run
again as it ran then.

A head that remakes its anchors when the size of its features changes, or a counter, makes another network of
the same parameters. Results must not depend on what the model saw since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

State = dict[str, dict[str, Any]]
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
_KINDS = frozenset(_PLAIN)
_OWN = frozenset(vars(nn.Module())) | {"forward", "prunus", "kept_widths"}
_UNKNOWN = object()
Seen = dict[int, tuple[Any, Any]]  # containers by `id`, and their copies


def state_of(modules: Mapping[str, nn.Module]) -> State:
    """The plain attributes of modules on meta tensors, by module and name; what holds anything but values is
    left out.
    """
    found: State = {}
    seen: Seen = {}
    for path, module in modules.items():
        values = {
            name: value if type(value) in _KINDS else _value(value, seen)
            for name, value in vars(module).items()
            if name not in _OWN
        }
        found[path] = {name: value for name, value in values.items() if value is not _UNKNOWN}
    return found


def restore_state(modules: Mapping[str, nn.Module], state: State) -> None:
    """Give modules back the attributes that they had; those that they did not have then go."""
    seen: Seen = {}
    for path, values in state.items():
        module = modules.get(path)
        if module is None:
            continue
        own = vars(module)
        for name in [
            name
            for name in own
            if name not in values and name not in _OWN and _value(own[name], {}) is not _UNKNOWN
        ]:
            del own[name]
        for name, value in values.items():
            if name not in module._buffers and name not in module._parameters:
                own[name] = value if type(value) in _KINDS else _value(value, seen)


def _value(value: Any, seen: Seen) -> Any:
    """A copy of a value, containers included; `_UNKNOWN` where it holds something that is none.

    One container that several modules hold, as a list in which they collect what they make, is one in the
    copy too.
    """
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Tensor):
        return value if not isinstance(value, nn.Parameter) else _UNKNOWN
    if type(value) not in (list, tuple, set, dict):
        return _UNKNOWN
    if type(value) is tuple and _KINDS.issuperset(map(type, value)):
        return value
    if id(value) not in seen:
        seen[id(value)] = (value, _UNKNOWN)  # what holds itself is no plain value
        seen[id(value)] = (value, _copy(value, seen))
    return seen[id(value)][1]


def _copy(container: Any, seen: Seen) -> Any:
    if type(container) is dict:
        pairs = {key: _value(one, seen) for key, one in container.items()}
        return _UNKNOWN if any(one is _UNKNOWN for one in pairs.values()) else pairs
    items = [_value(one, seen) for one in container]
    return _UNKNOWN if any(one is _UNKNOWN for one in items) else type(container)(items)
