"""The pages on a phone, 390 pixels wide: nothing is cut, nothing is wider than the screen, and no label of a
figure lies over another.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from importlib import import_module
from typing import Any

import pytest
from tests.report.conftest import curve, lenet_result, measured, resnet_result
from tests.report.test_runs import run
from tests.report.test_runs_page import page as compared
from tests.report.test_samples import classes, images_of, of_classes, of_masks

from prunus.report import words
from prunus.report.html import WIDTHS, render
from prunus.report.metric import metric_words
from prunus.report.verdict import verdict

pytest.importorskip("jinja2", reason="the extra report is not installed")
pytest.importorskip("matplotlib", reason="the extra report is not installed")
svg_labels = import_module("tests.report.svg_labels")
plots = import_module("prunus.report.plots")
accuracy = import_module("prunus.report.steps").accuracy
search = import_module("prunus.report.trials").search

Figure = Callable[[float], str]  # of a width in pixels

SCREEN, MARGIN = 390, 24
STEPS = (
    "before",
    "without blocks",
    "after removal",
    "after compensation",
    "after recalibration",
    "after fine-tuning",
    "trained without what went",
)


def steps(*values: float) -> Figure:
    """A run of many steps."""
    each = [{"step": name, "value": value} for name, value in zip(STEPS, values)]
    return lambda width: accuracy(each, width, metric_words(None))


def trials(*each: tuple[float, float]) -> Figure:
    """A search with trials (MACs left, points)."""
    rows = [
        {"left": left, "value": value, "lowest": value - 1.5, "accepted": value - 1.5 > 96.9}
        for left, value in each
    ]
    return lambda width: search(rows, 96.9, width, metric_words(None))


def trainings(*lengths: int) -> Figure:
    """Trainings one after the other."""
    names = ("training", "fine-tuning", "fine-tuning again")
    stages = [
        {"name": name, "epochs": curve(length, 20.0, 98.0, validation=number == 0)}
        for number, (name, length) in enumerate(zip(names, lengths))
    ]
    return lambda width: plots.training(stages, width, metric_words(None))


def with_names(name: str) -> dict[str, Any]:
    """Long names of everything that a user names."""
    result = resnet_result()
    result["layers"] = [row | {"name": f"{name}.{place}"} for place, row in enumerate(result["layers"][:9])]
    result["model"] = result["model"] | {"name": name}
    result["pinned"] = [result["pinned"][0] | {"names": [name]}]
    result["accuracy"] = result["accuracy"] | {"metric": f"{name}, percent"}
    result["notes"] = [name]
    result["files"] = {"onnx": {"path": name, "bytes": 1}}
    return result


def gated(expected: float) -> dict[str, Any]:
    """A network with gates that let so much pass."""
    edges = [place / 10 for place in range(11)]
    latency = [
        {"runtime": runtime, "network": network, "p50": 1234.5, "p95": 1900.0, "mean": 1300.0}
        for runtime in ("PyTorch", "ONNX Runtime")
        for network in ("all channels", "with gates")
    ]
    group = {"size": 32, "open": expected, "always": 1, "never": 2, "by_class": [expected] * 12}
    panel = {
        "samples": 10_000,
        "budget": expected,
        "expected": expected,
        "classes": [f"class number {place}" for place in range(12)],
        "groups": [group | {"name": f"layer{place}.0.conv1"} for place in range(5)],
        "histogram": {"edges": edges, "counts": list(range(10))},
        "curve": [
            {"budget": share, "macs": share, "accuracy": 90.0 + share} for share in (0.3, expected, 1.0)
        ],
        "latency": latency,
        "gallery": [],
    }
    return lenet_result() | {"dynamic": panel, "latency": []}


SMALL = [
    {
        "name": "training",
        "epochs": [row | {"loss": 0.0701 + row["loss"] / 1e3} for row in curve(3, 97.0, 98.0)],
    }
]
FIGURES: dict[str, Figure] = {
    "two steps": steps(98.0, 12.5),
    "five steps": steps(98.6, 97.1, 12.0, 95.3, 98.0),
    "seven steps": steps(98.6, 97.1, 12.0, 95.3, 98.0, 97.9, 98.1),
    "steps that are alike": steps(98.0, 98.0, 98.0, 98.0),
    "numbers below zero": steps(-12345.6, -99999.9, -3.2, -0.1),
    "one trial": trials((0.5, 99.0)),
    "none accepted": trials((0.5, 90.0), (0.9, 91.0)),
    "many trials": trials(*((0.2 + place / 100, 98.2 + place / 50) for place in range(20))),
    "all trials small": trials((0.02, 98.5), (0.03, 98.6), (0.99, 98.4)),
    "one epoch after many": trainings(60, 1),
    "many epochs after one": trainings(1, 60),
    "three stages": trainings(30, 2, 2),
    "one epoch": trainings(1),
    "small losses": lambda width: plots.training(SMALL, width, metric_words(None)),
}
CASES: dict[str, dict[str, Any]] = {
    "LeNet": lenet_result(),
    "ResNet": resnet_result(),
    "long names": with_names("my_package.my_networks.a_very_long_name_without_any_space_0123456789_in_it"),
    "slow networks": lenet_result()
    | {
        "latency": [
            measured("a runtime of a name", 123456.7, 23456.7),
            measured("ONNX Runtime", 0.00123, 0.00122),
        ]
    },
    "classes and masks": lenet_result() | {"by_class": classes(30), "examples": of_masks()},
    "classes and pictures": lenet_result() | {"by_class": classes(3, False), "examples": of_classes()},
    "gates that let little pass": gated(0.05),
    "gates that let all pass": gated(0.99),
}
RUNS = {f"{count} runs": count for count in (2, 25)}
PAGES = (*CASES, *RUNS)


@cache
def page(name: str) -> str:
    """The page of a case."""
    if name in CASES:
        return render(CASES[name], images_of(CASES[name].get("examples") or {"samples": []}))
    count = RUNS[name]
    runs = [run(90.0 + 9 * place / count, 100_000 + 30_000 * place) for place in range(count)]
    return compared({f"run number {place} with a long name": one for place, one in enumerate(runs)})


def figures(text: str) -> list[str]:
    """The figures of a page, and the widths that they were drawn for."""
    return re.findall(r"<svg viewBox.*?</svg>", text, flags=re.DOTALL)


@pytest.mark.parametrize("name", PAGES)
def test_no_label_of_a_page_lies_over_another_or_leaves_its_figure(name: str) -> None:
    drawn = [one for one in figures(page(name)) if 'role="img"' in one]
    assert len(drawn) >= 6
    for figure in drawn:
        well_set(figure)


@pytest.mark.parametrize("width", WIDTHS.values())
@pytest.mark.parametrize("name", FIGURES)
def test_no_label_lies_over_another_or_leaves_its_figure(name: str, width: float) -> None:
    well_set(FIGURES[name](width))


def well_set(figure: str) -> None:
    told = re.search(r'aria-label="([^"]*)"', figure)
    assert not svg_labels.overlaps(figure), (told, svg_labels.overlaps(figure))
    assert not svg_labels.outside(figure), (told, svg_labels.outside(figure))


def test_a_label_over_another_would_be_found() -> None:
    text = '<text style="font-size: 12px; text-anchor: middle" x="{x}" y="{y}">{t}</text>'
    figure = '<svg viewBox="0 0 100 50">' + "".join(
        text.format(x=x, y=y, t=t) for x, y, t in ((50, 20, "alpha"), (60, 24, "beta"), (95, 45, "gamma"))
    )
    assert svg_labels.overlaps(figure) == [("alpha", "beta")] and svg_labels.outside(figure) == ["gamma"]


class Boxes(HTMLParser):
    """Tables and where they lie; words that no line breaks in."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[tuple[str, str]] = []
        self.tables: list[tuple[str, bool]] = []
        self.headline = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kind = dict(attrs).get("class") or ""
        if tag == "table":
            self.tables.append((kind, ("div", "scroll") in self.open))
        if tag not in ("meta", "link", "br", "wbr", "img"):
            self.open.append((tag, kind))

    def handle_endtag(self, tag: str) -> None:
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if any(tag == "h1" for tag, _ in self.open):
            self.headline += data


