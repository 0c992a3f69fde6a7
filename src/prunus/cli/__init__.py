"""The `prunus` command. It only parses, calls the library and shows what comes back."""

from __future__ import annotations

import sys
import warnings
from typing import Any


def main() -> None:
    """Entry point; exits with 0 (done), 1 (an error, told in one sentence), 2 (wrong usage) or 130
    (interrupted).
    """
    try:
        from prunus.cli.app import app

        warnings.showwarning = _tell
        app(prog_name="prunus")
    except KeyboardInterrupt:  # before the first verb was there to take it
        sys.exit(130)


def _tell(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
    """A warning as a line for a reader: what it says, without where in the code it was said."""
    from prunus.cli import streams

    streams.say(
        f"prunus: {message}"
        if issubclass(category, UserWarning)
        else f"prunus: {category.__name__}: {message}"
    )
