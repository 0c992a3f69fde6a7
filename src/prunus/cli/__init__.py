"""The `prunus` command. It only parses, calls the library and shows what comes back."""

from __future__ import annotations


def main() -> None:
    """Entry point; exits with 0 (done), 1 (an error, told in one sentence), 2 (wrong usage) or 130 (interrupted)."""
    from prunus.cli.app import app

    app(prog_name="prunus")
