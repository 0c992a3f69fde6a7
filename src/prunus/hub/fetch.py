"""From the Hub to a compact module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunus._foundation.arguments import door
from prunus.errors import FileFormatError, HubError, ModelNameError, clause
from prunus.hub.client import asked, check_name, client
from prunus.hub.contents import GATES_FILE, MODEL_FILE
from prunus.runs.records import RESULT_FILE, Record, record_beside

WANTED = (MODEL_FILE, GATES_FILE, RESULT_FILE)  # no other file of a stranger is of any use


@door(HubError)
def from_pretrained(
    repo_id: str,
    build: nn.Module | Callable[[], nn.Module] | str | None = None,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: Path | str | None = None,
    local_files_only: bool = False,
    device: str | torch.device = "cpu",
) -> nn.Module:
    """A compact module from the Hub, as `push_to_hub` put it there.

    Files are checked as `prunus.load` checks them. Nothing in them is unpickled, imported or called: what
    they say of themselves decides at most which network of prunus, timm or torchvision is built.

    Args:
        repo_id: owner/name.
        build: the dense network, a function that makes it, or a name as `prunus.models.build` takes it; not
            needed for a module that stands alone, nor where it was cut from a network of prunus, timm or
            torchvision.
        revision: branch, tag or commit; only a commit is sure to be the same tomorrow. None = the newest.
        token: of the Hub; None = that of HF_TOKEN or `hf auth login`.
        cache_dir: where downloads are kept; None = where the Hub's client keeps them.
        local_files_only: ask nobody, and take what was downloaded before.
        device: where the tensors go.

    Returns:
        In the mode in which it was saved, which is eval mode; where the files have gates, with them.

    Raises:
        HubError: no such model or revision, no connection, a download that broke off, or `build` is needed.
        FileFormatError, PlanError: a file is damaged, or `build` makes another network than was cut.
        MissingExtraError: huggingface_hub is missing, or the library of the network.
    """
    check_name(repo_id)
    if Path(repo_id).exists():
        raise HubError(
            f"{repo_id} is here, on this machine: prunus.load reads it; from_pretrained reads the Hub only."
        )
    hub = client(token)
    folder = Path(
        asked(
            repo_id,
            token,
            lambda: hub.snapshot_download(
                repo_id,
                revision=revision,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                allow_patterns=list(WANTED),
            ),
        )
    )
    return load_downloaded(folder, repo_id, build, device)


def load_downloaded(
    folder: Path,
    repo_id: str,
    build: nn.Module | Callable[[], nn.Module] | str | None = None,
    device: str | torch.device = "cpu",
) -> nn.Module:
    """The module of a folder that came from a stranger; arguments and errors as above."""
    from prunus import storage

    if not (folder / MODEL_FILE).is_file():
        raise HubError(f"{repo_id} holds no {MODEL_FILE}, so it is no network of prunus.")
    model = storage.load(folder / MODEL_FILE, _dense(folder, repo_id, build), device)
    if not (folder / GATES_FILE).is_file():
        return model
    from prunus.dynamic import load_gates

    record = record_beside(folder / MODEL_FILE)
    if record is None or record.input_shape is None:
        raise FileFormatError(f"{repo_id} has gates, and does not say what its inputs look like.")
    return load_gates(model, torch.zeros(record.input_shape, device=device), folder / GATES_FILE)


def _dense(folder: Path, repo_id: str, build: Any) -> Callable[[], nn.Module]:
    """What makes the dense network; called only for a module that does not stand alone."""
    if isinstance(build, nn.Module):
        return lambda: build
    if isinstance(build, str):
        from prunus import models

        return lambda: models.build(build)
    return build if build is not None else lambda: _recorded(record_beside(folder / MODEL_FILE), repo_id)


def _recorded(record: Record | None, repo_id: str) -> nn.Module:
    """The network that a record names, if it is one that prunus knows: neither code nor another file."""
    from prunus.models.catalogue import build_recorded, is_plain_name

    if record is None or not is_plain_name(record.name):
        named = f", which calls itself {record.name[:60]!r}" if record is not None and record.name else ""
        raise HubError(
            f"{repo_id} was cut from a network that prunus does not know{named}, and prunus calls nothing"
            " that a file names: give build=, a function that makes the dense network."
        )
    try:
        return build_recorded(record.name, record.options)
    except ModelNameError as error:
        raise HubError(
            f"{repo_id} does not say in a harmless way what it was cut from ({clause(error)}): give build=, a"
            " function that makes the dense network."
        ) from error
