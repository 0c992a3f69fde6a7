"""Old names of files give what they became."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import prunus


def test_old_names_are_other_names_of_the_same_files() -> None:
    """In a process of its own, which works afterwards as it did before."""
    code = (
        "import sys, warnings\n"
        "from importlib import import_module\n"
        "import torch, prunus\n"
        "from prunus._foundation.moved import MOVED\n"
        "for old, new in MOVED.items():\n"
        "    with warnings.catch_warnings(record=True) as said:\n"
        "        warnings.simplefilter('always')\n"
        "        found = import_module(old)\n"
        "    assert found is import_module(new), old\n"
        "    assert any(f'{old} is {new} since 0.2.0' in str(one.message) for one in said), (old, said)\n"
        "model = prunus.models.lenet5()\n"
        "graph = prunus.trace(model, torch.zeros(1, 1, 28, 28))\n"
        "prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5))\n"
        "assert callable(prunus.dynamic.settle)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_room_that_became_several_has_the_names_of_all() -> None:
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "import prunus\n"
        "assert prunus.channels.__name__ == 'prunus.channels' and prunus.targets is prunus.planning.targets\n"
        "import prunus.channels, prunus.targets\n"
        "from prunus.channels import compact, mask, trace\n"
        "from prunus.channels.plan import Plan\n"
        "from prunus.deploy import probe\n"
        "from prunus.tolerance import judged\n"
        "assert prunus.channels.Plan is Plan and compact is prunus.compact and trace is prunus.trace\n"
        "assert not hasattr(prunus.channels, 'nothing') and mask is prunus.mask\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_name_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_module("prunus.nothing_of_the_kind")
    assert "channels" not in dir(prunus)
