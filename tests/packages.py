"""Small packages of others, installed into a temporary folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prunus._foundation import extensions

Package = Callable[..., None]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Installs a package: its name, what its module holds, and its entry points."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def install(name: str, source: str, **groups: str) -> None:
        module = name.replace("-", "_")
        made.append(module)
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"[prunus.{group}]\n{points}" for group, points in groups.items()]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        extensions.forget()

    yield install
    extensions.forget()
    for name in made:
        sys.modules.pop(name, None)
