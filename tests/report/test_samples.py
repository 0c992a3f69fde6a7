"""The sections on classes and on test samples."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.report.test_html import checked

from prunus.report import by_class, examples
from prunus.report.html import render

pytest.importorskip("jinja2", reason="the extra report is not installed")
pytest.importorskip("matplotlib", reason="the extra report is not installed")

DOT = "data:image/png;base64,iVBORw0KGgo="


def classes(count: int, before: bool = True) -> dict[str, Any]:
    """Class 0 lost nothing, and every other lost 0.5 points more than the one before it."""
    rows = [
        {
            "label": label,
            "name": f"class {label}",
            "there": 1000 + label,
            "before": 90.0 if before else None,
            "after": 90.0 - label / 2,
        }
        for label in range(count)
    ]
    return {"figure": "IoU", "counted": "pixels", "rows": rows}


def of_masks(kind: str = "masks") -> dict[str, Any]:
    columns = ["picture", "true", "dense", "compact"][kind == "boxes" :]
    samples = [
        {
            "position": position,
            "why": why,
            "difference": 0.25,
            "images": [f"{position}-{column}" for column in columns],
        }
        for position, why in ((0, "first"), (1, "first"), (7, "differs"))
    ]
    return {
        "kind": kind,
        "looked_at": 1000,
        "all": False,
        "windows": False,
        "columns": columns,
        "legend": [{"label": 1, "name": "<house>", "colour": "#e69f00"}],
        "samples": samples,
        "drawn": True,
    }


def of_classes() -> dict[str, Any]:
    samples = [
        {
            "position": place,
            "true": "cat",
            "dense": "cat",
            "compact": "a long-haired dog",
            "images": [f"{place}"],
        }
        for place in (3, 8)
    ]
    return {
        "kind": "classes",
        "looked_at": 366,
        "all": True,
        "differ": 5,
        "right": {"dense": 3, "compact": 1, "neither": 1},
        "samples": samples,
        "drawn": True,
    }


def images_of(panel: dict[str, Any]) -> dict[str, str]:
    return {name: DOT for one in panel["samples"] for name in one["images"]}


def text_of(page: str) -> str:
    return " ".join(" ".join(checked(page).text).replace("\u00a0", " ").replace("\u202f", " ").split())


def test_the_class_that_lost_most_comes_first_and_the_rest_is_folded(lenet: dict[str, Any]) -> None:
    table = by_class.table(classes(30))
    assert [row["name"] for row in table["rows"]] == [f"class {label}" for label in range(29, 9, -1)]
    assert len(table["rest"]) == 10 and table["title"] == "IoU of every class"
    assert table["rows"][0]["cells"] == ["90.0\u202f%", "75.5\u202f%", "\u221214.5", "1,029"]
    page = render(lenet | {"by_class": classes(30)})
    assert checked(page).open == [] and "10 more classes" in page
    assert "29 of 30 classes lost, none won; the worst change comes first." in text_of(page)
    assert page.index("class 10<") < page.index("10 more classes") < page.index("class 9<")


def test_without_a_dense_network_the_worst_class_comes_first() -> None:
    panel = classes(3, before=False)
    panel["rows"].append({"label": 3, "name": "nowhere", "there": 0, "before": None, "after": None})
    table = by_class.table(panel)
    assert table["heads"] == ["Value", "Pixels"] and table["text"] == "The worst class comes first."
    assert [row["name"] for row in table["rows"]] == ["class 2", "class 1", "class 0", "nowhere"]
    assert table["rows"][-1]["cells"] == ["–", "0"]


def test_a_result_without_classes_has_no_such_section(lenet: dict[str, Any]) -> None:
    page = render(lenet | {"by_class": None, "examples": None})
    assert "of every class" not in page and "Test samples, before and after" not in page


@pytest.mark.parametrize("kind", ["masks", "boxes"])
def test_pictures_are_shown_with_the_rule_by_which_they_were_chosen(lenet: dict[str, Any], kind: str) -> None:
    panel = of_masks(kind)
    page = render(lenet | {"examples": panel}, images_of(panel))
    assert checked(page).open == [] and page.count(DOT) == 3 * len(panel["columns"]) and "<house>" not in page
    text = text_of(page)
    assert "The first 2 test pictures, and the one of the first 1,000 test pictures where" in text
    differ = "25.0 % of the pixels differ" if kind == "masks" else "the boxes overlap by 75.0 %"
    assert f"Test picture 8: {differ}" in text
    assert all(word in text for word in ("True", "Dense", "Compact"))


def test_samples_of_other_classes_are_shown_with_what_each_network_says(lenet: dict[str, Any]) -> None:
    panel = of_classes()
    page = render(lenet | {"examples": panel}, images_of(panel))
    assert checked(page).open == [] and page.count(DOT) == 2
    text = text_of(page)
    assert "The two networks tell different classes for 5 of 366 test samples" in text
    assert "the dense one alone is right on 3, the compact one alone on 1, neither on 1. The first 2" in text
    assert "is cat dense: cat compact: a long-haired dog" in text


def test_networks_that_agree_are_told_so() -> None:
    panel = of_classes() | {"differ": 0, "samples": [], "drawn": False}
    assert examples.section(panel, {}) == {
        "kind": "classes",
        "text": "The two networks tell the same class for 366 test samples.",
        "legend": [],
        "samples": [],
        "note": "",
    }


def test_a_page_that_is_drawn_anew_says_where_its_pictures_are(lenet: dict[str, Any]) -> None:
    page = render(lenet | {"examples": of_masks()})
    assert "The pictures are in the report that the run itself wrote." in text_of(page)
    assert not re.search(r'class="(strip|key legend)"', page)
