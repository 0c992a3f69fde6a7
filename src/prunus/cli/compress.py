"""`prunus compress`: the main job, and its ONNX file in 8 bits."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from prunus.cli.prune import QUANTISE, prune

QUANTISATION = "Quantisation"


def compress(
    context: typer.Context,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Quantise the ONNX file after training (needs --data).",
            rich_help_panel=QUANTISATION,
        ),
    ] = False,
    int8_tolerance: Annotated[
        float,
        typer.Option(
            "--int8-tolerance",
            min=0.0,
            help="Points of accuracy that 8 bits may cost besides.",
            rich_help_panel=QUANTISATION,
        ),
    ] = 0.5,
    **options: Any,
) -> None:
    """Prune, recover, fold, export and quantise: like prune, with a file in 8 bits at the end.

    Layers that cost too much in 8 bits, on samples held out of the training, stay in float.

    For example: prunus compress resnet56 --weights resnet56.th --data cifar10 --tolerance 0.5 --epochs 2
        --int8 -o out
    """
    if int8:
        from prunus.runs.settings import Quantisation

        context.meta[QUANTISE] = Quantisation(int8_tolerance, options["confidence"])
    prune(context, **options)


def _with_options_of_prune() -> inspect.Signature:
    """What `prune` takes, `compress` takes as well: its signature is put together rather than copied."""
    own, shared = (
        inspect.signature(compress, eval_str=True).parameters,
        inspect.signature(prune, eval_str=True).parameters,
    )
    added = [one for name, one in own.items() if name not in shared and one.kind is not one.VAR_KEYWORD]
    return inspect.Signature([*shared.values(), *added])


compress.__signature__ = _with_options_of_prune()  # type: ignore[attr-defined]
