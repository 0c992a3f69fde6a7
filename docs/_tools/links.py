"""Where a file of the repository stands in the site, and links between the two.

Pages are written so that their links work in the repository; the site has the same files in other places.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = "docs/"
# Files outside of docs that pages link to, by their places in the repository, which they keep in the site.
BESIDE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benchmarks/results/*.md",
    "benchmarks/results/*.json",
    "examples/*.py",
    "src/prunus/report/*.json",
)
HOME = {"README.md": "index.md"}
_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_CODE = re.compile(r"(^```.*?^```\s*?$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


def beside() -> Iterator[str]:
    """The files outside of docs that the site has, by their places in the repository."""
    for pattern in BESIDE:
        yield from sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))


def place(path: str) -> str | None:
    """Where a file of the repository stands in the site, as a source of it; None for one that it lacks."""
    if path in HOME:
        return HOME[path]
    if path.startswith(PAGES):
        return path.removeprefix(PAGES)
    if path not in beside():
        return None
    return str(Path(path).with_suffix(".md")) if path.endswith(".py") else path


def home(page: str) -> str:
    """Where a page of the site stands in the repository."""
    return page if page in beside() else PAGES + page


def relinked(text: str, page: str) -> str:
    """A page of the site with links that work there.

    Args:
        text: as it stands in the repository, in Markdown.
        page: where it stands in the site.
    """
    parts = _CODE.split(text)  # prose and code in turns
    parts[::2] = [_LINK.sub(lambda found: _relinked(found[0], page), part) for part in parts[::2]]
    return "".join(parts)


def _relinked(link: str, page: str) -> str:
    path, hash_, anchor = link.partition("#")
    if not path or ":" in path:
        return link
    target = place(posixpath.normpath(posixpath.join(posixpath.dirname(home(page)), path)))
    if target is None:
        return link  # the build says that it leads nowhere
    return posixpath.relpath(target, posixpath.dirname(page) or ".") + hash_ + anchor
