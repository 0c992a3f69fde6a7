"""What README and docs show is run as it stands: every block of Python, every command line, every option."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torch import nn

import prunus
from prunus import models
from prunus.cli.app import app
from prunus.data.digits import load_digits
from prunus.data.sets import ImageData
from prunus.methods.registry import METHODS
from prunus.methods.settings import settings_of
from prunus.paint.rules import RULES
from tests.brief import brief_latency, brief_search
from tests.measure.machines import Arithmetic
from tests.torchvision_shim import missing

__all__ = ["brief_latency", "brief_search"]
ROOT = Path(__file__).parent.parent
WRITTEN = ("docs/figures.md",)  # by a benchmark, of what it ran itself
PAGES = [
    "README.md",
    *sorted(
        name
        for path in (ROOT / "docs").rglob("*.md")
        if (name := path.relative_to(ROOT).as_posix()) not in WRITTEN
    ),
]
Scope = dict[str, Any]
_FENCED = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def text_of(name: str) -> str:
    """A page as it stands."""
    return (ROOT / name).read_text()


def fenced(text: str, language: str) -> list[str]:
    """The blocks of code in a language; "" is none."""
    return [
        re.sub(f"^{indent}", "", block, flags=re.MULTILINE)
        for indent, found, block in _FENCED.findall(text)
        if found == language
    ]


def blocks(name: str) -> list[str]:
    """The Python blocks of a page."""
    return fenced(text_of(name), "python")


def run(name: str, scope: Scope | None = None) -> Scope:
    """Run the blocks of a page one after the other, as a reader would; what they make smaller is verified."""
    scope = {} if scope is None else scope
    for block in blocks(name):
        before = dict(scope)
        exec(compile(block, name, "exec"), scope)
        small, out = (
            scope[key] if scope.get(key) is not before.get(key) else None for key in ("small", "out")
        )
        if isinstance(small, nn.Module):
            assert small.prunus.verification.relative < 1e-4
        if out is not None:
            assert out.verification.relative < 1e-4 and out.model is not None
    return scope


def of_training(scope: Scope, folder: Path) -> None:
    assert scope["pruning"].plan.removed > 0 and scope["small"].prunus.verification.relative < 1e-5
    assert scope["history"].kept in (1, 2) and scope["history"].epochs[0].accuracy is None


def of_train_faster(scope: Scope, folder: Path) -> None:
    samples = [epoch.samples for epoch in scope["history"].epochs]
    assert samples[0] == samples[-1] == 1442 and min(samples) < 1442


def of_critical(scope: Scope, folder: Path) -> None:
    samples = [epoch.samples for epoch in scope["out"].training.epochs]
    assert samples[:2] == [1442, 1442] and samples[3] < 1442 and scope["out"].plan.removed


def of_latency(scope: Scope, folder: Path) -> None:
    assert list(scope["times"]) == ["dense", "small"] and 0 <= scope["found"].wins <= 1


def of_runs(scope: Scope, folder: Path) -> None:
    assert {path.name for path in (folder / "out").iterdir()} == {
        "model.safetensors",
        "plan.json",
        "result.json",
    }
    assert 0 < scope["left"] < 0.6 and scope["small"]["cost"] == scope["result"]["cost"]["after"]


def of_index(scope: Scope, folder: Path) -> None:
    files = {path.name for path in (folder / "out").iterdir()}
    assert files >= {"model.safetensors", "model.onnx", "plan.json", "result.json", "report.html"}
    assert scope["out"].metric > 80


def of_start(scope: Scope, folder: Path) -> None:
    assert isinstance(scope["small"], nn.Module) and (folder / "small.safetensors").exists()


def of_guide(scope: Scope, folder: Path) -> None:
    assert scope["out"].plan.after.params < 0.5 * scope["out"].plan.before.params


def of_shipping(scope: Scope, folder: Path) -> None:
    assert scope["check"].relative < 1e-4 and scope["logits"].shape == (5, 10)
    inputs = torch.randn(2, 1, 8, 8)
    assert torch.equal(scope["again"].eval()(inputs), scope["small"].eval()(inputs))


# What is looked at besides.
CHECKS: dict[str, Callable[[Scope, Path], None]] = {
    "README.md": of_start,
    "docs/getting-started.md": of_start,
    "docs/index.md": of_index,
    "docs/guides/prune-with-your-data.md": of_guide,
    "docs/guides/ship-it.md": of_shipping,
    "docs/guides/train-faster.md": of_train_faster,
    "docs/latency.md": of_latency,
    "docs/methods/critical.md": of_critical,
    "docs/runs.md": of_runs,
    "docs/training.md": of_training,
}
# Their blocks end in something of their own, below; that of the Hub has one in tests/hub.
ELSEWHERE = (
    "docs/adding-a-score.md",
    "docs/adding-an-operator-rule.md",
    "docs/hub.md",
    "docs/integrations.md",
)
EXTRAS = {
    "docs/index.md": ("onnxruntime", "jinja2"),
    "docs/int8.md": ("onnxruntime",),
    "docs/guides/ship-it.md": ("onnxruntime",),
}
# A third of the digits is enough where only the code is looked at, and nothing is proved on held-out samples.
BRIEF = [
    name
    for name in PAGES
    if name.startswith("docs/methods/")
    and name not in CHECKS
    and not re.search(r"tolerance=|subset\(", "".join(blocks(name)))
]
TIMED = ("docs/guides/fit-a-latency.md", "docs/methods/latency.md")  # on a clock that is arithmetic


def few_digits() -> ImageData:
    """A third of the set that pages load."""
    whole = load_digits()
    train, test = (part.subset(torch.arange(len(part) // 3)) for part in (whole.train, whole.test))
    return replace(whole, train=train, test=test)


@pytest.mark.parametrize("name", [name for name in PAGES if blocks(name) and name not in ELSEWHERE])
def test_the_python_of_a_page_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in EXTRAS.get(name, ()):
        pytest.importorskip(package, reason="an extra is not installed")
    if name in TIMED:
        monkeypatch.setattr("prunus.measure.machine.Here", lambda *_, **__: Arithmetic())
    if name in BRIEF:
        monkeypatch.setattr("prunus.data.catalogue.load_digits", few_digits)
    monkeypatch.chdir(tmp_path)
    scope: Scope = {}
    if name == "README.md":
        scope = {"model": models.resnet20(), "example_inputs": torch.randn(1, 3, 32, 32), "torch": torch}
    run(name, scope)
    if name in CHECKS:
        CHECKS[name](scope, tmp_path)


def test_what_is_looked_at_is_there() -> None:
    assert {*CHECKS, *ELSEWHERE, *EXTRAS, *TIMED} <= set(PAGES)


def commands(name: str) -> Iterator[list[str]]:
    """The command lines of a page's blocks, word by word, from `prunus` on."""
    for block in fenced(text_of(name), ""):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True) if re.match(r"(prunus|torchrun) ", line) else []
            if "prunus" in words:
                yield words[words.index("prunus") + 1 :]


