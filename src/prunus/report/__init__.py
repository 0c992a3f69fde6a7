"""Results for people and for machines: `result.json`, and one self-contained `report.html` with plots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus._foundation.wording import given
from prunus.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read", "write"]


def read(path: Path | str) -> dict[str, Any]:
    """The result of a run, from its `result.json` or the folder that holds it.

    Raises FileFormatError where there is no such file, or it is no result.
    """
    from prunus._foundation.run_files import RESULT
    from prunus.report.result import read as read_file

    path = _as_path(path)
    return read_file(path / RESULT if path.is_dir() else path)


def write(result: Mapping[str, Any], path: Path | str, images: Mapping[str, str] | None = None) -> None:
    """Write the report of one result as a single HTML file that asks for nothing else, atomically.

    Args:
        result: a result as a job of `prunus.runs` returns it, or as `read` reads it from `result.json`.
        path: where to write; an existing file is replaced.
        images: pictures of samples as data URIs, by the names that the result has for them; a run has them,
            `result.json` has not.

    Raises:
        MissingExtraError: the extra `report` (jinja2, matplotlib) is not installed.
        FileFormatError: the result has another schema version, lacks a part that every result has, or holds
            another kind of value than the page needs; or the page cannot be written.
    """
    from prunus.report.html import render
    from prunus.report.result import understood, write_text

    place = _as_path(path)
    with understood("The result", "a report"):
        page = render(result, images or {})
    write_text(page, place)


def _as_path(path: Any) -> Path:
    try:
        return Path(path)
    except TypeError:
        raise FileFormatError(f"path must be a text or a pathlib.Path, not {given(path)}.") from None
