"""`prunus doctor`: what this installation can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from prunus.cli import options as given
from prunus.cli.console import show_json, show_plain, show_table
from prunus.runs import examination


def doctor(as_json: given.AsJson = False) -> None:
    """Show versions, processor, runtimes, extensions, and which extras are missing.

    The exit code is 1 only if something that prunus cannot do without is broken.
    """
    found = examination.doctor()
    if as_json:
        show_json(found)
    else:
        _show(found)
    if not found["ok"]:
        raise typer.Exit(1)


def _show(found: Mapping[str, Any]) -> None:
    show_table("", ("what", "here"), list(_rows(found)), left=2)
    missing = {name: lacks for name, lacks in found["extras"].items() if lacks}
    here = [name for name in found["extras"] if name not in missing]
    show_plain(f"\nExtras that are here: {', '.join(here) or 'none'}.")
    if missing:
        show_plain("Extras that are not:")
        for name, lacks in missing.items():
            show_plain(f"pip install 'prunus[{name}]'  # {', '.join(lacks)}")
    for package, why in found["broken"].items():
        show_plain(f"Broken: {package} does not import ({why}). prunus cannot do without it.")


def _rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    flags = " ".join(found.get("cpu_flags", ()))
    rows = [
        ("Python", f"{found['python']} on {found['system']} {found['machine']}"),
        *((name, version) for name, version in found.get("versions", {}).items()),
    ]
    if "threads" in found:
        rows += [
            ("processor", found["processor"] or "unnamed"),
            ("vector units", f"{flags or 'none that are known'}; PyTorch uses {found['cpu_capability']}"),
            ("threads", f"{found['threads']} of {found['cores']} cores"),
            ("CUDA", ", ".join(found["cuda"]) or "none"),
        ]
    rows += [
        (f"timing in {examination.RUNTIMES[name]}", why or "yes") for name, why in found["runtimes"].items()
    ]
    for group, names in found["extensions"].items():
        rows += (
            [(group, ", ".join(f"{name} ({package})" for name, package in names.items()))] if names else []
        )
    return rows
