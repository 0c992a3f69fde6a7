"""Every figure in README and docs is what a kept row gives, and `docs/figures.md` says which."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks import figure_values
from benchmarks.figure_values import Figure, Value, at, figure
from benchmarks.figures import PAGE, ROOT, Entries, block, documents, entries, page, prose_of, unknown, wrong
from benchmarks.rows import unrecorded

KNOWN = entries()


@pytest.mark.parametrize("name", documents())
def test_figures_say_what_their_rows_give(name: str) -> None:
    assert list(wrong(name, (ROOT / name).read_text(), KNOWN)) == []


@pytest.mark.parametrize("name", documents())
def test_no_figure_is_without_an_entry(name: str) -> None:
    assert list(unknown(name, (ROOT / name).read_text(), KNOWN)) == []


def test_every_entry_is_of_a_document_that_is_there() -> None:
    named = (
        {one.document for one in KNOWN.figures}
        | {name for name, *_ in KNOWN.others}
        | {name for name, _ in KNOWN.written}
    )
    assert named <= {*documents(), "*"}


def test_the_page_is_what_the_generator_gives() -> None:
    assert PAGE.read_text() == page(KNOWN)


def test_a_figure_that_is_changed_in_the_text_is_found() -> None:
    for one in KNOWN.figures:
        if not any("{" + name + "}" in one.text for name in one.values):
            continue
        text = (ROOT / one.document).read_text()
        (right,) = list(one.values.items())[:1]
        bent = replace(one, values=one.values | {right[0]: replace(right[1], times=right[1].times * 1.5)})
        if bent.filled() != one.filled():
            assert list(wrong(one.document, text, replace(KNOWN, figures=[bent], others=[], written=[]))), (
                one.text
            )


def test_a_block_that_a_benchmark_writes_is_its_own() -> None:
    text = (ROOT / "README.md").read_text()
    start, end = block(text)
    bent = text[:start] + text[start:end].replace("modes: ", "modes: about ") + text[end:]
    assert bent != text and any("coverage" in line for line in wrong("README.md", bent, KNOWN))


NOTHING = Entries([], [], [])


@pytest.mark.parametrize(
    "text",
    [
        "It is 12 % faster.",
        "It takes 3 ms.",
        "Loses 0.4 of it.",
        "1.2 points are lost.",
        "Of these 164 of 230 are exact.",
        "It is ten or 4 times faster.",
        "The file has 2 MB.",
        "| network | -2 |",
        "about 3 ± 1",
        "within 1e-5",
        "It takes 12 minutes.",
        "a 3-times smaller file",
        "It is 3× as fast.",
        "half, or\n86 %, of it",
    ],
)
def test_what_looks_measured_is_found(text: str) -> None:
    (line,) = list(unknown("README.md", text, NOTHING))[:1]
    assert line.startswith("README.md:") and "no entry" in line


@pytest.mark.parametrize(
    "text",
    [
        "```\nprunus --rate 0.3\n```\n",
        "## 3.7 times faster",
        "Give `--rate 0.3`.",
        "[it](file-0.3.md)",
        "where $x = 0.5$ and $$y = 0.25$$",
        "Li et al. 2017 (arXiv 1608.08710)",
        "(10.1109/TCSVT.2023.3248659)",
        "<!-- 3 ms -->",
        "ResNet-56 with 2 and 3 filters, 100 samples, two of three seeds, maps of 7 × 7",
    ],
)
def test_what_is_no_measurement_is_left_alone(text: str) -> None:
    assert list(unknown("README.md", text, NOTHING)) == []


def test_prose_keeps_its_places() -> None:
    text = "a `0.3` b\n```\n0.4\n```\nc"
    assert (
        len(prose_of(text)) == len(text)
        and prose_of(text).count("\n") == text.count("\n")
        and "0." not in prose_of(text)
    )


def test_an_allowed_number_needs_its_very_words_and_a_reason() -> None:
    allowed = Entries([], [], [("README.md", "at most 2 GiB", "setting")])
    assert list(unknown("README.md", "It keeps at most\n2 GiB.", allowed)) == [] and list(
        unknown("README.md", "It took 2 GiB.", allowed)
    )
    assert list(wrong("README.md", "Nothing of it.", allowed))
    assert any(
        "none of the reasons" in line
        for line in wrong("README.md", "2 ms", Entries([], [], [("README.md", "2 ms", "because")]))
    )


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two seeds of two kinds."""
    measured = {"accuracy": unrecorded(0), "latency": unrecorded(1)}
    rows: list[dict[str, Any]] = [
        {
            "kind": kind,
            "seed": seed,
            "points": 80.0 + seed + bonus,
            "sizes": [4, 1],
            "latency": [{"on": "a b", "ms": 2.0 + seed}],
            "measured": measured,
        }
        for kind, bonus in (("plain", 0.0), ("better", 3.0))
        for seed in (0, 1)
    ]
    (tmp_path / "some.json").write_text(json.dumps({"rows": rows, "large": rows[0] | {"points": 7.0}}))
    monkeypatch.setattr(figure_values, "RESULTS", tmp_path)
    return "some"


