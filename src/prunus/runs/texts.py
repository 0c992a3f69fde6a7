"""Numbers that a user types, as text."""

from __future__ import annotations

import math

from prunus._foundation.sizes import levels_fault, shape_fault
from prunus.errors import ConfigError


def parse_shape(text: str) -> tuple[int, ...] | None:
    """ "1,3,32,32" -> (1, 3, 32, 32); "" -> None."""
    if not text:
        return None
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if len(shape) < 2 or min(shape) < 1:
        raise ConfigError(
            f"An input shape is whole numbers with commas, batch first, such as 1,3,32,32, not {text[:60]!r}."
        )
    if fault := shape_fault(shape):
        raise ConfigError(f"--input-shape {text[:60]} cannot be: {fault}.")
    return shape


def parse_planes(text: str, planes: int | None, what: str) -> tuple[float, ...] | None:
    """ "0.485,0.456,0.406" -> three floats; one number counts for every plane; "" -> None. With `planes` None
    only their form is checked.
    """
    if not text:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if planes is None and not values:
        raise ConfigError(
            f"--{what} takes one number per plane, with commas, such as 0.485,0.456,0.406, not {text[:60]!r}."
        )
    if planes is not None and len(values) not in (1, planes):
        raise ConfigError(f"--{what} takes one number per plane ({planes}), with commas, not {text[:60]!r}.")
    if not all(math.isfinite(value) for value in values) or (what == "std" and min(values) <= 0):
        raise ConfigError(
            f"--{what} takes finite numbers{' above 0' if what == 'std' else ''}, not {text[:60]!r}."
        )
    if fault := levels_fault(*((values, ()) if what == "mean" else ((), values))):
        raise ConfigError(f"--{what} {text[:60]}: {fault}.")
    return values * planes if planes is not None and len(values) == 1 else values
