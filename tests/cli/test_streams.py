"""What output goes to: encodings that lack characters, narrow terminals, closed streams, full disks, pipes
that nobody reads.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prunus.cli import console, streams
from prunus.cli.failures import one_line, unusable
from prunus.errors import FileFormatError

RUN = [sys.executable, "-m", "prunus"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("1×2", "1x2"), ("a → b…", "a -> b..."), ("näh", "nah"), ("–±·", "-+/--"), ("字", "?"), ("\udce9", "?")],
)
def test_what_stands_for_what_ascii_lacks(text: str, wanted: str) -> None:
    assert text.encode("ascii", streams.PLAIN).decode() == wanted


def test_what_an_encoding_has_is_left() -> None:
    assert "1×2 → näh".encode("latin-1", streams.PLAIN).decode("latin-1") == "1×2 -> näh"
    assert "1×2 → näh".encode("utf-8", streams.PLAIN).decode() == "1×2 → näh"


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*RUN, *words], capture_output=True, env=os.environ | environment, timeout=120)


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "20"},
        {"COLUMNS": "20", "FORCE_COLOR": "1", "PYTHONIOENCODING": "ascii"},
    ],
)
def test_every_terminal_can_show_tables_and_errors(environment: dict[str, str]) -> None:
    shown = run("methods", **environment)
    assert shown.returncode == 0 and b"reconstruction" in shown.stdout and not shown.stderr
    failed = run("segment", "a.png", "--model", "unet", "--mean", "näh×", **environment)
    assert (
        failed.returncode == 1
        and failed.stderr.startswith(b"prunus: --mean takes one number")
        and failed.stderr.strip().endswith(b".")
    )
    helped = run("prune", "--help", **environment)
    assert helped.returncode == 0 and b"Traceback" not in helped.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence() -> None:
    for words in (["methods"], ["methods", "--json"], ["--help"], ["--version"]):
        with open("/dev/full", "w") as full:  # noqa: PTH123 (a device)
            done = subprocess.run([*RUN, *words], stdout=full, stderr=subprocess.PIPE, timeout=120)
        assert done.returncode == 1
        assert (
            done.stderr.decode().strip() == "prunus: The output cannot be written (No space left on device)."
        )


def test_closed_streams_and_unread_pipes_are_quiet() -> None:
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        done = subprocess.run(
            ["bash", "-c", f'"$@" {closed}', "_", *RUN, "methods"], capture_output=True, timeout=120
        )
        assert done.returncode == 0 and b"Traceback" not in done.stderr + done.stdout
    read, written = os.pipe()
    os.close(read)
    done = subprocess.run([*RUN, "methods"], stdout=written, stderr=subprocess.PIPE, timeout=120)
    os.close(written)
    assert done.returncode == 1 and done.stderr == b""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252"])
def test_json_is_json_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    console.show_json({"a": "→ ×字", "b": "\udce9"})
    stream.flush()
    assert json.loads(stream.buffer.getvalue().decode(encoding))["a"] == "→ ×字"


def test_brackets_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Folders, classes and layers may be called anything."""
    console.show("data[old]/x[/b] ", console.bold("runs/[i]"), ": [red]")
    with console.bars() as watch:
        watch.say("reading [/x]")
        watch("reading [/x]", 1, 2)
    shown = capsys.readouterr()
    assert shown.out == "data[old]/x[/b] runs/[i]: [red]\n" and shown.err.count("reading [/x]") == 2


HOSTILE = "a\x1b]0;b\x07\x9b31m\u202ec\ud800 \u202fd\u2060"
HARMLESS = "a\\x1b]0;b\\x07\\x9b31m\\u202ec\\ud800 \u202fd\u2060"


def test_names_from_files_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Records, layers and classes come from strangers: escape sequences are written out, spaces stay."""
    console.show(HOSTILE, console.bold(HOSTILE))
    console.show_table(HOSTILE, [HOSTILE, "b"], [[HOSTILE, "1"]])
    console.show_plain(f"{HOSTILE}\n")
    with console.bars() as watch:
        watch.say(HOSTILE)
        watch(HOSTILE, 0, 0)
    streams.say(HOSTILE)
    shown = "".join(capsys.readouterr())
    assert shown.count(HARMLESS) == 2 + 3 + 1 + 1 + 1 + 1
    assert not any(one in shown for one in "\x1b\x07\x9b\u202e\ud800")


def test_json_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_json({HOSTILE: "\U000e0041\x85ö"})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {HOSTILE: "\U000e0041\x85ö"} and "ö" in shown
    assert not any(one in shown for one in "\x1b\x07\x9b\x85\u202e\U000e0041")


def test_tables_are_whole_on_narrow_terminals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    console.show_table(
        "", ("name", "what"), [("convolution", "a long text that would be folded into a column of letters")]
    )
    assert "a long text that would be folded into a column of letters" in capsys.readouterr().out


def test_output_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(FileFormatError, match=r"The output cannot be written \(No space left on device\)\."):
        console.show_json({})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\n  b", "a b."),
        ("It ends..", "It ends."),
        ("Which?.", "Which?"),
        ("red \x1b[31m", "red \\x1b[31m."),
        ("näh.", "näh."),
    ],
)
def test_what_is_said_is_a_line_without_controls(text: str, wanted: str) -> None:
    assert one_line(text) == wanted


def test_paths_of_thousands_of_characters_are_cut() -> None:
    said = unusable(OSError(36, "File name too long", "a" * 5000 + ".pth"))
    assert said.startswith("File name too long: aaa") and said.endswith("a.pth.") and len(said) < 250
    assert unusable(OSError(2, "No such file", "b.pth")) == "No such file: b.pth."
