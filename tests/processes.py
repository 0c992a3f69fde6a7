"""Processes of their own for tests that stop, kill or join them. They are forked, where the system can, from
one that has imported torch and prunus already: importing them anew takes longer than most of what is tested.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

KIND = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_CONTEXT: Any = multiprocessing.get_context(KIND)
if KIND == "forkserver":
    _CONTEXT.set_forkserver_preload(["pytest", "torch.distributed", "prunus.training", "prunus.runs.pruning"])


class Started:
    """`work(*arguments)` in a process of its own, whose output is read here; it is killed at the end of the
    block.

    Attributes:
        pid: of the process.
        stdout, stderr: what it writes, as text.
    """

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        (self._out, out), (self._err, err) = _CONTEXT.Pipe(duplex=False), _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_redirected, args=(out, err, work, arguments))
        self._process.start()
        out.close()
        err.close()
        self.pid: int = self._process.pid
        self.stdout, self.stderr = (os.fdopen(os.dup(end.fileno())) for end in (self._out, self._err))

    def __enter__(self) -> Started:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._process.join()
        for end in (self.stdout, self.stderr, self._out, self._err):
            end.close()

    def kill(self) -> None:
        """End it without a word; nothing happens if it has ended."""
        self._process.kill()

    def send_signal(self, number: int) -> None:
        """As `os.kill` does."""
        os.kill(self.pid, number)

    def ended(self, timeout: float = 60.0) -> tuple[int | None, str, str]:
        """Wait for the end: exit code (minus the signal that ended it), and the rest of the output."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, "it goes on"
        return self._process.exitcode, self.stdout.read(), self.stderr.read()


def _redirected(out: Any, err: Any, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """In the process."""
    for end, number in ((out, 1), (err, 2)):
        os.dup2(end.fileno(), number)
        end.close()
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
    work(*arguments)
