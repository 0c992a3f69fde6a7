"""Test samples with what two networks made of them: the section of the page, and the rule by which they were
chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunus.report import words

Panel = Mapping[str, Any]
COLUMNS = {"picture": "Picture", "true": "True", "dense": "Dense", "compact": "Compact"}
ELSEWHERE = "The pictures are in the report that the run itself wrote."


def section(panel: Panel, images: Mapping[str, str]) -> dict[str, Any]:
    """What the template shows: a sentence on the choice, and the samples with those of their images that are
    there.
    """
    classes = panel["kind"] == "classes"
    samples = [_card(one, images) if classes else _strip(one, panel, images) for one in panel["samples"]]
    shown = [one for one in samples if one["images"]]
    missing = panel["drawn"] and not shown
    return {
        "kind": panel["kind"],
        "text": _of_classes(panel, bool(shown)) if classes else _of_pictures(panel),
        "legend": panel.get("legend", []),
        "samples": shown,
        "note": panel.get("note", ELSEWHERE if missing else ""),
    }


def _card(sample: Panel, images: Mapping[str, str]) -> dict[str, Any]:
    lines = [f"is {sample['true']}", f"dense: {sample['dense']}", f"compact: {sample['compact']}"]
    return {
        "title": f"Test sample {sample['position'] + 1}",
        "lines": lines,
        "images": [{"uri": images[name], "label": ""} for name in sample["images"] if name in images],
    }


def _strip(sample: Panel, panel: Panel, images: Mapping[str, str]) -> dict[str, Any]:
    title, differ = f"Test picture {sample['position'] + 1}", sample["difference"]
    if differ is not None:
        share = words.percent(differ)
        title += (
            f": {share} of the pixels differ"
            if panel["kind"] == "masks"
            else f": the boxes overlap by {words.percent(1 - differ)}"
        )
    return {
        "title": title,
        "lines": [],
        "images": [
            {"uri": images[name], "label": COLUMNS[column]}
            for name, column in zip(sample["images"], panel["columns"])
            if name in images
        ],
    }


def _looked_at(panel: Panel, what: str) -> str:
    """How many samples there were to choose from."""
    return f"{'' if panel['all'] else 'the first '}{panel['looked_at']:,} test {what}"


def _of_classes(panel: Panel, pictures: bool) -> str:
    if not panel["differ"]:
        return f"The two networks tell the same class for {_looked_at(panel, 'samples')}."
    right = panel["right"]
    text = (
        f"The two networks tell different classes for {panel['differ']:,} of {_looked_at(panel, 'samples')}:"
        f" the dense one alone is right on {right['dense']:,}, the compact one alone on"
        f" {right['compact']:,}, neither on {right['neither']:,}."
    )
    more = panel["differ"] > len(panel["samples"])
    first = f" The first {len(panel['samples'])} of these are shown." if more else ""
    return text + (first if pictures else "")


def _of_pictures(panel: Panel) -> str:
    why = [one["why"] for one in panel["samples"]]
    first, most = why.count("first"), why.count("differs")
    text = f"The first {first} test pictures" if first > 1 else "The first test picture"
    if most:
        differ = "most pixels differ" if panel["kind"] == "masks" else "the boxes differ most"
        many, seen = most if most > 1 else "one", _looked_at(panel, "pictures")
        text += f", and the {many} of {seen} where {differ} between the two networks"
    text += "."
    if panel["kind"] == "boxes":
        text += " Of each network as many of the surest boxes are shown as there are true ones."
    if panel["windows"]:
        text += " Of pictures larger than a window it is the window at the top left."
    return text
