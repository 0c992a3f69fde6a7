"""Functions that a user names: found in the current directory, called with what they ask for, and told apart
from what is none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prunus._foundation.factories import called, nearest, reason, short, taken
from prunus.errors import ArgumentError, ConfigError

MODULE = """
number = 3

class Kinds:
    @staticmethod
    def double(value, factor=2):
        return factor * value

def fails():
    raise KeyError("gone")
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "named_by_a_user.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("named_by_a_user", None)


def test_a_function_of_the_current_directory_is_called_by_its_dots() -> None:
    path = list(sys.path)
    assert called("named_by_a_user:Kinds.double", {"value": 4}, "doubles", ConfigError) == 8
    assert sys.path == path


def test_a_function_says_which_words_it_takes() -> None:
    words = ("value", "factor", "other")
    assert taken("named_by_a_user:Kinds.double", words, "doubles", ConfigError) == {"value", "factor"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("not_here_at_all:build", "Cannot import 'not_here_at_all' of 'not_here_at_all:build'"),
        ("folder/named.py:build", r"seen from here: folder\.named:"),
        ("named_by_a_user:numbers", "Did you mean number"),
        ("named_by_a_user:number", "is a int: expected a function or class that doubles"),
        ("named_by_a_user:fails", r"Building named_by_a_user:fails\(\) failed: KeyError: 'gone'"),
    ],
)
def test_what_cannot_be_called_is_one_sentence(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        called(name, {}, "doubles", ConfigError)
    assert "\n" not in str(caught.value) and str(caught.value).endswith((".", "…"))


def test_hints_values_and_reasons_are_short() -> None:
    assert nearest("lenet", ["lenet5", "vgg16"]) == " Did you mean lenet5?" and nearest("x", ["lenet5"]) == ""
    assert short("a") == "'a'" and len(short("a" * 100)) == 58
    assert reason(ValueError("one.\ntwo")) == "ValueError: one" and reason(KeyError()) == "KeyError"
    assert reason(ArgumentError("It is none.")) == "TypeError: It is none"
