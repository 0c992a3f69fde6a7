"""The exporter reads all of its operators anew in every export, which is most of what exporting a small
network takes; here one reading is enough for all exports of a process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch


def keep_registry(patch: pytest.MonkeyPatch) -> None:
    """Give every export a registry of its own, filled from the first one's; versions of torch that have
    theirs elsewhere are left alone.
    """
    registration: Any = pytest.importorskip("torch.onnx._internal.exporter._registration")
    registry: Any = getattr(registration, "ONNXRegistry", None)
    read: Any = getattr(registry, "from_torchlib", None)
    known: dict[Any, Any] = {}
    if read is None:
        return

    def from_torchlib(*version: Any, **named: Any) -> Any:
        key = (version, *named.items())
        if key not in known:
            known[key] = read(*version, **named)
        fresh = registry()
        vars(fresh).update(vars(known[key]))
        fresh.functions = {name: list(metas) for name, metas in known[key].functions.items()}
        return fresh

    patch.setattr(registry, "from_torchlib", staticmethod(from_torchlib))


def keep_implicit(patch: pytest.MonkeyPatch) -> None:
    """Let every export look up the composite operators of C++ only where there are new ones: it does so twice
    for every namespace.
    """
    utils: Any = pytest.importorskip("torch._export.utils")
    read: Any = getattr(utils, "_materialize_cpp_cia_ops", None)
    registered: Any = getattr(torch._C, "_dispatch_get_registrations_for_dispatch_key", None)
    known: list[str] = []
    if read is None or registered is None:
        return

    def materialize() -> None:
        there = registered("CompositeImplicitAutograd")
        if there != known:
            read()
            known[:] = there

    patch.setattr(utils, "_materialize_cpp_cia_ops", materialize)


@pytest.fixture(scope="session", autouse=True)
def operators_are_read_once() -> Iterator[None]:
    """At the first export, so that nothing is imported for tests without one."""
    export = torch.onnx.export
    done: list[bool] = []

    def exported(*arguments: Any, **options: Any) -> Any:
        if not done:
            done.append(True)
            keep_registry(patch)
            keep_implicit(patch)
        return export(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", exported)
        yield
