"""From a run to the Hub, in one commit."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus._foundation.arguments import door
from prunus.errors import HubError
from prunus.hub.card import About, card_of
from prunus.hub.client import asked, check_name, client, require
from prunus.hub.contents import CARD_FILE, FILES, PURPOSE, Contents, Made, contents_of
from prunus.methods.common import Outcome
from prunus.report.result import understood

if TYPE_CHECKING:
    from prunus.tasks import Task


@dataclass(frozen=True)
class Pushed:
    """What is in the Hub now.

    Attributes:
        repo_id: owner/name.
        url: of the commit; "" where nothing was sent.
        commit: by which `from_pretrained(revision=…)` finds just this; "" where nothing was sent.
        files: their names, and sizes [bytes].
        card: the model card.
    """

    repo_id: str
    url: str
    commit: str
    files: Mapping[str, int]
    card: str

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@door(HubError)
def push_to_hub(
    out: Path | str | Outcome | Mapping[str, Any],
    repo_id: str,
    *,
    license: str = "",
    base_model: str = "",
    control: float | None = None,
    name: str = "",
    options: Mapping[str, Any] | None = None,
    task: Task | None = None,
    private: bool | None = None,
    message: str = "",
    token: str | None = None,
    dry_run: bool = False,
) -> Pushed:
    """Put a pruned network into the Hub: its weights, plan, ONNX files and result, with a model card made of
    the result.

    All goes up in one commit, in which files of an earlier push that have no successor go. The result is
    stripped of paths of this machine; `config.json` says how wide every layer was and is.

    Args:
        out: a run's folder, what a job of `prunus.runs` returned, or an outcome as of `prunus.shrink`.
        repo_id: owner/name; made if it is not there.
        license: of the network, as the Hub names licences: "apache-2.0".
        base_model: the network in the Hub that this one was made from.
        control: the metric [points] of the dense network trained exactly as the compact one was. It belongs
            to every figure after training, and the card says where it is missing.
        name, options: what an outcome was cut from, if that is a network of prunus, timm or torchvision, so
            that `from_pretrained` needs no `build`.
        task: by which an outcome was measured.
        private: whom a new model is shown to; None = as the owner has it.
        message: of the commit; "" = what was pruned.
        token: of the Hub; None = that of HF_TOKEN or `hf auth login`. It is never written anywhere.
        dry_run: send nothing, and return what would be sent.

    Raises:
        HubError: no connection, no right to write there, or `name` is not what was cut.
        FileFormatError: `out` is no run that pruned, or one of its files is damaged.
        MissingExtraError: huggingface_hub is missing.
    """
    check_name(repo_id)
    if not dry_run:
        require()
    about = About(license, base_model, control)
    with contents_of(out, Made(name, options, task)) as contents:
        about = About(license, base_model, control, contents.alone, contents.call)
        with understood(f"The record in {contents.folder}", PURPOSE) if contents.folder else nullcontext():
            text = card_of(contents.result, repo_id, about)
            written = contents.records() | {CARD_FILE: text.encode(errors="backslashreplace")}
        sizes = {one: len(content) for one, content in written.items()} | {
            one: path.stat().st_size for one, path in contents.models.items()
        }
        if dry_run:
            return Pushed(repo_id, "", "", dict(sorted(sizes.items())), text)
        subject = message or f"{contents.result['model']['name']}, pruned by prunus"
        url, commit = _sent(contents, written, repo_id, subject, private, token)
    return Pushed(repo_id, url, commit, dict(sorted(sizes.items())), text)


def _sent(
    contents: Contents,
    written: Mapping[str, bytes],
    repo_id: str,
    subject: str,
    private: bool | None,
    token: str | None,
) -> tuple[str, str]:
    """Address and name of the commit."""
    hub, package = client(token), require()

    def work() -> tuple[str, str]:
        hub.create_repo(repo_id, private=private, exist_ok=True)
        there = hub.list_repo_files(repo_id)
        new: dict[str, Path | bytes] = {**written, **contents.models}
        commit = hub.create_commit(
            repo_id,
            [
                *(package.CommitOperationDelete(one) for one in FILES if one in there and one not in new),
                *(package.CommitOperationAdd(one, content) for one, content in new.items()),
            ],
            commit_message=subject,
        )
        return str(commit.commit_url), str(commit.oid)

    return asked(repo_id, token, work, writes=True)
