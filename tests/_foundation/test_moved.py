"""Old names of files give what they became."""

from __future__ import annotations

import subprocess
import sys
import warnings
from importlib import import_module

import pytest

import prunus
from prunus._foundation.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_is_another_name_of_the_same_file(old: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_module(old.rpartition(".")[0])
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is {MOVED[old]} since 0.2.0"):
        found = import_module(old)
    assert found is import_module(MOVED[old]) and found.__name__ == MOVED[old]


def test_a_room_that_became_several_has_the_names_of_all() -> None:
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
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
