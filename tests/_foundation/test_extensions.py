"""What other packages add: found by name, imported when it is named, and never a crash."""

from __future__ import annotations

import sys

import pytest
from tests.packages import Package, package

from prunus._foundation import extensions
from prunus._foundation.extensions import Group, added, offered
from prunus.errors import ConfigError

__all__ = ["package"]


@pytest.mark.parametrize("group", extensions.GROUPS)
def test_what_is_offered_is_not_imported(group: Group, package: Package) -> None:
    package("my-nets", "raise SystemExit('run')", **{group.partition(".")[2]: "mine = my_nets:it"})
    one = offered(group)["mine"]
    assert (one.package, one.place) == ("my-nets", "my_nets:it") and "my_nets" not in sys.modules


def test_it_is_imported_when_it_is_named(package: Package) -> None:
    package("my-nets", "def it():\n    return 5\n", scores="mine = my_nets:it")
    assert added("prunus.scores", ())["mine"].load()() == 5


@pytest.mark.parametrize(
    ("source", "point", "said"),
    [
        ("raise SystemExit('run')", "my_nets:it", r"cannot be imported \(SystemExit: run\)\.$"),
        ("import nothing_of_that_name", "my_nets:it", r"cannot be imported \(ModuleNotFoundError: No module"),
        ("def it(:", "my_nets:it", r"cannot be imported \(SyntaxError"),
        ("", "my_nets:it", r"cannot be imported \(AttributeError"),
        ("it = 5", "my_nets:it", r"is a int, at my_nets:it: it must be a function\.$"),
    ],
)
def test_a_broken_one_is_a_sentence_that_names_the_package(
    source: str, point: str, said: str, package: Package
) -> None:
    package("my-nets", source, scores=f"mine = {point}")
    with pytest.raises(ConfigError, match=f"^The score 'mine' of the package my-nets {said}"):
        added("prunus.scores", ())["mine"].load()


def test_a_name_that_is_taken_is_refused_once(package: Package) -> None:
    package("my-nets", "", scores="taylor = my_nets:it\nmine = my_nets:it")
    text = "The score 'taylor' of the package my-nets is left out: prunus has one of that name"
    with pytest.warns(UserWarning, match=text):
        assert list(added("prunus.scores", ("taylor",))) == ["mine"]
    assert list(added("prunus.scores", ("taylor",))) == ["mine"]


def test_of_two_packages_with_one_name_the_first_has_it(package: Package) -> None:
    package("a-nets", "", tasks="cells = a_nets:it")
    package("b-nets", "", tasks="cells = b_nets:it")
    text = "The task 'cells' of the package b-nets is left out: the package a-nets has one of that name"
    with pytest.warns(UserWarning, match=text):
        assert offered("prunus.tasks")["cells"].package == "a-nets"