COMMANDS = [(name, words) for name in PAGES for words in commands(name)]


@cache
def verbs() -> Any:
    """The command line with all of its verbs, built once."""
    return typer.main.get_command(app)


@pytest.mark.parametrize(("name", "words"), COMMANDS, ids=[f"{n}: {' '.join(w)}" for n, w in COMMANDS])
def test_a_command_line_is_understood(name: str, words: list[str]) -> None:
    verb = verbs().commands[words[0]]
    try:
        verb.make_context(words[0], words[1:])
    except typer.Exit as end:  # of --help
        assert not end.exit_code


@cache
def options() -> set[str]:
    """Of all verbs, and the settings of all methods."""
    found = {
        flag
        for one in (verbs(), *verbs().commands.values())
        for param in one.params
        for flag in (*param.opts, *param.secondary_opts)
    }
    named = {setting.replace("_", "-") for method in METHODS for setting in settings_of(method)}
    return found | {f"--{one}" for one in named} | {f"--no-{one}" for one in named} | {"--help", "--help-all"}


OF_OTHERS = {"--nproc-per-node", "--no-python", "--local-dir"}  # of torchrun, and of the Hub's client


@pytest.mark.parametrize("name", PAGES)
def test_options_in_the_text_exist(name: str) -> None:
    prose = _FENCED.sub("", text_of(name))
    given = {
        flag
        for code in re.findall(r"`([^`]+)`", prose)
        for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)
    }
    assert given <= options() | OF_OTHERS


def test_verbs_in_the_text_exist() -> None:
    for name in PAGES:
        prose = _FENCED.sub("", text_of(name))
        assert set(re.findall(r"`prunus ([a-z]\w*)", prose)) <= set(verbs().commands), name


