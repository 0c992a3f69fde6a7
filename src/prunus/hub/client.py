"""The Hub's own client, imported when it is needed, and what goes wrong in it as one sentence.

The client's errors hold the request that failed, and the request holds the token: none of them is passed on,
not even as a cause.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from prunus._foundation.system_faults import no_room
from prunus._foundation.wording import remark
from prunus.errors import HubError, MissingExtraError, PrunusError, clause

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_T = TypeVar("_T")
_ID = re.compile(r"[A-Za-z0-9](?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
_TOKEN = re.compile(r"\bhf_\w{8,}", re.ASCII)
_WRAPPERS = ("LocalEntryNotFoundError", "RuntimeError")  # errors of the client that only say what it did
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
USUAL = "https://huggingface.co"


def require() -> ModuleType:
    """The client's package; raises MissingExtraError naming the extra where it is missing."""
    try:
        return import_module("huggingface_hub")
    except ImportError as error:
        raise MissingExtraError(
            "The Hub needs huggingface_hub; it is the extra 'hub': pip install 'prunus[hub]'."
        ) from error


def client(token: str | None) -> HfApi:
    """Speaks to the Hub that the environment names; `token` None = the one of the environment, or of whoever
    logged in.
    """
    from prunus import __version__

    found: HfApi = require().HfApi(
        endpoint=endpoint(), token=token, library_name="prunus", library_version=__version__
    )
    return found


def endpoint() -> str:
    """Where the Hub is: $HF_ENDPOINT, also if it was set after the client was imported."""
    return (os.environ.get("HF_ENDPOINT") or USUAL).rstrip("/")


def check_name(repo_id: str) -> None:
    """Raises HubError unless it may be the name of a model in the Hub."""
    if not _ID.fullmatch(repo_id) or ".." in repo_id or "--" in repo_id or len(repo_id) > 96:
        shown = repo_id if len(repo_id) <= 60 else f"{repo_id[:57]}…"
        raise HubError(f"A model of the Hub is named as owner/name, not {shown!r}.")


def asked(repo_id: str, token: str | None, work: Callable[[], _T], writes: bool = False) -> _T:
    """What the client gives; raises HubError, whatever the client raises.

    Args:
        repo_id: of which model.
        token: that the client was given, if any; neither it nor that of the environment gets into the text.
        work: calls the client.
        writes: it changes the model in the Hub.
    """
    hidden = (token, require().get_token())
    try:
        return work()
    except PrunusError:
        raise
    except Exception as error:  # of HTTP, of files, of its storage: clients have many kinds
        text = without_tokens(_sentence(repo_id, error, writes), *hidden)
    # outside of the handler: the client's error, which has the token in its request, must not be its context
    raise HubError(text)


def without_tokens(text: str, *tokens: str | None) -> str:
    """A text without tokens: those given, and whatever looks like one of the Hub's."""
    for token in tokens:
        text = text.replace(token, "…") if token else text
    return _TOKEN.sub("…", text)


def _sentence(repo_id: str, error: BaseException, writes: bool) -> str:
    while type(error).__name__ in _WRAPPERS and error.__cause__ is not None:
        error = error.__cause__  # why the Hub was not asked, or did not answer
    kinds = {kind.__name__ for kind in type(error).__mro__}
    where = urlsplit(endpoint()).hostname or "the Hub"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is None:
        return _failed(repo_id, where, error, kinds)
    said = _short(getattr(error, "server_message", None) or error)
    return (
        _refused(repo_id, where, kinds, status, writes) or f"{where} answered {status} for {repo_id}: {said}."
    )


def _short(said: object) -> str:
    """What a server or its client says, as the end of a sentence."""
    return remark(clause(Exception(str(said))))


def _refused(repo_id: str, where: str, kinds: AbstractSet[str], status: int, writes: bool) -> str:
    """What an answer of the Hub means; "" where only it can say that."""
    if "GatedRepoError" in kinds:
        return (
            f"{repo_id} is only for those whom its owner lets in: ask on its page at {where}, and {LOG_IN}."
        )
    if "RevisionNotFoundError" in kinds:
        return f"{repo_id} has no such revision: give a branch, a tag or a commit that {where} lists."
    if status in (401, 403) and writes:
        return f"{where} does not let you write to {repo_id} ({status}): {LOG_IN}, for writing."
    if "RepositoryNotFoundError" in kinds or status in (401, 403):
        return f"{where} has no model {repo_id} that you may see: check its name; if it is private, {LOG_IN}."
    if "EntryNotFoundError" in kinds:
        return f"{repo_id} lacks a file that it lists, at {where}: look at its page."
    return ""


def _failed(repo_id: str, where: str, error: BaseException, kinds: AbstractSet[str]) -> str:
    """Why there is no answer, or not the whole of it."""
    if (full := no_room(error)) is not None:
        place = full.filename or "the folder of its downloads"
        return f"{repo_id} cannot be kept here ({full.strerror or full}: {place}): make room, or set HF_HOME."
    if "LocalEntryNotFoundError" in kinds or "OfflineModeIsEnabled" in kinds:
        return f"{repo_id} was not downloaded before, and {where} was not asked: go online once."
    if not kinds.isdisjoint(("ConnectError", "TimeoutException", "ConnectionError", "Timeout")):
        return f"{where} cannot be reached ({type(error).__name__}): check the connection, and HF_ENDPOINT."
    broken = ("RemoteProtocolError", "ChunkedEncodingError", "ReadError")
    if "Consistency check failed" in str(error) or not kinds.isdisjoint(broken):
        return f"A file of {repo_id} did not come down whole: try again."
    return f"{repo_id}: the client of the Hub failed ({type(error).__name__}: {_short(error)})."
