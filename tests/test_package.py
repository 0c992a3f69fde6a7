"""The package as a whole: its names, its version, and what importing it costs."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import prunus

HEAVY = tuple(
    "typer rich matplotlib jinja2 onnx onnxruntime scipy sklearn timm torchvision PIL torch.onnx.ops".split()
)


def modules_after(code: str) -> set[str]:
    out = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return set(out.stdout.split())


def test_every_public_name_exists_and_is_listed_in_order() -> None:
    assert all(hasattr(prunus, name) for name in prunus.__all__)
    assert sorted(prunus.__all__) == list(prunus.__all__)
    wanted = {"trace", "scores", "plan", "mask", "compact", "verify", "save", "load"}
    assert wanted <= set(prunus.__all__)
    assert all(hasattr(prunus.scores, name) for name in prunus.scores.__all__)
    assert {"norm", "bn_scale", "geometric_median", "taylor", "activation_mean", "random"} <= set(
        prunus.scores.__all__
    )
    assert all(hasattr(prunus.paint, name) for name in prunus.paint.__all__)


def test_every_room_is_reached_by_the_dot() -> None:
    rooms = [
        name for name in prunus.__all__ if name.islower() and (Path(prunus.__file__).parent / name).is_dir()
    ]
    assert {"data", "deploy", "methods", "models", "scores", "training"} <= set(rooms)
    code = (
        f"import prunus\nfor room in {rooms}:\n    assert all(hasattr(getattr(prunus, room), name) for name"
        " in getattr(prunus, room).__all__), room"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


def test_what_is_listed_is_what_is_public() -> None:
    assert dir(prunus) == sorted(prunus.__all__)
    with pytest.raises(AttributeError, match="no attribute 'import_module_of_nobody'"):
        _ = prunus.import_module_of_nobody


def test_the_version_is_the_projects() -> None:
    assert importlib.metadata.version("prunus") == prunus.__version__
    project = Path(__file__).parents[1] / "pyproject.toml"
    if not project.is_file():
        pytest.skip("not run from a checkout")
    assert tomllib.loads(project.read_text())["project"]["version"] == prunus.__version__


def test_importing_is_light() -> None:
    extra = modules_after("import prunus") - modules_after("import torch, safetensors.torch")
    assert {m for m in extra if m.split(".")[0] in HEAVY or m in HEAVY} == set()
