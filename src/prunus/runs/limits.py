"""What the numbers that users type may be: one table for flags and keys of recipes, looked at before anything
is read or built.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prunus.errors import ConfigError
from prunus.runs.texts import parse_planes, parse_shape

MOST = 10**9
WIDEST = 2**16


@dataclass(frozen=True)
class Limit:
    """The values that a setting takes.

    Attributes:
        low, high: the least and the greatest.
        above, below: these themselves are not among them.
        share: it is a share of something, and who gives 30 may have meant 0.3.
        counts_from: for figures that are shares up to 1 and counts otherwise: the least count.
    """

    low: float
    high: float
    above: bool = False
    below: bool = False
    share: bool = False
    counts_from: float = 0.0

    def takes(self, value: float) -> bool:
        """Whether a value is one of them; what is not a number is none."""
        inside = (
            self.low <= value <= self.high
            and not (self.above and value == self.low)
            and not (self.below and value == self.high)
        )
        return inside and not (self.counts_from and 1 < value < self.counts_from)

    def __str__(self) -> str:
        if self.counts_from:
            return f"a share above 0 and up to 1, or a count from {self.counts_from:,.0f}"
        if self.above and self.below:
            return f"between {self.low:g} and {self.high:g}"
        low = f"above {self.low:g}" if self.above else f"from {self.low:g}"
        if self.high == math.inf:
            return f"{low} up"
        return f"{low}{',' if self.above else ''} to {'below ' if self.below else ''}{self.high:,.10g}"


SHARE = Limit(0, 1, share=True)
SOME = Limit(0, 1, above=True, share=True)  # a share that is not nothing
LESS = Limit(0, 1, below=True, share=True)  # a share that is not all
PART = Limit(0, 1, above=True, below=True, share=True)
# no network has so few MACs, parameters or bytes
FIGURE = Limit(0, 1e18, above=True, share=True, counts_from=100)
NONE_UP, ONE_UP = Limit(0, MOST), Limit(1, MOST)
POSITIVE = Limit(0, MOST, above=True)
EPOCHS = Limit(0, 10**6)

LIMITS: dict[str, Limit] = {
    "rate": SHARE,
    "macs": FIGURE,
    "params": FIGURE,
    "bytes_left": FIGURE,
    "bytes": FIGURE,
    "tolerance": Limit(0, 100),
    "int8_tolerance": Limit(0, 100),
    "confidence": Limit(0.5, 1, below=True, share=True),
    "budget": Limit(0, 10, above=True, share=True),
    "held_out": PART,
    "validation": LESS,
    "floor": Limit(1, WIDEST),
    "round_to": Limit(1, WIDEST),
    "blocks": Limit(0, WIDEST),
    "threads": Limit(1, 4096),
    "batch": Limit(1, WIDEST),
    "repeats": Limit(1, 10**6),
    "tile": Limit(1, 2**14),
    "overlap": Limit(0, 2**14),
    "window": Limit(1, 2**14),
    "windows": ONE_UP,
    "block": Limit(1, WIDEST),
    "ignore": Limit(0, 255),
    "seed": Limit(0, 2**32 - 1),
    "limit": NONE_UP,
    "workers": Limit(0, 256),
    "epochs": EPOCHS,
    "trial_epochs": EPOCHS,
    "tune_epochs": EPOCHS,
    "pull_epochs": EPOCHS,
    "warmup_epochs": EPOCHS,
    "prune_every": Limit(1, 10**6),
    "select_every": Limit(1, 10**6),
    "stages": Limit(1, 10**6),
    "rounds": Limit(1, 10**6),
    "batch_size": ONE_UP,
    "warmup_steps": NONE_UP,
    "rewind": NONE_UP,
    "lr": POSITIVE,
    "tune_lr": POSITIVE,
    "weight_decay": NONE_UP,
    "momentum": LESS,
    "milestones": PART,
    "shift": Limit(0, WIDEST),
    "first_size": SOME,
    "first_batch": SOME,
    "full_size_from": SOME,
    "label_smoothing": LESS,
    "clip": NONE_UP,
    "ema": LESS,
    "average": LESS,
    "drop": SHARE,
    "annealing": SHARE,
    "least": SHARE,
    "subset_size": ONE_UP,
    "fine_ratio": SOME,
    "attributes": Limit(1, WIDEST),
    "freeze": LESS,
    "norm": Limit(0, math.inf, above=True),
    "step": SOME,
    "l1": NONE_UP,
    "pull_strength": NONE_UP,
    "strength": NONE_UP,
    "mu": NONE_UP,
    "pull": NONE_UP,
    "delta": NONE_UP,
    "alpha": SOME,
    "every": Limit(1, MOST),
    "gate_lr": POSITIVE,
    "first": POSITIVE,
    "last": POSITIVE,
    "first_rate": LESS,
    "most": ONE_UP,
    "least_step": SOME,
    "gate_block": Limit(1, WIDEST),
    "gate_hidden": Limit(0, WIDEST),
    "widths": SOME,
}


def check_settings(settings: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Raises ConfigError, naming the setting as the user knows it, for the first one that is out of range.

    Args:
        settings: their values; None stands for one that was not given. Values of other kinds than a table's
            are left to whoever knows better.
        names: what users call them, where that is not the key: "rate" -> "--rate".
    """
    for key, value in settings.items():
        name = names.get(key, key)
        if key == "input_shape":
            parse_shape(value or "")
        elif key in ("mean", "std"):
            parse_planes(value or "", None, key)
        elif key in LIMITS:
            for one in value if isinstance(value, (list, tuple)) else [value]:
                _check(
                    key, name, int(one) if isinstance(one, str) and one.removeprefix("-").isdecimal() else one
                )


