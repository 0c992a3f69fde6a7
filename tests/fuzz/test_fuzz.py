"""Thousands of damaged and forged files: every one is refused by name or read as before, within time and
memory.

More of the same: `python -m benchmarks.fuzz --count 100000`.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import worker
from tests.fuzz.mutations import GENERAL
from tests.fuzz.reader import Reader, made
from tests.fuzz.readers import available
from tests.fuzz.worker import CHANGED, ENDED, FAULTS, HUNG, RAW, REFUSED, is_sentence, verdicts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")

COUNT, SEED = 800, 0


def test_damaged_and_forged_files_are_refused_by_name_or_read_as_before(tmp_path: Path) -> None:
    judged = list(verdicts(tmp_path, SEED, 0, COUNT))
    faults = [one for one in judged if one.kind in FAULTS]
    assert not faults, "\n".join(
        f"{one.number} {one.reader} {one.change}: {one.kind}: {one.text}" for one in faults[:20]
    )
    assert [one.number for one in judged] == list(range(COUNT))
    assert {one.change for one in judged} >= {*GENERAL, "document", "header", "packed"}
    refused = Counter(one.reader for one in judged if one.kind == REFUSED)
    assert refused.total() > COUNT / 2
    assert {reader.name for reader in available()} - refused.keys() == {
        "table of latencies"
    }  # which is measured anew


@pytest.mark.parametrize("reader", available(), ids=lambda reader: reader.name)
def test_the_same_seed_makes_the_same_damage(tmp_path: Path, reader: Reader) -> None:
    content = made(reader, tmp_path)
    for change in {**GENERAL, **reader.edits, **reader.forged}.values():
        first, again = ([change(content, Random(seed)) for seed in range(4)] for _ in range(2))
        assert first == again and len({*first, content}) > 1


def test_what_is_no_sentence_is_found_out() -> None:
    assert (
        is_sentence("There is no file x.")
        and is_sentence("Did you mean y?")
        and is_sentence("There is none (try z.)")
    )
    assert not any(map(is_sentence, ("", "no end", "Two ends..", "Two\nlines.", " A space.")))


HOSTILE = """
import os, signal, sys
import tests.fuzz.readers as readers
from tests.fuzz.reader import Reader
from random import Random
from tests.fuzz import worker

def read(folder):
    content = (folder / "file").read_bytes()
    if content == b"0": bytearray(1 << 32)
    if content == b"1": raise KeyError(3)
    if content == b"3":
        while True: pass
    if content == b"4": os.kill(os.getpid(), signal.SIGSEGV)
    return content

hostile = Reader("hostile", "file", lambda folder: (folder / "file").write_bytes(b"sha256"), read, checked=True,
                         edits={"number": lambda content, rng: str(rng.number).encode()})
readers.available = lambda: (hostile,)
worker.CPU_SECONDS = 0.5

class Numbered(Random):
    pass

def scheduled(seed, number):
    rng = Numbered(number)
    rng.number = number
    return "hostile", "number", rng

worker.scheduled = scheduled
worker.main(sys.argv[1:])
"""


def test_crashes_hangs_and_full_memories_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that does all that: the suite survives it, and says what it was."""
    script = tmp_path / "hostile.py"
    script.write_text(HOSTILE)
    monkeypatch.setattr(worker, "MODULE", [str(script)])
    monkeypatch.setattr(worker, "scheduled", lambda seed, number: ("hostile", "number", Random(number)))
    found = list(verdicts(tmp_path, 0, 0, 5))
    assert [(one.number, one.kind) for one in found] == [
        (0, RAW),
        (1, RAW),
        (2, CHANGED),
        (3, HUNG),
        (4, ENDED),
    ]
    assert "MemoryError" in found[0].text and "KeyError" in found[1].text
