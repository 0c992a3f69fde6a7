"""Rules of other packages: the entry points of the group `prunus.rules`, functions without arguments that
call `prunus.paint_rule`.
"""

from __future__ import annotations

from collections.abc import Mapping

from prunus._foundation.extensions import Extension, offered, told
from prunus._foundation.warned import warn
from prunus.errors import ConfigError
from prunus.paint.call import Rule
from prunus.paint.rules import RULES

_loaded: set[str] = set()  # packages' names for their sets of rules


def load_rules() -> None:
    """Let other packages say what their operators do, once in a process.

    One that fails is left out as a whole, and told in a warning; what prunus or another package says of an
    operator already stays.
    """
    for one in offered("prunus.rules").values():
        if one.name not in _loaded:
            _loaded.add(one.name)  # before its function is run, which may trace a network
            before = dict(RULES)
            if (fault := _fault(one)) or (fault := _taken(before)):
                RULES.clear()
                RULES.update(before)
                warn(fault if fault.endswith(".") else f"{one} is left out: {fault}.")


def _fault(one: Extension) -> str:
    """What is wrong with a set of rules; "" where it was taken up."""
    try:
        one.load()()
    except ConfigError as error:  # which names the package
        return f"{str(error).removesuffix('.')}, and is left out."
    except Exception as error:  # whatever somebody's function raises
        return told(error)
    return ""


def _taken(before: Mapping[str, Rule]) -> str:
    """Which operators had a rule already that is another one now; "" where none had."""
    taken = [name for name, rule in before.items() if RULES.get(name) is not rule]
    return f"there is a rule for {', '.join(taken)} already" if taken else ""


__all__ = ["load_rules"]
