"""JSON in files is read within limits, and what is wrong with it is one sentence that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prunus._foundation import json_files
from prunus._foundation.json_files import DEEPEST, all_printable, check_depth, read_json, to_json
from prunus.errors import FileFormatError


def test_what_is_whole_is_read(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True, "→"], "b": {"c": {}}}
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(value, ensure_ascii=False), encoding="utf-8")
    assert read_json(tmp_path / "a.json", "a record") == value


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    """Also where a figure is no number, which JSON has no word for, wherever it lies."""
    nan, inf = float("nan"), float("inf")
    found = {"a": [1, 2.5, nan, (-inf, True)], "b": {"c": inf, "→": "NaN"}, "d": None}
    options: dict[str, Any]
    for options in ({}, {"indent": 1}, {"ascii_only": True}):
        (tmp_path / "a.json").write_text(to_json(found, **options), encoding="utf-8")
        assert read_json(tmp_path / "a.json", "a record") == {
            "a": [1, 2.5, None, [None, True]],
            "b": {"c": None, "→": "NaN"},
            "d": None,
        }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[1]", "no JSON object"),
        (b"{", "expecting"),
        (b"\xff\xfe{", "no UTF-8 text"),
        (b'{"a": 1, "a": 2}', "the key 'a' twice"),
        (b'{"a": {"b": 1, "b": 2}}', "the key 'b' twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1e400}', "too large"),
        (b'{"a": ' + b"1" * 5000 + b"}", "limit"),
        (b'{"a": ' + b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1) + b"}", "deep"),
        (b'{"a": ' * 50_000, "deep"),
    ],
)
def test_what_is_damaged_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"a\.json cannot be read as a record: ") as caught:
        read_json(tmp_path / "a.json", "a record")
    assert said.lower() in str(caught.value).lower()


def test_what_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.json"):
        with pytest.raises(FileFormatError, match="there is no such file"):
            read_json(path, "a record")


def test_what_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_files, "MOST_BYTES", 2**20)
    (tmp_path / "a.json").write_bytes(b'{"a": "' + b"x" * 2**20 + b'"}')
    with pytest.raises(FileFormatError, match="larger than 1 MiB"):
        read_json(tmp_path / "a.json", "a record")


def test_depth_is_counted() -> None:
    value: object = 1
    for _ in range(DEEPEST):
        value = [value]
    check_depth(value)
    with pytest.raises(ValueError, match="nested deeper"):
        check_depth([value])


def test_every_text_in_data_of_a_file_is_made_printable() -> None:
    found = all_printable({"a\x1b": ["\u202eb", 1.5, None, {"c": "d\n"}]})
    assert found == {"a\\x1b": ["\\u202eb", 1.5, None, {"c": "d\n"}]}
