"""Export to ONNX, and proof that the exported file computes what the model computes."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from prunus._foundation.agreement import Difference, difference, not_finite
from prunus._foundation.arguments import door
from prunus._foundation.atomic import destination, draft_folder, put
from prunus._foundation.collector import collector_paused
from prunus._foundation.system_faults import refused
from prunus.deploy.inputs import Inputs, free_batch, naming, split, tensors, tensors_alone
from prunus.deploy.onnx_file import first_cause, require, runner
from prunus.deploy.sheet import DataSheet, FromPixels
from prunus.deploy.tidy import tidy
from prunus.errors import ConfigError, PrunusError, VerifyError
from prunus.paint.inputs import called
from prunus.plans.verify import evaluating
from prunus.surgery.blocks import left_out
from prunus.surgery.compact import Origin

NOTHING_SAID = DataSheet()


@dataclass(frozen=True)
class OnnxCheck:
    """An exported file and how far ONNX Runtime's outputs are from PyTorch's.

    Attributes:
        path: the file.
        max_abs: largest absolute difference of any output element.
        relative: `max_abs` divided by the largest absolute output.
        opset: ONNX operator-set version of the file.
    """

    path: Path
    max_abs: float
    relative: float
    opset: int


@door(ConfigError)
def export(
    model: nn.Module,
    example_inputs: Inputs,
    path: Path | str,
    dynamic_batch: bool = False,
    tolerance: float = 1e-3,
    *,
    sheet: DataSheet = NOTHING_SAID,
    takes_pixels: bool = False,
) -> OnnxCheck:
    """Export the model in eval mode to one self-contained ONNX file and check it on the example inputs.

    Weights of more than 2 GB, which no such file can hold, lie in a second file beside it: `model.onnx.data`.

    The file appears under its name only when the check has passed. The batch axis is static unless asked
    otherwise: a static batch lets runtimes choose their kernels for it, and says so in the file.

    Args:
        model: on the CPU; its train/eval modes are restored.
        example_inputs: a tensor, a tuple of positional or a dictionary of keyword arguments, real inputs if
            possible.
        path: where to write; an existing file is replaced.
        dynamic_batch: let the first axis of every input tensor vary.
        tolerance: largest `relative` difference accepted.
        sheet: what the file says of its classes and of the normalisation of its inputs, in its metadata.
        takes_pixels: put that normalisation into the file: it takes pixels from 0 to 255 then, as
            floating-point numbers. The example inputs are normalised ones all the same, in one tensor.

    Raises:
        ConfigError: pixels are to be taken, and the sheet says no normalisation, or the model has several
            inputs.
        MissingExtraError: the extra `onnx` is not installed.
        VerifyError: the exported file computes something else.
        PrunusError: the exporter cannot express this model.
    """
    require()
    path = Path(path)
    properties = _metadata(model) | sheet.properties(takes_pixels)
    if takes_pixels:
        model, example_inputs = FromPixels(model, sheet.mean, sheet.std), _as_pixels(example_inputs, sheet)
    args, kwargs = split(example_inputs)
    with draft_folder(path) as folder:
        draft = folder / path.name  # by which the file knows that of its weights, if there is one
        with evaluating(model):
            outputs = called(model, args, kwargs, ConfigError)
            expected = tensors(outputs)
            with tensors_alone(model, outputs):
                opset = write(
                    model,
                    args,
                    kwargs,
                    draft,
                    dynamic_batch,
                    properties=properties,
                    outputs=output_names(outputs),
                )
        actual = [torch.as_tensor(value) for value in runner(draft)(example_inputs)]
        apart = compared(model, expected, actual)
        if not apart.of_largest <= tolerance:
            raise VerifyError(
                f"The ONNX file of {type(model).__name__} differs from the model by {apart.of_largest:.1e}"
                f" (relative), more than {tolerance:.0e}; nothing was written to {path}."
            )
        _put_all(draft, path)
    return OnnxCheck(path=path, max_abs=apart.max_abs, relative=apart.of_largest, opset=opset)


def _put_all(draft: Path, path: Path) -> None:
    """Give a file its place, and its weights theirs where they lie in a file of their own: no file ever lies
    beside the weights of another.
    """
    weights = path.with_name(f"{path.name}.data")
    own = draft.with_name(weights.name)
    if own.exists():
        destination(path).unlink(missing_ok=True)
        put(own, weights)
        put(draft, path)
    else:
        put(draft, path)
        weights.unlink(missing_ok=True)  # of the file that was there before


def write(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    draft: Path,
    dynamic_batch: bool = False,
    translations: Mapping[Any, Callable[..., Any]] | None = None,
    *,
    properties: Mapping[str, str] | None = None,
    outputs: Sequence[str] = (),
) -> int:
    """Run the exporter, without any check, and return the opset that it chose; `translations` say what
    becomes of operators that it does not know.

    `properties` are the file's metadata (those of the model, if none are given), and `outputs` the names of
    its outputs.

    Raises PrunusError if it cannot express the model; what the system refuses, such as more of a full disk,
    comes through.
    """
    try:
        with silenced(), collector_paused(), naming(model, args, kwargs):
            program: Any = torch.onnx.export(
                model,
                args,
                kwargs=kwargs or None,
                output_names=list(outputs) or None,
                dynamo=True,
                verbose=False,
                dynamic_shapes=free_batch(model, args, kwargs) if dynamic_batch else None,
                custom_translation_table=dict(translations) if translations else None,
            )
            program.model.metadata_props.update(_metadata(model) if properties is None else properties)
            program.save(draft, external_data=False)
            tidy(draft)
    except Exception as error:  # the exporter raises many types; none of them is the user's to know
        if (found := refused(error)) is not None:
            raise found from error
        raise PrunusError(
            f"{type(model).__name__} cannot be exported to ONNX: {first_cause(error)}."
        ) from error
    return int(program.model.opset_imports[""])


def output_names(outputs: Any) -> list[str]:
    """Names for what a model returns: "output", or the keys and places by which it returns several."""
    leaves, _ = _pytree.tree_flatten_with_path(outputs)
    paths = [
        [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path]
        for path, leaf in leaves
        if isinstance(leaf, Tensor)
    ]
    return ["_".join(["output", *path] if not path or path[0].isdigit() else path) for path in paths]


def _as_pixels(example_inputs: Inputs, sheet: DataSheet) -> Tensor:
    """The pixels that become these inputs, from 0 to 255."""
    found = tensors(example_inputs)
    if len(found) != 1 or found[0].dim() < 2:
        raise ConfigError(
            f"A file takes pixels where the model takes one tensor of them, not {len(found)} tensors."
        )
    shape = (1, -1, *[1] * (found[0].dim() - 2))
    mean, std = (torch.tensor(values, dtype=found[0].dtype).view(shape) for values in (sheet.mean, sheet.std))
    return (found[0] * std + mean) * 255


def _metadata(model: nn.Module) -> dict[str, str]:
    """What the file says of itself: who made it and, of a compact network, what is left of the original."""
    made = {"prunus": metadata.version("prunus"), "torch": torch.__version__}
    origin = getattr(model, "prunus", None)
    if not isinstance(origin, Origin):
        return made
    before, after = origin.plan.before, origin.plan.after
    if left_out(model):  # the plan knows the network without these blocks only
        return made | {
            "macs": f"{after.macs}",
            "parameters": f"{after.params}",
            "blocks left out": ", ".join(left_out(model)),
        }
    return made | {
        "macs": f"{after.macs} of {before.macs}",
        "parameters": f"{after.params} of {before.params}",
    }


def check_each(
    model: nn.Module,
    inputs: Tensor,
    draft: Path,
    path: Path,
    opset: int,
    tolerance: float = 1e-4,
    *,
    together: bool = False,
) -> OnnxCheck:
    """Compare a file with the model, for every input of a batch on its own, and give it its name.

    `together`: for all of them in one call as well, if the file takes that.

    Raises VerifyError, and leaves what was there before, if they differ by more than `tolerance` of the
    largest output.
    """
    run = runner(draft)
    batches = [x[None] for x in inputs] + ([inputs] if together else [])
    with evaluating(model):
        wanted = [model(x) for x in batches]
    found = [torch.as_tensor(run(x)[0]) for x in batches]
    apart = compared(model, wanted, found)
    if not apart.of_largest <= tolerance:
        raise VerifyError(
            f"The ONNX file of {type(model).__name__} differs by {apart.max_abs:.1e} from what it computes in"
            f" PyTorch; nothing was written to {path}."
        )
    put(draft, path)
    return OnnxCheck(path, apart.max_abs, apart.of_largest, opset)


def compared(model: nn.Module, expected: list[Tensor], actual: list[Tensor]) -> Difference:
    """How far a file's outputs are from the model's; raises VerifyError where they cannot be compared."""
    broken = not_finite(expected)
    if broken:
        raise VerifyError(
            f"{type(model).__name__} gives {broken} on these inputs, so its ONNX file cannot be checked; mend"
            " it, or give other inputs."
        )
    apart = difference(expected, actual)
    if apart.unlike:
        raise VerifyError(f"The ONNX file returns {apart.unlike}, which {type(model).__name__} does.")
    return apart


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """The exporter narrates on stdout, in warnings and in its loggers; what matters comes back as an
    exception.
    """
    before = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
