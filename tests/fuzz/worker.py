"""A process that reads damaged files within limits of time and memory, and the one that starts it anew where
a file has ended it.

    python -m tests.fuzz.worker FOLDER SEED FIRST END

Every mutation is one line of JSON on standard output, written once it is judged; where the process ends
before, the next one was too much for it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

CPU_SECONDS, SECONDS = 5.0, 30.0  # per file: of work, and of waiting
MEMORY = 1 << 30  # bytes that reading may map beyond what the process has once everything is imported
MODULE = ["-m", "tests.fuzz.worker"]
ROOT = Path(__file__).parents[2]

REFUSED, SAME, OTHER = "refused by name", "content as before", "other content"
CHANGED, RAW, NO_SENTENCE, ENDED, HUNG = (
    "changed content accepted",
    "another exception",
    "no sentence",
    "ended by a signal",
    "not done in time",
)
FAULTS = (CHANGED, RAW, NO_SENTENCE, ENDED, HUNG)


@dataclass(frozen=True)
class Verdict:
    """How one mutation went.

    Attributes:
        number: of the mutation; with the seed it says all.
        reader: its name.
        change: what was done to the file.
        kind: one of the words above.
        text: of the error, or what is wrong.
    """

    number: int
    reader: str
    change: str
    kind: str
    text: str


def verdicts(folder: Path, seed: int, first: int, end: int, readers: Sequence[str] = ()) -> Iterator[Verdict]:
    """All mutations from `first` to before `end`, those of some readers alone if any are named, in as many
    processes as it takes.
    """
    while first < end:
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
        }
        command = [sys.executable, *MODULE, str(folder), str(seed), str(first), str(end), *readers]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                verdict = Verdict(**json.loads(line))
                first = verdict.number + 1
                yield verdict
        if not process.returncode:
            return
        if process.returncode > 0:
            raise RuntimeError(f"The worker ended with {process.returncode} before mutation {first}.")
        if first < end and process.returncode:
            name = signal.Signals(-process.returncode).name
            first = next(
                number for number in range(first, end) if not readers or scheduled(seed, number)[0] in readers
            )
            reader, change, _ = scheduled(seed, first)
            yield Verdict(first, reader, change, HUNG if name in ("SIGALRM", "SIGPROF") else ENDED, name)
            first += 1


@cache
def _schedule() -> tuple[Any, ...]:
    from tests.fuzz.readers import available

    return tuple(reader for turn in range(9) for reader in available() if reader.share > turn)


def scheduled(seed: int, number: int) -> tuple[str, str, Random]:
    """Reader and change of a mutation, and its random numbers."""
    from tests.fuzz.mutations import GENERAL

    reader = _schedule()[number % len(_schedule())]
    rng = Random(f"{seed}/{reader.name}/{number}")
    special = [*reader.forged, *reader.edits]
    change = rng.choice(special) if special and rng.random() < 0.5 else rng.choice(sorted(GENERAL))
    return reader.name, change, rng


def work(folder: Path, seed: int, first: int, end: int, out: Any, wanted: Sequence[str] = ()) -> None:
    """Judge mutations one after another, and write the verdicts."""
    from tests.fuzz.readers import available

    readers = {reader.name: reader for reader in available()}
    good = {
        name: _good(reader, folder / name.replace(" ", "-").replace(".", ""))
        for name, reader in readers.items()
    }
    _limit_memory()
    for number in range(first, end):
        name, change, rng = scheduled(seed, number)
        if wanted and name not in wanted:
            continue
        verdict = _judged(readers[name], *good[name], change, rng)
        print(json.dumps(asdict(Verdict(number, name, change, *verdict))), file=out, flush=True)


def _good(reader: Any, place: Path) -> tuple[Path, bytes, str]:
    """The folder with the good file, its content, and what is read of it; made where it is not there yet."""
    from tests.fuzz.reader import made, mark_of

    if not place.exists():
        made(reader, place)
    content = (place / reader.file).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(place, folder, dirs_exist_ok=True)
        return place, content, mark_of(reader.read(Path(folder)))


def _judged(reader: Any, place: Path, content: bytes, mark: str, change: str, rng: Random) -> tuple[str, str]:
    """Make a damaged copy and read it."""
    from prunus.errors import PrunusError
    from tests.fuzz.mutations import GENERAL
    from tests.fuzz.reader import mark_of

    damaged = ({**GENERAL, **reader.edits, **reader.forged}[change])(content, rng)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(place, folder, dirs_exist_ok=True)
        (folder / reader.file).write_bytes(damaged)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            found = reader.read(folder)
        except PrunusError as error:
            return (REFUSED, str(error)[:200]) if is_sentence(str(error)) else (NO_SENTENCE, str(error)[:300])
        except BaseException as error:
            return RAW, f"{_place(error)}: {type(error).__name__}: {str(error)[:200]}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        if mark_of(found) == mark:
            return SAME, ""
    except RecursionError:  # containers in containers, more than the good file has
        pass
    promised = reader.checked and _has_checksum(content) and change not in reader.forged
    return (CHANGED, "") if promised else (OTHER, "")


def _has_checksum(content: bytes) -> bool:
    """Whether a file says what its content adds up to: in words, or coded networks by a CRC-32."""
    return b"sha256" in content or content[:3] == b"PRN"


def is_sentence(text: str) -> bool:
    """One line that begins and ends as a sentence does, a name or path at its beginning aside."""
    end = text.rstrip(")")[-1:]
    return end in (".", "?") and not text.endswith("..") and "\n" not in text and not text[0].isspace()


def _place(error: BaseException) -> str:
    """The last line of the package that an error came through."""
    found, trace = "", error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if "prunus" in file.parts:
            found = f"{file.parent.name}/{file.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _limit_memory() -> None:
    """From here on, so much more and no core files."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(words: Sequence[str]) -> None:
    """The process that reads; native libraries may write to standard output, so verdicts
    go to a copy of it.
    """
    out = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2) if not os.environ.get("FUZZ_LOUD") else None
    warnings.simplefilter("ignore")
    seed, first, end = map(int, words[1:4])
    work(Path(words[0]), seed, first, end, out, words[4:])


if __name__ == "__main__":
    main(sys.argv[1:])
