"""The `prunus` command. It only parses, calls the library and shows what comes back."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point; exits with 0 (done), 1 (an error, told in one sentence), 2 (wrong usage) or 130 (interrupted)."""
    try:
        from prunus.cli.app import app

        app(prog_name="prunus")
    except KeyboardInterrupt:  # before the first verb was there to take it
        sys.exit(130)