def boxes(text: str) -> Boxes:
    found = Boxes()
    found.feed(re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL))
    return found


@pytest.mark.parametrize("name", PAGES)
def test_every_table_folds_in_a_box_of_its_own(name: str) -> None:
    style = page(name).split("</style>")[0].split("@media (max-width: 600px)", 1)[1]
    tables = boxes(page(name)).tables
    assert tables
    for kind, scrolls in tables:
        assert scrolls, f"the table {kind} would be cut"
        (folding,) = {"fold", "pinned", "runs"} & set(kind.split())
        assert re.search(rf"\.{folding} tr \{{ display: (grid|block)", style), kind


@pytest.mark.parametrize("name", PAGES)
def test_nothing_asks_for_more_room_than_there_is(name: str) -> None:
    text = re.sub(r"(?<!\()max-width: [\d.]+px", "", page(name))
    style, room = text.split("</style>")[0], SCREEN - 2 * MARGIN
    assert f"padding: 32px {MARGIN}px" in style
    assert all(float(one) <= room for one in re.findall(r"(?<!\(max-)width: ([\d.]+)px", text))
    assert WIDTHS["narrow"] <= room
    assert "overflow-wrap: break-word" in style, "a long name is broken rather than cut"
    assert "nowrap" not in style.rsplit("@media (max-width: 600px)", 1)[1]


@pytest.mark.parametrize("name", PAGES)
def test_a_headline_breaks_before_it_is_too_wide(name: str) -> None:
    longest = max(map(len, re.split(r"[ ,]+(?!\d)", boxes(page(name)).headline)))
    assert longest <= words.LONGEST or name == "long names"


def test_a_metric_of_a_long_name_breaks(lenet: dict[str, Any]) -> None:
    result = copy.deepcopy(lenet)
    result["accuracy"]["metric"] = "balanced accuracy over regions, percent"
    assert "balanced accuracy over regions −0.2 points" in verdict(result)
    result["accuracy"]["steps"][0]["step"] = "pruned softly"
    assert "98.4 % (no dense network was trained)".replace(" %", "\u202f%") in verdict(result)
