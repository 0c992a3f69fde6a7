"""What the site does besides what is written in `mkdocs.yml`: files from outside of docs, the reference,
links, and formulas.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SHIM = "https://unpkg.com/iframe-worker/shim"  # for pages that are opened from files
sys.path.insert(0, str(ROOT))

from docs._tools import formulas, links, reference  # noqa: E402
from mkdocs.structure.files import File, Files  # noqa: E402


def on_files(files: Files, config: Any) -> Files:
    """Add what does not lie in docs: results of benchmarks, examples, and the reference."""
    for path in links.beside():
        text = (ROOT / path).read_text("utf-8")
        target = links.place(path)
        assert target is not None
        files.append(
            File.generated(config, target, content=_example(path, text) if path.endswith(".py") else text)
        )
    for target, text in reference.pages().items():
        files.append(File.generated(config, target, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links as the site has them, and names that lead to the reference."""
    place = page.file.src_uri
    text = links.relinked(markdown, place)
    return text if place.startswith("reference/") else reference.linked(text, place)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Formulas, drawn."""
    return formulas.drawn(html)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """What the theme would fetch from elsewhere comes from here."""
    here = page.file.url.count("/") * "../"
    return output.replace(SHIM, f"{here}js/iframe-worker.js")


def on_post_template(output: str, template_name: str, config: Any) -> str:
    """Likewise, on the page of links that lead nowhere."""
    return output.replace(SHIM, "js/iframe-worker.js")


def _example(path: str, text: str) -> str:
    """A file of code as a page."""
    title = re.search(r'^"""(.+?)(?:\n\n|""")', text, re.DOTALL)
    about = " ".join(title[1].split()) if title else ""
    return f"# {path}\n\n{about}\n\n```python\n{text}```\n"
