"""A Hub on this machine, and runs that go there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.hub.server import TOKEN, Hub, running

from prunus import runs


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a short job returned: LeNet-5 on digits, tuned, without an ONNX file."""
    return runs.prune(
        "lenet5",
        tmp_path_factory.mktemp("run") / "out",
        runs.PruneSettings(rate=0.5, epochs=1),
        runs.Data("digits", limit=60),
        delivery=runs.Delivery(onnx=False, report=False),
        command="prunus prune lenet5 --data digits --rate 0.5 -o /home/somebody/secret/out",
    )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A Hub that the client of the Hub asks instead of the real one, and whose user is logged in."""
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    from huggingface_hub import constants

    with running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        yield server
