"""`prunus push`: a run's folder to the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunus.cli import options as given
from prunus.cli.console import bars, show_json, show_plain


def push(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a run that pruned.")],
    repo_id: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The model in the Hub.")],
    license_name: Annotated[
        str, typer.Option("--license", metavar="NAME", help="Licence of the network, such as apache-2.0.")
    ] = "",
    base_model: Annotated[
        str,
        typer.Option(
            "--base-model", metavar="OWNER/NAME", help="The network in the Hub that this one was made from."
        ),
    ] = "",
    control: Annotated[
        float | None,
        typer.Option(
            "--control", help="Points that the dense network reaches after exactly the same training."
        ),
    ] = None,
    private: Annotated[
        bool | None,
        typer.Option(
            "--private/--public", help="Whom a new model is shown to; default: as its owner has it."
        ),
    ] = None,
    message: Annotated[
        str, typer.Option("--message", help="Message of the commit; default: what was pruned.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing; print the model card and the list of files.")
    ] = False,
    as_json: given.AsJson = False,
) -> None:
    """Put a pruned network into the Hub, with a model card made of its result.

    The token is that of `hf auth login` or of HF_TOKEN.

    For example: prunus push out/ owner/name --license mit
    """
    from prunus.hub import push_to_hub
    from prunus.report import words

    with bars() as watch:
        watch("reading the run" if dry_run else f"sending {repo_id}", 0, 0)
        done = push_to_hub(
            folder,
            repo_id,
            license=license_name,
            base_model=base_model,
            control=control,
            private=private,
            message=message,
            dry_run=dry_run,
        )
    if as_json:
        show_json(done.record())
        return
    if dry_run:
        show_plain(done.card)
    for name, size in done.files.items():
        show_plain(f"{name}: {words.size(size)}")
    show_plain("Nothing was sent." if dry_run else done.url)
