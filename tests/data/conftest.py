from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Server:
    """A web server on this machine.

    Attributes:
        url: of its root, ending in a slash.
        files: what it serves, by path without the leading slash.
        announced: Content-Length to state instead of the true one, by path.
        answers: what it says instead, headers and all, by path.
        requests: paths asked for, in order.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    announced: dict[str, int | None] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            state.requests.append(name)
            if name in state.answers:
                self.wfile.write(state.answers[name])
                return
            if name not in state.files:
                self.send_error(404)
                return
            body = state.files[name]
            length = state.announced.get(name, len(body))
            self.send_response(200)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Be quiet."""

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state.url = f"http://127.0.0.1:{running.server_address[1]}/"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        running.shutdown()
        thread.join()
