"""Rooms whose files are imported when they are first named."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from prunus._foundation import lazy, wording
from prunus._foundation.lazy import files_of, names_of


def test_a_file_and_a_name_are_found_and_others_are_no_attributes() -> None:
    assert files_of("prunus._foundation", ["wording"])("wording") is wording
    assert names_of("prunus._foundation", {"given": "wording"})("given") is wording.given
    for lookup in (files_of("prunus._foundation", ["wording"]), names_of("prunus._foundation", {})):
        with pytest.raises(AttributeError, match=r"module 'prunus\._foundation' has no attribute 'seeds'"):
            lookup("seeds")


def test_nothing_is_imported_before_it_is_named() -> None:
    code = (
        "import sys, json; from prunus._foundation.lazy import files_of;"
        " look = files_of('prunus._foundation', ['sizes']);"
        " before = 'prunus._foundation.sizes' in sys.modules; look('sizes');"
        " print(json.dumps([before, 'prunus._foundation.sizes' in sys.modules]))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == [False, True]


def test_no_name_that_a_room_looks_up_is_that_of_a_file_beside_it() -> None:
    """Importing the file would put it in the place of what the name stands for."""
    looked_up = [
        (path.parent, str(name.value))
        for path in Path(lazy.__file__).parent.parent.rglob("__init__.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Dict)
        for name, home in zip(node.keys, node.values)
        if isinstance(name, ast.Constant) and isinstance(home, ast.Constant)
    ]
    assert len(looked_up) > 20
    assert [str(folder / name) for folder, name in looked_up if (folder / f"{name}.py").exists()] == []
