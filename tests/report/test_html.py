"""The page: self-contained, well-formed, complete, and the same every time."""

from __future__ import annotations

import copy
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from prunus import report
from prunus.errors import FileFormatError, MissingExtraError
from prunus.report.html import comparison, pinned_table, render

pytest.importorskip("jinja2", reason="the extra report is not installed")
pytest.importorskip("matplotlib", reason="the extra report is not installed")

VOID = {"meta", "link", "br", "wbr", "img"}
# In inline SVG these may close themselves.
SHAPES = {"path", "use", "rect", "circle", "line", "stop"}


class Checker(HTMLParser):
    """Every element is closed, in order; ids are unique; references stay inside the page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "srcset", "action"):
                self.references.append(value or "")
            self.references += re.findall(r"url\((.*?)\)", value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def checked(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    return checker


@pytest.fixture(params=["lenet", "resnet"])
def result(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.getfixturevalue(request.param)
    return found


def test_the_page_is_well_formed_and_asks_for_nothing(result: dict[str, Any]) -> None:
    page = render(result)
    checker = checked(page)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    assert all(one == "data:," or one.removeprefix("#") in checker.ids for one in checker.references)
    assert "http" not in page and "//" not in re.sub(r"data:,", "", page) and "<script" not in page
    assert "@import" not in page and "url(" not in page.split("</style>")[0]
    assert len(page.encode()) < 2_000_000


def test_the_page_is_the_same_every_time(lenet: dict[str, Any], drawn: dict[str, Any]) -> None:
    first = render(lenet)
    drawn.clear()
    assert first == render(copy.deepcopy(lenet))


def test_everything_is_told(lenet: dict[str, Any]) -> None:
    checker = checked(render(lenet))
    text = " ".join(" ".join(checker.text).replace("\u00a0", " ").replace("\u202f", " ").split())
    for expected in (
        "6.2× smaller, 2.8× faster, accuracy −0.2 points",
        "Pruned to lose at most 1 point of accuracy on held-out samples by norm-l2, global",
        "2.1 × 10⁻⁷",
        "Accuracy at each step",
        "after fine-tuning",
        "500 → 140",
        "chosen: 18 %",
        "limit 96.9",
        "366 test images",
        "it is an output of the model",
        "prunus demo",
        "avx512_vnni",
        "torch 2.13.0+cpu",
        "model.safetensors (86.0 kB)",
    ):
        assert expected in text, expected


def test_colours_are_the_page_s(result: dict[str, Any]) -> None:
    figures = re.findall(r"<svg.*?</svg>", render(result), flags=re.DOTALL)
    assert len(figures) >= 10  # every figure twice: for a desktop and for a phone
    for figure in figures:
        assert not re.search(
            r"#[0-9a-fA-F]{3,6}\b(?!-)", re.sub(r'href="#[^"]*"|url\(#[^)]*\)', "", figure)
        ), figure[:300]
        assert "font-family: inherit" in figure or "font-family" not in figure


def test_a_run_without_data_or_measurement(lenet: dict[str, Any]) -> None:
    bare = {
        **lenet,
        "accuracy": None,
        "search": None,
        "training": [],
        "latency": [],
        "pinned": [],
        "files": {},
    }
    bare["model"] = {**lenet["model"], "data": None}
    checker = checked(render(bare))
    text = " ".join(checker.text)
    assert checker.open == []
    assert "every channel was free to go" in text
    assert "Accuracy" not in text and "Latency" not in text


def test_no_text_of_a_file_moves_a_cursor_or_turns_letters_around(lenet: dict[str, Any]) -> None:
    """They stood in the page as they were, and matplotlib warned of each that its fonts lack."""

    def marked(value: Any) -> Any:
        if isinstance(value, str):
            return value if value in ("before", "rate", "tolerance") else f"{value}\x1b]0;x\x07\u202e"
        if isinstance(value, dict):
            return {key: marked(one) for key, one in value.items()}
        return [marked(one) for one in value] if isinstance(value, list) else value

    page = render(marked(lenet))
    assert not any(mark in page for mark in "\x1b\x07\u202e") and "\\x1b]0;x" in page


def test_names_in_any_letters_are_drawn_without_a_warning(lenet: dict[str, Any]) -> None:
    lenet["accuracy"]["metric"] = "精度 \\1, percent"
    lenet["layers"][0]["name"] = "卷积"
    page = render(lenet)
    assert "卷积" in page and "精度 \\1" in page


def test_what_users_wrote_is_escaped(lenet: dict[str, Any]) -> None:
    result = {**lenet, "command": "prunus prune '<script>x</script>'"}
    result["layers"] = [{**lenet["layers"][0], "name": "<b>&conv"}]
    page = render(result)
    assert "<script" not in page and "<b>" not in page
    assert checked(page).open == []


def test_dollar_signs_are_no_mathematics(lenet: dict[str, Any]) -> None:
    page = render({**lenet, "layers": [{**lenet["layers"][0], "name": "a$b$c"}]})
    assert all(
        "a$b$c" in figure
        for figure in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
        if "20 →" in figure
    )
    assert page.count("a$b$c") == 5  # two plots, each for two widths, and the table


def test_inexact_plans_say_so(lenet: dict[str, Any]) -> None:
    verification = {**lenet["verification"], "exact": False, "relative": 0.02}
    page = render({**lenet, "verification": verification, "notes": ["a layer norm sees fewer channels"]})
    assert "is not exact" in page and "a layer norm sees fewer channels" in page


def test_latency_within_the_noise_is_no_change(lenet: dict[str, Any]) -> None:
    row = lenet["latency"][0]
    same = {**lenet, "latency": [{**row, "speedup": {**row["speedup"], "certain": False}}]}
    assert [one["change"] for one in comparison(same) if one["name"].startswith("Latency")] == [
        "within the noise"
    ]


def test_pinned_entries_with_one_reason_are_one_row(resnet: dict[str, Any]) -> None:
    rows = pinned_table([*resnet["pinned"], resnet["pinned"][1]])
    assert [row["channels"] for row in rows] == ["10", "32"]
    assert rows[1]["names"].endswith("layer1.3.conv2.weight and 5 more")


def test_writing_is_atomic(lenet: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "runs" / "report.html"
    report.write(lenet, path)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    before = path.read_bytes()
    monkeypatch.setattr(Path, "replace", lambda self, target: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(FileFormatError, match="disk full"):
        report.write({**lenet, "command": "another"}, path)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]


def test_a_result_of_another_time_or_without_parts(lenet: dict[str, Any]) -> None:
    with pytest.raises(FileFormatError, match="schema 99; this version reads schema 1"):
        render({**lenet, "schema": 99})
    with pytest.raises(FileFormatError, match="lacks cost, layers"):
        render({key: value for key, value in lenet.items() if key not in ("cost", "layers")})


def test_a_missing_extra_is_named(lenet: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'prunus\[report\]'"):
        render(lenet)


def test_seconds_of_each_epoch_are_drawn_where_they_were_to_fall(lenet: dict[str, Any]) -> None:
    result = copy.deepcopy(lenet)
    epochs = result["training"][0]["epochs"]
    for number, epoch in enumerate(epochs):
        epoch["seconds"] = 4.0 if number < len(epochs) / 2 else 2.0
    result["soft"] = {
        "record": [{"epoch": 0, "rate": 0.5, "alive": {"a": 4}, "regrown": 0}],
        "sizes": {"a": 8},
    }
    assert "Seconds of each epoch: 4 at first, 2 at last" in render(result)
    result["soft"] = result["selection"] = None
    assert "Seconds of each epoch" not in render(result)


@pytest.mark.parametrize(
    "part",
    [
        {"layers": [{}]},
        {"layers": [{"name": 1}]},
        {"cost": {}},
        {"target": []},
        {"target": None},
        {"environment": None},
        {"verification": None},
        {"model": "lenet5"},
        {"accuracy": {"steps": [{"value": 10**400}]}},
        {"pinned": [None]},
        {"int8": {"x": 1}},
        {"latency": [{"runtime": "torch"}]},
    ],
)
def test_a_result_that_anybody_may_have_written_is_a_sentence(
    part: dict[str, Any], lenet: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(FileFormatError, match=r"^The result lacks what a report needs \("):
        report.write(lenet | part, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())
