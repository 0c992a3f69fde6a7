"""The page of several runs: well-formed, self-contained, and what it says."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from tests.report.conftest import lenet_result, measured
from tests.report.test_html import checked

from prunus.report.runs import gather

pytest.importorskip("jinja2", reason="the extra report is not installed")
pytest.importorskip("matplotlib", reason="the extra report is not installed")


def run(accuracy: float, macs: int, before: float = 0.03, after: float = 0.01) -> dict[str, Any]:
    """A result of LeNet-5 with other figures at its end."""
    result = copy.deepcopy(lenet_result())
    result["accuracy"]["steps"][-1]["value"] = accuracy
    result["cost"]["after"] |= {"macs": macs, "bytes": macs // 2}
    result["latency"] = [measured("PyTorch", 0.1, 0.09), measured("ONNX Runtime", before, after)]
    return result


def trained(accuracy: float = 98.6) -> dict[str, Any]:
    """A training where nothing was removed."""
    result = lenet_result()
    steps = [{"step": "trained", "value": accuracy}]
    return {
        "command": "prunus train",
        "model": result["model"],
        "accuracy": {"count": 366, "steps": steps},
        "cost": {"after": result["cost"]["before"]},
    }


def page(results: dict[str, Any]) -> str:
    from prunus.report.runs_page import render

    return render(results, "prunus compare a b c -o compare.html")


def test_the_page_is_well_formed_and_asks_for_nothing() -> None:
    results = {"a": run(98.2, 300_000), "b": run(97.0, 100_000), "<c>": run(60.0, 20_000)}
    text = page(results)
    checker = checked(text)
    assert checker.open == [] and len(checker.ids) == len(set(checker.ids))
    assert all(one == "data:," or one.removeprefix("#") in checker.ids for one in checker.references)
    assert "http" not in text and "<script" not in text and "<c>" not in text and "&lt;c&gt;" in text
    assert text == page(results)
    words = "".join(checker.text)
    assert all(f"Accuracy against {what}" in words for what in ("MACs", "latency", "size"))
    # A figure for desktop and one for phones, in each of which every network has its name.
    assert len(re.findall(r">b</text>", text)) == 6 and len(re.findall(r">lenet5</text>", text)) == 6


def test_the_verdict_of_the_page() -> None:
    from prunus.report.runs_page import verdict

    small = verdict(gather({"a": run(98.6, 286_500), "b": run(90.0, 100_000)})).replace("\u00a0", " ")
    assert small == "a: 2.0× fewer MACs, accuracy unchanged"
    assert verdict(gather({"b": run(90.0, 100_000)})) == "Nothing smaller is as accurate as lenet5"


def test_a_page_without_latency() -> None:
    text = page({"a": trained(97.0), "b": trained(98.0)})
    assert "Accuracy against latency" not in text and "Accuracy against size" in text
    assert checked(text).open == []
