"""Commands that are ended from outside, at a point that the test chooses: by signals, by kill -9, by another
run in their folder.
"""

from __future__ import annotations

import errno
import importlib
import itertools
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.processes import Started
from typer.testing import CliRunner

from prunus.cli.app import app
from prunus.errors import FileFormatError
from prunus.runs.loading import open_model
from prunus.storage import read_header
from prunus.storage.checkpoint import write_tree

RUN = CliRunner()
POSIX = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
TRAIN = tuple(
    "train digits lenet5 --epochs 3 --limit 200 --batch-size 64 --lr 0.05 --no-onnx --no-report".split()
)
PRUNE = ("prune", "lenet5", "--input-shape", "1,1,8,8", "--no-onnx", "--no-report", "--rate")


def hooked_run(hook: str, count: int, words: list[str]) -> None:
    """In a process of its own: a command that at the first (or a later) call of a function says so, and waits
    for what the test does.
    """
    torch.set_num_threads(1)
    if os.name != "nt":  # what began the tests may ignore it, as nohup does
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    module, _, name = hook.rpartition(".")
    owner, calls = importlib.import_module(module), itertools.count(1)
    real = getattr(owner, name)

    def hooked(*arguments: Any, **more: Any) -> Any:
        if next(calls) == count:
            print("here", flush=True)
            for _ in range(6000):
                time.sleep(0.01)
        return real(*arguments, **more)

    setattr(owner, name, hooked)
    sys.argv = ["prunus", *words]
    app()


def run(*words: object) -> Any:
    """In this process."""
    return RUN.invoke(app, list(map(str, words)))


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Here and in other processes, so that sums are added up in the same order."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class StoppedRun:
    """A command that has come to a call of a function, and goes no further."""

    def __init__(self, hook: str, *words: object, count: int = 1) -> None:
        self.process = Started(hooked_run, hook, count, [*map(str, words)])

    def __enter__(self) -> Started:
        line = self.process.stdout.readline()
        assert line == "here\n", line + self.process.stderr.read()
        return self.process

    def __exit__(self, *what: Any) -> None:
        self.process.__exit__(*what)


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob(".*"))


@POSIX
@pytest.mark.parametrize(
    ("number", "code", "kind", "text"),
    [(15, 143, "Terminated", "Terminated."), (1, 129, "HungUp", "Hung up.")],
)
def test_a_signal_ends_a_command_in_order(
    number: int, code: int, kind: str, text: str, tmp_path: Path
) -> None:
    with StoppedRun(
        "prunus.runs.delivery.write_text", *PRUNE, 0.3, "--json", "-o", tmp_path / "out"
    ) as process:
        assert hidden(tmp_path)
        process.send_signal(number)
        ended, output, errors = process.ended()
    assert ended == code
    assert json.loads(output) == {"error": {"type": kind, "message": text}}
    assert errors.splitlines()[-1] == f"prunus: {text}" and "Traceback" not in errors
    assert not list(tmp_path.iterdir())


@POSIX
def test_a_training_that_is_ended_says_how_it_goes_on(tmp_path: Path) -> None:
    with StoppedRun("prunus.runs.run.line", *TRAIN, "-o", tmp_path, count=2) as process:
        process.send_signal(15)
        ended, _, errors = process.ended()
    assert ended == 143
    assert errors.splitlines()[-1] == (
        "prunus: Terminated: --resume goes on from the checkpoint in its folder."
    )
    assert run("train", "--resume", "-o", tmp_path).exit_code == 0


@pytest.mark.parametrize("after", [1, 2])
def test_a_training_on_a_full_disk_says_how_it_goes_on(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(*TRAIN, "-o", tmp_path / "whole").exit_code == 0
    count = itertools.count(1)

    def full(path: Path, tree: Any) -> None:
        if next(count) == after:
            cause = OSError(errno.ENOSPC, "No space left on device")
            raise FileFormatError(f"{path} cannot be written (No space left on device).") from cause
        write_tree(path, tree)

    monkeypatch.setattr("prunus.training.course.write_tree", full)
    out = tmp_path / "out"
    found = run(*TRAIN, "-o", out)
    assert found.exit_code == 1 and found.stderr.splitlines()[-1] == (
        f"prunus: {out / 'checkpoint.safetensors'} cannot be written (No space left on device)"
        + (
            ": when there is room again, --resume goes on from the checkpoint in its folder." * (after > 1)
            or "."
        )
    )
    assert run(*TRAIN, *["--resume"] * (after > 1), "-o", out).exit_code == 0
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()


@POSIX
def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "import signal; signal.signal(1, signal.SIG_IGN); from prunus.cli.app import app; app()",
        "methods",
    ]
    assert subprocess.run(command, capture_output=True, timeout=60, check=True).returncode == 0
    code = """
import os, signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from prunus.cli.signals import stops
with stops(print):
    os.kill(os.getpid(), signal.SIGHUP)
    print("goes on", signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)
print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout == "goes on True\nTrue True\n"


DEAF = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"  # for minutes it is outside of Python


def _waiting(blocked: str, grace: float) -> subprocess.Popen[str]:
    """A command that waits, and whose unwinding takes long as well."""
    code = f"""
