from __future__ import annotations

import dataclasses
import gzip
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from prunus.data.download import CHUNK, _announced, fetch
from prunus.data.idx import MNIST, load_idx
from prunus.errors import DataError

if TYPE_CHECKING:
    from tests.data.conftest import Server

BODY = bytes(range(256)) * 10_000  # more than two chunks


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_a_file_arrives_whole_with_progress(server: Server, tmp_path: Path) -> None:
    server.files["set.bin"] = BODY
    seen: list[tuple[str, int, int | None]] = []
    fetch(server.url + "set.bin", tmp_path / "new" / "set.bin", md5(BODY), lambda *call: seen.append(call))
    assert (tmp_path / "new" / "set.bin").read_bytes() == BODY
    assert [done for _, done, _ in seen] == [CHUNK, 2 * CHUNK, len(BODY)]
    assert {(name, total) for name, _, total in seen} == {("set.bin", len(BODY))}


def test_a_server_that_states_no_length_is_believed_by_checksum(server: Server, tmp_path: Path) -> None:
    server.files["set.bin"] = BODY
    server.announced["set.bin"] = None
    totals: list[int | None] = []
    fetch(
        server.url + "set.bin",
        tmp_path / "set.bin",
        md5(BODY),
        lambda _name, _done, total: totals.append(total),
    )
    assert (tmp_path / "set.bin").read_bytes() == BODY
    assert set(totals) == {None}


@pytest.mark.parametrize("case", ["checksum", "truncated", "404", "refused"])
def test_a_failed_download_leaves_nothing_and_names_the_address(
    case: str, server: Server, tmp_path: Path
) -> None:
    server.files["set.bin"] = BODY
    target = tmp_path / "set.bin"
    target.write_bytes(b"old")
    url, checksum, message = server.url + "set.bin", md5(BODY), ""
    if case == "checksum":
        checksum, message = "0" * 32, f"MD5 {md5(BODY)} instead of the published 0000"
    elif case == "truncated":
        server.announced["set.bin"] = len(BODY) + 5
        message = r"broke off: 2,560,000 of 2,560,005 bytes"
    elif case == "404":
        url, message = server.url + "other.bin", "answers 404"
    else:
        url, message = "http://127.0.0.1:9/set.bin", "Cannot download"
    with pytest.raises(DataError, match=message) as caught:
        fetch(url, target, checksum)
    assert url in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["set.bin"]
    assert target.read_bytes() == b"old"


def test_an_interrupted_download_can_be_started_again(server: Server, tmp_path: Path) -> None:
    server.files["set.bin"] = BODY

    def interrupt(_name: str, _done: int, _total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(server.url + "set.bin", tmp_path / "set.bin", md5(BODY), interrupt)
    assert list(tmp_path.iterdir()) == []
    fetch(server.url + "set.bin", tmp_path / "set.bin", md5(BODY))
    assert (tmp_path / "set.bin").read_bytes() == BODY


def test_a_place_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"Cannot write to .*file"):
        fetch(server.url + "set.bin", tmp_path / "file" / "set.bin", md5(BODY))
    assert server.requests == []


def test_a_whole_set_is_downloaded_once_and_continued_where_it_stopped(
    server: Server, tmp_path: Path
) -> None:
    images = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 4]) + np.arange(32, dtype=np.uint8).tobytes()
    labels = bytes([0, 0, 8, 1, 0, 0, 0, 2, 3, 9])
    files = {name: gzip.compress(images if "images" in name else labels, mtime=0) for name in MNIST.md5}
    source = dataclasses.replace(
        MNIST, url=server.url + "mnist/", md5={name: md5(content) for name, content in files.items()}
    )
    server.files = {
        f"mnist/{name}": content for name, content in files.items() if not name.startswith("t10k-labels")
    }
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz answers 404"):
        load_idx(source, tmp_path)
    server.files["mnist/t10k-labels-idx1-ubyte.gz"] = files["t10k-labels-idx1-ubyte.gz"]
    server.requests.clear()
    data = load_idx(source, tmp_path)
    assert server.requests == ["mnist/t10k-labels-idx1-ubyte.gz"]
    assert data.test.labels.tolist() == [3, 9]
    load_idx(source, tmp_path)
    assert len(server.requests) == 1


def test_a_body_beyond_the_limit_is_refused_before_it_is_there(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["set.bin"] = BODY
    monkeypatch.setattr("prunus.data.limits.DOWNLOAD_BYTES", len(BODY) - 1)
    for announced, text in (
        (len(BODY), "announces 2560000 bytes; 2.6 MB is the limit"),
        (None, "sends more than 2.6 MB"),
        (10**20, "announces 1000"),
    ):
        server.announced["set.bin"] = announced
        with pytest.raises(DataError, match=text):
            fetch(server.url + "set.bin", tmp_path / "set.bin", md5(BODY))
    assert not list(tmp_path.iterdir())


def test_no_more_than_announced_is_read(server: Server, tmp_path: Path) -> None:
    server.files["set.bin"], server.announced["set.bin"] = BODY, 1000
    fetch(server.url + "set.bin", str(tmp_path / "set.bin"), md5(BODY[:1000]))
    assert (tmp_path / "set.bin").read_bytes() == BODY[:1000]


def test_a_server_that_is_slow_for_long_is_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["set.bin"] = b"slow"
    ticks = iter(range(0, 10**6, 90))  # a clock on which everything takes a minute and a half
    monkeypatch.setattr("prunus.data.download.time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    with pytest.raises(DataError, match=r"sent 4 bytes in 90 seconds; try again"):
        fetch(server.url + "set.bin", tmp_path / "set.bin", md5(b"slow"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("length", ["x", "-5", "\u0663", "9" * 5000])
def test_a_length_that_is_none_is_no_crash(length: str) -> None:
    if length.startswith("9"):
        with pytest.raises(DataError, match="is the limit"):
            _announced("http://x/y", length)
    else:
        assert _announced("http://x/y", length) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 302 Found\r\nLocation: file:///etc/hostname\r\n\r\n",
        b"HTTP/1.0 302 Found\r\nLocation: data:,hello\r\n\r\n",
        b"HTTP/1.0 302 Found\r\nLocation: /set.bin\r\n\r\n",  # for ever, which urllib tells in three lines
        b"HTTP/1.0 500 " + 8000 * b"x\x1b[31m" + b"\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nabc",
        b"HTTP/1.0 200 OK\r\n" + 200 * b"X: a\r\n" + b"\r\n",
        b"\x1b[31mnothing\r\n\r\n",
        b"",
        b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(BODY, mtime=0),
        b"HTTP/1.0 200 OK\r\n\r\n<html>Log in</html>",
    ],
)
def test_whatever_a_server_says_is_one_line_that_a_terminal_can_print(
    answer: bytes, server: Server, tmp_path: Path
) -> None:
    server.answers["set.bin"] = answer
    with pytest.raises(DataError) as caught:
        fetch(server.url + "set.bin", tmp_path / "set.bin", md5(BODY))
    text = str(caught.value)
    assert text.isprintable() and text.endswith(".") and not text.endswith("..") and len(text) < 400
    assert server.url in text and not list(tmp_path.iterdir())
