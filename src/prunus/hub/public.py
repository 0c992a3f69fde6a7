"""A result as strangers may read it: without paths of this machine, and without anything that looks like a
token.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from prunus._foundation.json_files import changed, finite_or_none
from prunus.hub.client import without_tokens
from prunus.paint.records import without_place

_PART = r"[^\s'\"`,;:()\[\]{}<>|]"
_PATH = re.compile(
    rf"file://{_PART}+"
    rf"|(?<![\w.:/~-])/{_PART}+"  # /data/net.pth
    rf"|(?<![\w/])~[\w.-]*/{_PART}*"  # ~/net.pth
    rf"|(?<![\w./])\.{{1,2}}/{_PART}*"  # ../net.pth
    rf"|(?<!\w)[A-Za-z]:[\\/]{_PART}+"  # C:\net.pth
    rf"|(?<![\w\\])\\\\{_PART}+"  # \\server\net.pth
)
_LINE = re.compile(r"[\w.-]+\.py:\d+: .*", re.DOTALL)  # net.py:12: x = F.relu(x)
_HOME = re.compile(r"(?:/home|/Users|[A-Za-z]:[\\/]Users)[\\/][^\\/]+[\\/]?")  # its name is somebody's
_LIBRARIES = ("timm/", "torchvision/")


def without_paths(result: Mapping[str, Any], folder: Path | None = None) -> dict[str, Any]:
    """The same result, in which every path is its last part alone, and no line of the user's code is left.

    Args:
        result: of a run.
        folder: of the run, if it has one.
    """
    known = sorted({*_own(result), *_places(folder)}, key=len, reverse=True)
    pins = result.get("pinned") or []
    lines = sorted({str(pin.get("where") or "") for pin in pins} - {""}, key=len, reverse=True)

    def plain(value: Any) -> Any:
        if not isinstance(value, str):
            return finite_or_none(value)
        return without_tokens(_cut(_without_lines(value, lines), known))

    found: dict[str, Any] = changed(result, plain, keys=True)
    return found


def _without_lines(text: str, lines: Iterable[str]) -> str:
    """First the lines that are known, wherever they stand, and then what looks like one, to the end of its
    note.
    """
    for line in lines:
        text = text.replace(f", {line}", "").replace(line, "")
    return _LINE.sub("…", without_place(text))


def last_part(path: str) -> str:
    """A path's own name, whatever system it is of; what has none is a dot, and a home has none but ~."""
    if path.rstrip("/\\") == str(Path.home()) or _HOME.fullmatch(path):
        return "~"
    name = PureWindowsPath(path).name if "\\" in path else PurePosixPath(path).name
    return name if name not in ("", "..") else "."


def _cut(text: str, known: Iterable[str]) -> str:
    """First what is known to be a path, as it may have blanks in it, and then what looks like one."""
    for path in known:
        # with what follows it below
        text = re.sub(rf"(?<![\w.-]){re.escape(path)}(?![\w-])((?:[\\/]{_PART}+)*)", _named, text)
    return _PATH.sub(_named, text)


def _named(match: re.Match[str]) -> str:
    """A path's own name, with the full stop of the sentence behind it."""
    path = match.group().removeprefix("file://")
    stop = "." if path.endswith(".") and not path.endswith("..") else ""
    return last_part(path.removesuffix(stop)) + stop


def _own(result: Mapping[str, Any]) -> Iterator[str]:
    """What a result says to be a path: of its model, its weights and its data, and what was typed."""
    model = result.get("model") or {}
    data = model.get("data") or {}
    typed = str(result.get("command", ""))
    try:
        words = shlex.split(typed)
    except ValueError:  # an open quote
        words = typed.split()
    options = [part for word in words for part in re.split("[=@]", word)]
    for text in (model.get("name"), model.get("weights"), data.get("name"), *options):
        if isinstance(text, str) and ("/" in text or "\\" in text) and not text.startswith(_LIBRARIES):
            yield text


def _places(folder: Path | None) -> Iterator[str]:
    """Where this process is at home; the root of everything says nothing."""
    for place in (Path.cwd(), Path.home(), *((folder, folder.resolve()) if folder else ())):
        if len(place.parts) > 1:
            yield str(place)