import hashlib, time
from prunus.cli import signals
signals.GRACE = {grace}
with signals.stops(lambda stop: print(stop.text)):
    try:
        print("here", flush=True)
        {blocked}
    finally:
        print("unwinding", flush=True)
        {DEAF}
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "here\n"
    return process


@POSIX
@pytest.mark.parametrize("blocked", ["time.sleep(600)", DEAF])
def test_a_second_signal_ends_at_once_even_where_the_first_is_not_heard(blocked: str) -> None:
    process = _waiting(blocked, 600)
    process.send_signal(signal.SIGTERM)
    if blocked != DEAF:
        assert process.stdout is not None and process.stdout.readline() == "unwinding\n"
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) in (
        (143, "Terminated.\n"),
        (130, "Interrupted.\n"),
    )  # two at once come in any order


@POSIX
@pytest.mark.parametrize("blocked", ["time.sleep(600)", DEAF])
def test_a_process_that_does_not_come_to_its_end_is_ended_after_a_while(blocked: str) -> None:
    process = _waiting(blocked, 0.1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143 and output.splitlines()[-1] == "Terminated."


@POSIX
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_signals_of_a_forked_child_are_its_own_affair() -> None:
    code = """
import os, signal, time
from prunus.cli.signals import stops
with stops(print):
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    os.kill(child, signal.SIGTERM)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]))
    time.sleep(0.1)
    print("goes on")
"""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout == "15\ngoes on\n"


def test_a_second_run_in_a_folder_is_refused_before_anything_happens(tmp_path: Path) -> None:
    with StoppedRun("prunus.runs.run.line", *TRAIN, "-o", tmp_path) as process:
        before = sorted(tmp_path.iterdir())
        for words in ((*PRUNE, 0.3), TRAIN, (*TRAIN, "--resume"), ("demo",), ("compress", *PRUNE[1:], 0.3)):
            found = run(*words, "-o", tmp_path)
            assert found.exit_code == 1
            assert found.stderr.startswith(
                f"prunus: {tmp_path} is being written by another run (process {process.pid}: prunus train"
                " digits lenet5"
            )
            assert len(found.stderr.splitlines()) == 1
        assert sorted(tmp_path.iterdir()) == before


@POSIX
def test_a_training_that_is_killed_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(*TRAIN, "-o", whole).exit_code == 0
    with StoppedRun(
        "prunus._foundation.atomic.keep_permissions", *TRAIN, "-o", broken, count=5
    ) as process:  # in the middle of writing
        assert any(name.endswith(".prunus-part") for name in hidden(broken))
        process.kill()
    found = run(
        "train", "-o", broken, *(["--resume"] if (broken / "checkpoint.safetensors").exists() else TRAIN[1:])
    )
    assert found.exit_code == 0, found.stderr
    assert not hidden(broken)
    assert (broken / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert len((broken / "metrics.jsonl").read_text().splitlines()) == 3


@POSIX
@pytest.mark.parametrize(
    ("at", "new"), [("prunus.storage.fileset.keep_permissions", False), ("prunus.storage.fileset.put", True)]
)
def test_a_run_that_is_killed_leaves_the_files_of_the_one_before_or_its_own(
    at: str, new: bool, tmp_path: Path
) -> None:
    assert run(*PRUNE, 0.5, "-o", tmp_path).exit_code == 0
    before = (tmp_path / "model.safetensors").read_bytes()
    with StoppedRun(at, *PRUNE, 0.3, "-o", tmp_path, count=2) as process:
        process.kill()
    opened = open_model(str(tmp_path))
    result = json.loads((tmp_path / "result.json").read_text())
    assert (
        (tmp_path / "model.safetensors").read_bytes() != before
    ) is new and f"--rate {0.3 if new else 0.5}" in result["command"]
    assert read_header(tmp_path / "model.safetensors")["plan"] + "\n" == (tmp_path / "plan.json").read_text()
    assert sum(p.numel() for p in opened.model.parameters()) == result["cost"]["after"]["params"]
    assert run(*PRUNE, 0.3, "-o", tmp_path).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.safetensors",
        "plan.json",
        "result.json",
    ]


@POSIX
@pytest.mark.parametrize(
    "words",
    [
        ("export", "lenet5", "-o"),
        ("latency", "lenet5", "-o"),
        ("cascade", "lenet5", "lenet5", "--data", "digits", "--budget", "0.5", "-o"),
        ("segment", "picture.png", "--model", "unet", "-o"),
        ("compare", "a", "b", "c", "-o"),
    ],
    ids=lambda words: words[0],
)
def test_a_pipe_as_output_is_refused_before_the_work(words: tuple[str, ...], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found = run(*words, tmp_path / "pipe")
    assert (
        found.exit_code == 1
        and f"{tmp_path / 'pipe'} is a named pipe, which is not replaced" in found.output.replace("\n", " ")
    )
    assert stat.S_ISFIFO((tmp_path / "pipe").lstat().st_mode) and len(list(tmp_path.iterdir())) == 1


@POSIX
def test_a_run_into_a_folder_with_a_pipe_for_a_result_is_refused_before_the_work(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    for words in ((*PRUNE, 0.3), TRAIN, ("demo",)):
        found = run(*words, "-o", tmp_path)
        assert found.exit_code == 1 and "model.safetensors is a named pipe" in found.output.replace("\n", " ")