def _check(key: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or LIMITS[key].takes(value):
        return
    limit = LIMITS[key]
    shown = f"{value:g}" if isinstance(value, float) else f"{value:,}" if abs(value) < 10**30 else "that"
    hint = (
        f" (did you mean {value / 100:g}?)"
        if limit.share and 2 <= value <= 100 and limit.takes(value / 100)
        else ""
    )
    raise ConfigError(f"{name} must be {limit}, not {shown}{hint}.")


_UNIT = re.compile(r"([0-9]*\.?[0-9]+(?:e[+-]?[0-9]{1,3})?) ?([kmgt]?)(i?)(b|macs?|params?)?", re.I)
_COMMA = re.compile(r"0,[0-9]+")


def check_spelling(typed: Sequence[str], keys: Mapping[str, str]) -> None:
    """Raises ConfigError for the first number that was given as a percentage, with a unit or a decimal comma,
    and says how it is spelled.

    Args:
        typed: the arguments of a verb.
        keys: the setting of every flag.
    """
    for before, text in zip(["", *typed], typed):
        flag, _, value = text.partition("=") if text.startswith("--") else (before, "", text)
        key = keys.get(flag, "")
        if key not in LIMITS and key != "latency":
            continue
        meant = _meant(key, value)
        if meant is not None:
            hint = f" (did you mean {meant:.15g}?)" if math.isfinite(meant) else ""
            raise ConfigError(f"{flag} takes a plain number, not {value[:60]}{hint}.")


def _meant(key: str, text: str) -> float | None:
    """The number that a text with something behind it, or a comma, stands for; NaN where nobody can say, None
    where the text is for others to judge.
    """
    limit = LIMITS.get(key, SOME)  # a latency is a share, too
    if text.endswith("%"):
        try:
            number = float(text.removesuffix("%"))
        except ValueError:
            return math.nan
        found = number / 100 if limit.share else number  # of points, a percent is one
    elif limit is FIGURE and (unit := _UNIT.fullmatch(text)) and any(unit.groups()[1:]):
        step = (1024 if unit[3] else 1000) ** " kmgt".index(unit[2].lower() or " ")
        found = float(unit[1]) * step
    elif _COMMA.fullmatch(text) and key != "milestones":
        found = float(text.replace(",", "."))
    else:
        return None
    return found if limit.takes(found) else math.nan