def sentences() -> str:
    """All texts in the source, with … for what is put in."""

    def text(node: Any) -> str:
        if isinstance(node, ast.JoinedStr):
            return "".join(text(part) for part in node.values)
        return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "…"

    return "\n".join(
        " ".join(text(node).split())
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.JoinedStr, ast.Constant))
    )


def test_messages_of_the_troubleshooting_are_those_of_the_source() -> None:
    """Whatever stands between two … in the first column of a table of messages, or between ** and `."""
    said, found = sentences(), []
    for table in re.split(r"\n\n+", text_of("docs/troubleshooting.md")):
        lines = table.splitlines()
        if lines and re.match(r"\| (message|the reason says) \|", lines[0]):
            found += [line.split("|")[1].strip() for line in lines[2:]]
    pieces = [
        piece.strip(" ;,")
        for message in found
        for piece in re.split(r"…|; |, (?=single|picked|used)", message)
    ]
    assert len(pieces) > 25
    missing = [piece for piece in pieces if len(piece) > 3 and piece not in said]
    assert not missing


def _of_integrations() -> list[Any]:
    """The blocks of the page, each by the heading that it stands under."""
    page = (ROOT / "docs" / "integrations.md").read_text()
    parts = [part.split("\n", 1) for part in page.split("\n## ")[1:]]
    found = [
        (title, block)
        for title, text in parts
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    ]
    return [pytest.param(block, id=f"{number}: {title}") for number, (title, block) in enumerate(found)]


@pytest.mark.filterwarnings("ignore")  # of the packages
@pytest.mark.parametrize("block", _of_integrations())
def test_integrations_run_as_shown(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = re.match(r"# needs: (.*)\n", block)
    for package in needs[1].split(", ") if needs else ():
        if reason := missing(package):
            pytest.skip(reason)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    exec(block, scope)
    if "small" in scope:
        assert scope["small"].prunus.verification.relative < 1e-4


def test_the_score_of_the_docs_is_the_largest_weight() -> None:
    scope = run("docs/adding-a-score.md")
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    graph = prunus.trace(model, torch.randn(1, 3, 8, 8))
    scores = scope["largest_weight"](graph)
    first, second = model[0].weight.detach(), model[2].weight.detach()
    slow = [max(float(first[i].abs().max()), float(second[:, i].abs().max())) for i in range(4)]
    assert scores.tolist() == pytest.approx(slow)


def test_what_the_docs_add_from_a_package_works(monkeypatch: pytest.MonkeyPatch) -> None:
    score, task, rules = blocks("docs/extending.md")
    scope: dict[str, Any] = {}
    for block in (score, task, rules):
        exec(block, scope)
    graph = prunus.trace(models.lenet5(image_size=8), torch.zeros(1, 1, 8, 8))
    assert scope["largest_weight"](graph).shape == (graph.num_channels,)
    assert scope["blobs"](limit=4).count("test") == 1
    before = dict(RULES)
    try:
        scope["register"]()
        assert RULES.keys() - before.keys() <= {"mylib::swish", "mylib::blur"}
    finally:
        RULES.clear()
        RULES.update(before)


@torch.library.custom_op("mylib::blur", mutates_args=())
def _blur(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    return x * kernel.mean()


@_blur.register_fake
def _(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


_OTHERS = {
    "swish": "(Tensor x)",
    "fast_softmax": "(Tensor x, int dim, bool half)",
    "scale_rows": "(Tensor x, Tensor factors)",
}
for _name, _arguments in _OTHERS.items():
    torch.library.define(f"mylib::{_name}", f"{_arguments} -> Tensor")


class Blurred(nn.Module):
    """A network with an operator that prunus has never heard of."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 3)
        self.register_buffer("kernel", torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.ops.mylib.blur(self.first(x), self.kernel))


def test_the_rule_of_the_docs_frees_the_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Blurred().double(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    pinned = prunus.trace(model, x)
    assert pinned.num_channels == 0
    (pin,) = [p for p in pinned.pinned if "no rule" in p.reason]
    assert "mylib::blur" in pin.operator
    assert "torch.ops.mylib.blur(self.first(x), self.kernel)" in pin.where
    before = dict(RULES)
    try:
        run("docs/adding-an-operator-rule.md")
        graph = prunus.trace(model, x)
        assert graph.num_channels == 8
        plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
        small = prunus.compact(model, plan)
        assert small.first.out_channels == 4
        assert torch.allclose(prunus.mask(model, plan)(x), small(x), rtol=1e-12, atol=1e-14)
    finally:
        RULES.clear()
        RULES.update(before)
