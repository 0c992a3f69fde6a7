"""The page of a coded file."""

from __future__ import annotations

import re
from typing import Any

import pytest

from prunus.report import coding_page

pytest.importorskip("matplotlib", reason="the extra report is not installed")
pytest.importorskip("jinja2", reason="the extra report is not installed")


def result(**changed: Any) -> dict[str, Any]:
    layer = {"kind": "grid", "levels": 9, "step": 0.1}
    return {
        "command": "prunus pack resnet20 -o model.prunus",
        "model": {"name": "resnet20"},
        "data": "CIFAR-10",
        "metric": "top-1 accuracy",
        "target": {"tolerance": 0.5},
        "bytes": 63_000,
        "original_bytes": 1_080_000,
        "before": 81.1,
        "after": 80.8,
        "limit": 80.6,
        "stages": {"as it was": 1_080_000, "fixed width": 150_000, "coded": 62_000, "the file": 63_000},
        "layers": [
            {
                "name": "layer3.0.conv1.weight",
                "elements": 36_864,
                "zeros": 9_000,
                "bytes": 9_000,
                "bits": 1.95,
            }
            | layer,
            {"name": "<fc>.weight", "elements": 640, "zeros": 10, "bytes": 300, "bits": 3.75} | layer,
            {"name": "norm.weight", "elements": 64, "zeros": 0, "bytes": 0, "bits": 0.0}
            | layer
            | {"kind": "plain"},
        ],
        "trials": [
            {"error": 0.02, "bytes": 63_000, "value": 80.9, "lowest": 80.65, "accepted": True},
            {"error": 0.04, "bytes": 50_000, "value": 80.0, "lowest": 79.5, "accepted": False},
        ],
        "confidence": 0.95,
        "seconds": {"searching": 100.0},
        "notes": ["The weights are random."],
    } | changed


def test_the_page_says_what_came_of_it() -> None:
    page = coding_page.render(result())
    text = re.sub(r"<[^>]+>", "", page).replace("\u202f", " ").replace("\u00a0", " ")
    assert "17.1× smaller" in text
    assert "at most 0.5 points of accuracy lost on held-out samples" in text
    assert "1.95" in text and "norm.weight" not in text
    assert "The weights are random." in text and "prunus pack resnet20" in text
    assert "<fc>" not in page  # names are text
    assert "The search" in text


def test_without_a_search_there_is_no_chart_of_one() -> None:
    page = coding_page.render(result(target={"bits": 4}, trials=[], limit=None, before=None, after=None))
    assert "The search" not in page
    assert "4 bits for every weight" in page


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"bytes": 0.1}, "at most 10"),
        ({"bytes": 20_000.0}, "at most 20.0"),
        ({"error": 0.02}, "an error of 0.02"),
        ({"rate": 0.05}, "a thousand bytes adding 0.05"),
    ],
)
def test_every_target_has_words(target: dict[str, float], words: str) -> None:
    assert words in coding_page.asked(result(target=target)).replace("\u202f", " ")


def test_long_names_and_many_tensors_fit_a_phone() -> None:
    layers = [dict(result()["layers"][0], name=f"a.very.long.name.of.a.module.{n}.weight") for n in range(60)]
    page = coding_page.render(result(layers=layers))
    assert page.count("<tr>") == 61


def test_a_metric_in_a_unit_of_its_own_has_no_points() -> None:
    found = result(
        metric="squared error", before=-0.0101, after=-0.0404, limit=-0.02, target={"tolerance": 0.01}
    )
    assert coding_page.verdict(found).replace("\u00a0", " ").endswith("smaller, squared error −0.0303")
    assert ("Squared error", "−0.0101 → −0.0404 on the test set") in coding_page.facts(found)
    assert coding_page.asked(found).startswith("at most 0.01 of squared error lost")
    assert coding_page.facts(result())[2] == ("Accuracy", "81.10 → 80.80 on the test set")
