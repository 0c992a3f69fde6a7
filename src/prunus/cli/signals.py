"""Commands that are asked to end: Ctrl-C, SIGTERM and SIGHUP unwind them, so that temporary files go and
locks are given up.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import typer

PATIENCE = 1.0  # seconds that a thread lets another end the process
GRACE = 10.0  # seconds that unwinding may take, for example out of a call that waits for other processes


@dataclass(frozen=True)
class Stop:
    """A signal that ends a command: its number, the name of the error, and the sentence."""

    number: int
    kind: str
    text: str

    @property
    def code(self) -> int:
        """The exit code, as a shell would say it."""
        return 128 + self.number


STOPS = {
    int(getattr(signal, name)): Stop(int(getattr(signal, name)), kind, text)
    for name, kind, text in (
        ("SIGINT", "Interrupted", "Interrupted."),
        ("SIGTERM", "Terminated", "Terminated."),
        ("SIGHUP", "HungUp", "Hung up."),
    )
    if hasattr(signal, name)  # Windows knows no SIGHUP
}
DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


_besides: list[Callable[[], str]] = []


def when_stopped(tell: Callable[[], str]) -> None:
    """Let the running command say how to go on, if it is asked to end: a clause, or "" for nothing."""
    _besides.append(tell)


class Stopped(KeyboardInterrupt):
    """Raised in the main thread when the process is asked to end; libraries know it as Ctrl-C."""


@contextmanager
def stops(tell: Callable[[Stop], None]) -> Iterator[None]:
    """Run a command so that signals end it in order: `tell` says so, and typer.Exit carries the exit code. A
    second signal ends the process at once.

    Signals that are ignored (as by nohup) or that somebody else handles stay so. Outside of the main thread
    nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _besides.clear()
    guard = _Guard(tell)
    try:
        yield
    except BaseException:
        if guard.first is None:
            raise
        guard.say()  # whatever else it led to, such as the error of a call that was broken off
        raise typer.Exit(guard.first.code) from None
    finally:
        guard.close()


class _Guard:
    """The handlers, and a thread that ends the process where the main thread cannot: it may be waiting
    outside of Python.
    """

    def __init__(self, tell: Callable[[Stop], None]) -> None:
        self.first: Stop | None = None
        self._tell, self._told, self._ending = tell, threading.Lock(), threading.RLock()
        self._before = {
            number: signal.getsignal(number) for number in STOPS if signal.getsignal(number) in DEFAULTS
        }
        self._reader = self._writer = self._former = -1
        self._timer: threading.Timer | None = None
        _guards.append(self)
        if os.name != "nt":  # there only sockets can be woken by
            self._reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            self._former = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            threading.Thread(
                target=self._watch, args=(self._reader,), name="prunus-signals", daemon=True
            ).start()
        for number in self._before:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: object) -> None:
        if self.first is not None:
            self.end(self.first)
        self.first = STOPS[number]
        raise Stopped

    def _watch(self, reader: int) -> None:
        """Count the signals as they come in, not as the main thread gets to them."""
        first: Stop | None = None
        while received := os.read(reader, 1):
            if received[0] not in self._before:
                continue
            if first is not None:
                self.end(first)
            first = STOPS[received[0]]
            self._timer = threading.Timer(GRACE, self.end, (first,))
            self._timer.daemon = True
            self._timer.start()
        os.close(reader)

    def say(self) -> None:
        """Say once why the command ended."""
        if self.first is not None and self._told.acquire(blocking=False):
            with suppress(OSError, ValueError):  # nobody may be listening any more
                more = [said for tell in _besides if (said := tell())]
                text = self.first.text.removesuffix(".")
                self._tell(replace(self.first, text=f"{': '.join([text, *more])}."))
                sys.stdout.flush()

    def end(self, stop: Stop) -> None:
        """End the process at once; what it leaves behind the next run cleans up."""
        # whichever comes first, the main thread or the one that watches, ends the process, not both at once
        self._ending.acquire(timeout=PATIENCE)
        self.first = stop
        self.say()
        os._exit(stop.code)

    def close(self) -> None:
        """Put everything back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._timer is not None:
            self._timer.cancel()
        self._forget()

    def _forget(self) -> None:
        """Be woken no longer; at the end of its pipe the thread ends."""
        _guards.remove(self)
        if self._writer >= 0:
            signal.set_wakeup_fd(self._former)
            os.close(self._writer)

    def inherit(self) -> None:
        """In a forked process: signals are its own affair."""
        for number in self._before:
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)
        self._forget()


_guards: list[_Guard] = []


_masks = threading.local()


def _before_fork() -> None:
    """Let signals wait: what is sent to a child before it has its own handlers would be lost, or be its
    parent's.
    """
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS if _guards else ())


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _in_child() -> None:
    for guard in list(_guards):
        guard.inherit()
    _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
