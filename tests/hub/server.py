"""A Hub on this machine: the routes that its client asks when a model goes up or comes down."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".onnx")  # goes by LFS
TOKEN = "hf_ofNobodyAtAll123456"


@dataclass
class Repo:
    """A model: its commits, the newest last, each with all files."""

    private: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=lambda: [("0" * 40, {})])

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit of a revision."""
        if revision == "main":
            return self.commits[-1]
        return next((one for one in self.commits if one[0] == revision), None)

    def put(self, files: dict[str, bytes], gone: tuple[str, ...] = ()) -> str:
        """A commit on top."""
        whole = {name: content for name, content in self.commits[-1][1].items() if name not in gone} | files
        digest = hashlib.sha1(repr((len(self.commits), sorted(whole.items()))).encode()).hexdigest()
        self.commits.append((digest, whole))
        return digest


class Hub(ThreadingHTTPServer):
    """The server, with what it holds and what it was asked.

    Attributes:
        repos: by owner/name.
        objects: large files by checksum, before they are committed.
        asked: method and path of every request.
        cut: names of files that come down without their second half.
        says: what is answered for files instead, headers and all, by their names; "" = for lists.
        refuses: a status that every request is answered with, and what is said.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Routes)
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut: set[str] = set()
        self.says: dict[str, bytes] = {}
        self.refuses: tuple[int, str] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def running() -> Iterator[Hub]:
    """A Hub that answers until the block ends."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class Routes(BaseHTTPRequestHandler):
    """One request."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _raw(self, name: str) -> None:
        self.wfile.write(self.server.says[name])
        self.close_connection = True

    def _json(self, data: Any, status: int = 200, **headers: str) -> None:
        self._send(status, json.dumps(data).encode(), Content_Type="application/json", **headers)

    def _missing(self, code: str, status: int = 404) -> None:
        self._json({"error": code}, status, X_Error_Code=code, X_Error_Message=code)

    @property
    def known(self) -> bool:
        """Whether who asks has the token."""
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _answer(self) -> None:
        place = urlsplit(self.path)
        path, body = unquote(place.path), self._body()
        self.server.asked.append(f"{self.command} {path}")
        if self.server.refuses is not None:
            status, text = self.server.refuses
            self._json({"error": text}, status, X_Error_Message=text)
        elif self.command in ("POST", "PUT"):
            self._write(path, body)
        elif path.startswith("/api/models/"):
            self._listed(path.removeprefix("/api/models/"), parse_qs(place.query))
        else:
            self._file(path)

    do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815 (names of the base class)

    # -- up --------------------------------------------------------------------------------------------------

    def _write(self, path: str, body: bytes) -> None:
        if path.startswith("/lfs/"):
            self.server.objects[path.removeprefix("/lfs/")] = body
            self._send(200)
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif not self.known:
            self._json({"error": "Invalid credentials in Authorization header"}, 401)
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path.endswith("/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        elif "/preupload/" in path:
            self._modes(json.loads(body)["files"])
        elif "/commit/" in path:
            self._commit(path.removeprefix("/api/models/").partition("/commit/")[0], body)
        else:
            self._missing("EntryNotFound")

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        there = name in self.server.repos
        self.server.repos.setdefault(name, Repo(private=wanted.get("visibility") == "private"))
        self._json({"url": f"{self.server.url}/{name}", "name": name}, 409 if there else 200)

    def _modes(self, files: list[dict[str, Any]]) -> None:
        modes = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for one in files
        ]
        self._json({"files": modes})

    def _batch(self, wanted: dict[str, Any]) -> None:
        objects = [
            one | {"actions": {"upload": {"href": f"{self.server.url}/lfs/{one['oid']}"}}}
            for one in wanted["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, body: bytes) -> None:
        files, gone = {}, []
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                gone.append(value["path"])
        digest = self.server.repos[name].put(files, tuple(gone))
        self._json({"commitOid": digest, "commitUrl": f"{self.server.url}/{name}/commit/{digest}"})

    # -- down ------------------------------------------------------------------------------------------------

    def _found(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit, or None when it was answered that there is none."""
        repo = self.server.repos.get(name)
        if repo is None or (repo.private and not self.known):
            self._missing("RepoNotFound", 404 if self.known else 401)
            return None
        commit = repo.at(revision)
        if commit is None:
            self._missing("RevisionNotFound")
        return commit

    def _listed(self, path: str, query: dict[str, list[str]]) -> None:
        if "" in self.server.says:
            self._raw("")
            return
        name, what, revision = _three(path)
        commit = self._found(name, revision.partition("/")[0] or "main")
        if commit is None:
            return
        digest, files = commit
        if what == "tree":
            entries = [_entry(one, content) for one, content in sorted(files.items())]
            self._json(entries)
            return
        self._json(
            {
                "id": name,
                "modelId": name,
                "sha": digest,
                "private": self.server.repos[name].private,
                "siblings": [{"rfilename": one} for one in sorted(files)],
                "tags": [],
                "downloads": 0,
                "likes": 0,
            }
        )

    def _file(self, path: str) -> None:
        name, _, rest = path.strip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        if file in self.server.says:
            self._raw(file)
            return
        commit = self._found(name, revision)
        if commit is None:
            return
        digest, files = commit
        if file not in files:
            self._missing("EntryNotFound")
            return
        content = files[file]
        whole = {"X_Repo_Commit": digest, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        if file in self.server.cut and self.command == "GET":
            content = content[: len(content) // 2]
        self._send(200, content, **whole)


def _three(path: str) -> tuple[str, str, str]:
    """owner/name, "tree" or "revision", and what follows."""
    parts = path.split("/", 3)
    return "/".join(parts[:2]), parts[2] if len(parts) > 2 else "", parts[3] if len(parts) > 3 else ""


def _entry(name: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "type": "file",
        "path": name,
        "size": len(content),
        "oid": hashlib.sha1(content).hexdigest(),
    }
    if name.endswith(LARGE):
        checksum = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": checksum, "size": len(content), "pointerSize": 100}
    return entry
