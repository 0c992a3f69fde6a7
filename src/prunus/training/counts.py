"""What networks, losses and samplers count in plain numbers as they go: how often they were called, whether
they have seen a first batch. A training is resumed with these too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

_NUMBERS = (int, float, bool)
_TORCHS = frozenset(vars(nn.Module()))  # whether it trains, whether it has hooks

Counted = dict[str, dict[str, Any]]
"""Numbers by the name of who counts, and of the attribute."""


class Counts:
    """The numbers that objects have as attributes, as far as they have changed.

    Args:
        counting: the objects by name; those without attributes count nothing.
    """

    def __init__(self, counting: Mapping[str, Any]) -> None:
        self._counting = {name: one for name, one in counting.items() if hasattr(one, "__dict__")}
        self._begun = {name: numbers_of(one) for name, one in self._counting.items()}

    def state(self) -> Counted:
        """What is not as it was in the beginning."""
        found = {
            name: {key: value for key, value in numbers_of(one).items() if self._is_other(name, key, value)}
            for name, one in self._counting.items()
        }
        return {name: numbers for name, numbers in found.items() if numbers}

    def restore(self, state: Mapping[str, Mapping[str, Any]], *, known: bool = True) -> None:
        """Let the objects go on from numbers that a file holds, which reach nothing else that they have.

        Args:
            state: see `state`.
            known: all must be there; otherwise those that are not are left out.

        Raises:
            ValueError: it holds what none of them counts.
        """
        for name, numbers in state.items():
            if name in self._counting:
                self._go_on(name, numbers)
            elif known:
                raise ValueError(f"there is no {name!r} that counts")

    def _is_other(self, name: str, key: str, value: Any) -> bool:
        begun = self._begun[name]
        return key not in begun or begun[key] != value

    def _go_on(self, name: str, numbers: Mapping[str, Any]) -> None:
        one = self._counting[name]
        own = vars(one)
        for key, value in numbers.items():
            before = own.get(key, getattr(type(one), key, 0))
            if type(value) not in _NUMBERS or type(before) not in _NUMBERS or key in _TORCHS:
                raise ValueError(f"{key!r} is no number that {type(one).__name__} counts")
            own[key] = value
            self._begun[name].pop(key, None)  # so that the next file holds it too


def numbers_of(one: Any) -> dict[str, int | float | bool]:
    """The numbers that an object has as attributes, but for those that torch gives every module."""
    return {
        name: value
        for name, value in vars(one).items()
        if type(value) in _NUMBERS and not (isinstance(one, nn.Module) and name in _TORCHS)
    }


__all__ = ["Counted", "Counts", "numbers_of"]
