"""What `docs/mission.md` says is here is here: names, methods, scores, links; and no method is missing."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from docs._tools.links import _LINK

from prunus.methods.named import COMPENSATIONS
from prunus.methods.registry import METHODS
from prunus.runs.names import SCORES

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "mission.md").read_text()
ABSENT = "not yet"


def rows() -> list[list[str]]:
    """The cells of every line of the tables."""
    lines = [line for line in TEXT.splitlines() if line.startswith("| ")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if "named (source)" not in line
    ]


def value(name: str) -> Any:
    """What a dotted name stands for: a module, or something that a module has."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        home, _, own = name.rpartition(".")
        return getattr(value(home), own)


def given(flag: str) -> set[str]:
    """What a flag is given on the page."""
    return set(re.findall(rf"--{flag} ([\w-]+)", TEXT))


def slug(heading: str) -> str:
    """The anchor of a heading, as the site makes it."""
    return re.sub(r"[^\w\s-]", "", heading.replace("`", "").lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(prunus(?:\.\w+)+)`", TEXT))))
def test_a_name_exists(name: str) -> None:
    assert value(name) is not None


def test_a_name_that_does_not_exist_is_found() -> None:
    with pytest.raises(AttributeError):
        value("prunus.scores.huffman")


def test_methods_scores_and_compensations_are_those_of_the_library() -> None:
    assert given("method") == set(METHODS)
    assert given("score") and given("score") <= set(SCORES)
    assert given("compensate") and given("compensate") <= set(COMPENSATIONS)


def test_every_link_leads_to_a_page_and_to_its_heading() -> None:
    found = _LINK.findall(TEXT)
    assert len(found) > 50
    for link in found:
        path, _, anchor = link.partition("#")
        headings = re.findall(r"^#+ (.*)$", (DOCS / path).read_text(), re.MULTILINE)
        assert not anchor or anchor in map(slug, headings), link


def test_every_line_says_where_it_is_or_that_it_is_not() -> None:
    for name, place, measured, published, control in rows():
        assert name and published, name
        if place.startswith(ABSENT):
            assert not measured and not control, f"{name}: what is not here was measured."
        else:
            assert measured and control and ("](" in place), f"{name}: where, measured, and beside what?"


def test_what_is_not_here_has_a_reason_of_three_words_or_none() -> None:
    reasons = re.findall(rf"{ABSENT}: ([^|(]+?) *[|(]", TEXT)
    assert reasons and all(len(reason.split()) == 3 for reason in reasons), reasons