def test_values_are_computed_as_their_words_say(results: str) -> None:
    better = Value(results, {"kind": "better"}, of="points")
    assert better.text() == "83.50" and replace(better, form=".0f", among="max").text() == "84"
    assert replace(better, among="spread", form="+.1f").text() == "+83.5 ± 0.7"
    assert replace(better, minus="points", other={"kind": "plain"}, among="spread").text() == "3.00 ± 0.00"
    assert replace(better, of="sizes/1", per="sizes/0", rest=True, times=100, form=".0f").text() == "75"
    assert replace(better, of="latency/on=a b/ms", among="min").text() == "2.00"
    assert replace(better, of="", among="count", form="d").text() == "2"
    assert replace(better, among="above", limit=83.0).number() == 1
    assert Value(results, "large", of="points").text() == "7.00"
    assert Value(results, {"seed": [0]}, of="points").numbers() == [80.0, 83.0]
    assert (
        replace(better, of="sizes/0", minus="sizes/1", per="points").words() == "(sizes/0 − sizes/1) / points"
    )


def test_records_are_those_of_the_parts_that_are_read(results: str) -> None:
    seeds = {"points": {0}, "latency/0/ms": {1}}
    for path, expected in seeds.items():
        assert {how["seed"] for how in Value(results, {}, of=path).records()} == expected
    assert len(Value(results, {"seed": 0}, of="points", minus="points", other={"seed": 1}).records()) == 8


def test_rows_that_are_not_there_are_an_error(results: str) -> None:
    with pytest.raises(LookupError, match="no row of kind other"):
        Value(results, {"kind": "other"}, of="points").number()
    with pytest.raises(LookupError, match="pair"):
        Value(results, {"kind": "plain"}, of="points", minus="points", other={"sizes": [[4, 1]]}).number()


def test_words_have_bounds(results: str) -> None:
    inside = Figure(
        "README.md", "a little", {"x": Value(results, {}, of="points", among="min", between=(79.0, 81.0))}
    )
    assert inside.untrue() == []
    assert replace(inside, values={"x": replace(inside.values["x"], between=(0.0, 1.0))}).untrue() == [
        "x is 80, not in (0.0, 1.0)"
    ]


def test_entries_are_read_with_their_own_rows_first(results: str) -> None:
    table = {
        "document": "README.md",
        "text": "{a} and {b}",
        "result": results,
        "where": {"seed": 0},
        "values": {"a": {"of": "points"}, "b": {"of": "points", "where": "large"}},
    }
    assert figure(table).filled() == "81.50 and 7.00"
    assert at({"a": [{"n": "x", "v": 3}]}, "a/n=x/v") == 3.0
