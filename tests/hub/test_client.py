"""Names in the Hub, and what its client's errors become."""

from __future__ import annotations

import errno
import traceback
from typing import Any

import pytest
from tests.hub.server import TOKEN, Hub

from prunus.errors import HubError, MissingExtraError
from prunus.hub import client


@pytest.mark.parametrize("name", ["me/net", "me/net-1.0_b", "A/b"])
def test_a_name_has_an_owner(name: str) -> None:
    client.check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "net",
        "",
        "a/b/c",
        "../b",
        "a/..",
        "a/b..c",
        "a/-b",
        "a/b.",
        "/tmp/x",
        "a b/c",
        "a/b--c",
        "ä/b",
        "a/b" * 40,
    ],
)
def test_what_is_no_name_is_told(name: str) -> None:
    with pytest.raises(HubError, match="is named as owner/name, not"):
        client.check_name(name)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(client, "import_module", gone)
    with pytest.raises(MissingExtraError, match=r"the extra 'hub': pip install 'prunus\[hub\]'\.$"):
        client.require()


def test_a_full_disk_is_not_the_fault_of_the_client(hub: Hub) -> None:
    def full() -> None:
        raise RuntimeError("wrapped") from OSError(errno.ENOSPC, "No space left on device", "/cache/blob")

    with pytest.raises(HubError) as told:
        client.asked("me/net", None, full)
    assert str(told.value) == (
        "me/net cannot be kept here (No space left on device: /cache/blob): make room, or set HF_HOME."
    )


def test_no_token_is_in_an_error_nor_in_what_hangs_on_it(hub: Hub) -> None:
    hub.refuses = (400, f"Bad {TOKEN}, and Bearer hf_anotherOneOfThem")
    one = client.client(TOKEN)
    with pytest.raises(HubError) as caught:
        client.asked("me/net", TOKEN, lambda: one.model_info("me/net"))
    error = caught.value
    assert error.__cause__ is None and error.__context__ is None
    shown = "".join(traceback.format_exception(error))
    assert TOKEN not in shown and "anotherOneOfThem" not in shown
    assert str(error) == "127.0.0.1 answered 400 for me/net: bad …, and Bearer …."


@pytest.mark.parametrize(
    ("status", "writes", "said"),
    [
        (401, True, r"does not let you write to me/net \(401\): log in with `hf auth login`"),
        (403, True, r"does not let you write to me/net \(403\)"),
        (403, False, "has no model me/net that you may see"),
        (418, False, "answered 418 for me/net"),
    ],
)
def test_a_refusal_is_one_sentence(hub: Hub, status: int, writes: bool, said: str) -> None:
    hub.refuses = (status, "no")
    one = client.client(None)
    with pytest.raises(HubError, match=said) as caught:
        client.asked("me/net", None, lambda: one.model_info("me/net"), writes)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_what_else_fails_says_what_it_was() -> None:
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")

    def fails() -> None:
        raise RuntimeError(f"The storage is gone, says {TOKEN}.")

    with pytest.raises(HubError, match=r"failed \(RuntimeError: the storage is gone, says …\)\.$"):
        client.asked("me/net", TOKEN, fails)
