"""`prunus compress`: the main job, and its ONNX file in 8 bits."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from prunus.cli.prune import QUANTISE, prune
from prunus.errors import ConfigError

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
        float | None,
        typer.Option(
            "--int8-tolerance",
            min=0.0,
            help="Points of the metric that 8 bits may cost besides (needs --int8); default: 0.5.",
            rich_help_panel=QUANTISATION,
        ),
    ] = None,
    **options: Any,
) -> None:
    """Prune, recover, fold, export and quantise: like prune, and with --int8 a file in 8 bits at the end.

    Layers that cost too much in 8 bits, on samples held out of the training, stay in float.

    For example: prunus compress resnet56 --weights resnet56.th --data cifar10 --tolerance 0.5 --epochs 2
        --int8 -o out
    """
    if int8:
        from prunus.runs.settings import Quantisation

        given = {} if int8_tolerance is None else {"tolerance": int8_tolerance}
        context.meta[QUANTISE] = Quantisation(**given, confidence=options["confidence"])
    elif int8_tolerance is not None:
        raise ConfigError("--int8-tolerance limits what 8 bits may cost, and there are none: add --int8.")
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
