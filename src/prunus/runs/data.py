"""What `--data` names, for every command: a set by name, a folder by what it holds, a `.npz` file, or a task
of the user's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus._foundation.arguments import check_fields
from prunus.errors import ConfigError, DataError
from prunus.runs.loading import Opened, open_data, open_model, split_samples, usual_augmentation
from prunus.runs.pictures import (
    OURS,
    Pictures,
    is_file_of_a_model,
    open_for_pictures,
    picture_folder,
    read_pictures,
)
from prunus.runs.settings import Network
from prunus.runs.shapes import natural_shape
from prunus.runs.texts import parse_planes

if TYPE_CHECKING:
    from torch import nn

    from prunus.data import ImageData
    from prunus.tasks import Task
    from prunus.training.config import Augment

_OWN = re.compile(r"[^/\\:]+(?:[/\\][^/\\:]+)*:[\w.]+")  # also a path, which is told how modules are named
_WORD = re.compile(r"\w[\w.-]*")
Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Data:
    """Data as a user names them.

    Attributes:
        name: of a set, a folder, an `.npz` file, or `package.module:function`.
        root: where they are looked for.
        mean, std: of the planes, as typed; "" = the data's.
        share: of the training samples that is held out where the data have none to choose by; 0 = none.
        seed: which.
        block, ignore: of pictures with masks, see `prunus.data.picture_sets`.
        limit: samples of every part, at most; None = all.
        batch_size: samples per step, or at once; None = what the command and the data take.
        workers: threads that read files; a function of the user's gets it if it asks for it.
        window, windows: side of the windows of pictures [pixels], and how many make an epoch; None = what the
            pictures have, and 512.
    """

    name: str
    root: Path | None = None
    mean: str = ""
    std: str = ""
    share: float = 0.1
    seed: int = 0
    block: int = 1
    ignore: int = 255
    limit: int | None = None
    batch_size: int | None = None
    workers: int = 0
    window: int | None = None
    windows: int | None = None

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)


def data_of(data: Data | str | None, seed: int) -> Data | None:
    """Data by their name alone, where that is all there is to say; held out by the seed of the job."""
    return Data(data, seed=seed) if isinstance(data, str) and data else data or None


@dataclass(frozen=True, eq=False)
class Source:
    """Data that were read: images with classes, pictures with masks, or a task of any other kind; one of the
    three.

    Attributes:
        data: what was asked for.
        images, pictures: of those kinds.
        own: the task, of images with classes too.
    """

    data: Data
    images: ImageData | None = None
    pictures: Pictures | None = None
    own: Task | None = None

    def open(
        self,
        text: str,
        *,
        shape: tuple[int, ...] | None = None,
        weights: Path | None = None,
        pretrained: bool = False,
        build_name: str = "",
    ) -> Opened:
        """A network that fits the data, as the user named it."""
        if self.pictures is not None:
            return open_for_pictures(
                text, self.pictures, shape, weights=weights, pretrained=pretrained, build_name=build_name
            )
        if self.images is not None:
            return open_model(
                text,
                weights=weights,
                shape=shape,
                data=self.images,
                pretrained=pretrained,
                build_name=build_name,
            )
        assert self.own is not None
        known = not is_file_of_a_model(text) and ":" not in text.partition("@")[0]
        shape = shape or (None if is_file_of_a_model(text) else _shape(self.own))
        options = _options(self.own, text.partition("@")[0], shape) if known else {}
        return open_model(
            text, weights=weights, shape=shape, options=options, pretrained=pretrained, build_name=build_name
        )

    def task(self, side: int | None = None) -> Task:
        """The task; of pictures in windows of so many pixels a side."""
        if self.pictures is not None:
            return self.pictures.task(side or self.pictures.side, self.data.windows, self.data.batch_size)
        assert self.own is not None
        return self.own

    @property
    def augment(self) -> Augment:
        """What is usual for them; windows of pictures are turned and mirrored anyway, and batches are taken
        as they are.
        """
        return usual_augmentation(self.images) if self.images is not None else "none"


def read_data(wanted: Data, size: int | None = None, watch: Watch = lambda step, done, total: None) -> Source:
    """Read what a command was given, and say in one line what was found.

    Args:
        wanted: the options.
        size: side that images of a folder are brought to [pixels]; None = that of the first one.
        watch: told about progress.

    Raises:
        DataError, ConfigError: no such data, damaged ones, or an option that is not for data of this kind.
    """
    watch(f"reading {wanted.name}", 0, 0)
    found = _read(wanted, size, watch)
    say: Any = getattr(watch, "say", None)
    if say is not None:
        say(f"Data: {found.task()}")
    return found


def open_network(network: Network, source: Source | None = None, *, gated: bool = False) -> Opened:
    """A network that a user named, as it fits the data, if there are any; `gated` is as for `open_model`."""
    if source is None:
        return open_model(
            network.name,
            weights=network.weights,
            shape=network.input_shape,
            pretrained=network.pretrained,
            build_name=network.build,
            gated=gated,
        )
    return source.open(
        network.name,
        shape=network.input_shape,
        weights=network.weights,
        pretrained=network.pretrained,
        build_name=network.build,
    )


def side_of(network: Network, shape: tuple[int, ...] | None) -> int | None:
    """The size that a network wants of the images of a folder [pixels]; `shape`: what is known of it."""
    wanted = shape or (natural_shape(network.name.partition("@")[0]) if "/" in network.name else None)
    return wanted[-1] if wanted else None


def of_images(source: Source, command: str) -> ImageData:
    """Images with classes; raises ConfigError, which says what the data are instead, for others."""
    if source.images is None:
        task = source.task()
        raise ConfigError(f"{command}, and {source.data.name} is measured by {task.metric_name}.")
    return source.images


def _read(wanted: Data, size: int | None, watch: Watch) -> Source:
    if is_own(wanted.name):
        return _own(wanted)
    place = npz_file(wanted.name, wanted.root)
    if place is not None:
        return _npz(wanted, place)
    folder = picture_folder(wanted.name, wanted.root)
    if folder is not None:
        return Source(wanted, pictures=_pictures(wanted, folder))
    images = open_data(wanted.name, wanted.root, size, watch, wanted.workers)
    return Source(
        wanted,
        images,
        own=_limited(split_samples(images, wanted.mean, wanted.std, wanted.share, wanted.seed), wanted),
    )


def is_own(name: str) -> bool:
    """Whether a name is that of a function: package.module:function, or one that another package adds. What
    is there under that name, here, comes first.
    """
    if _OWN.fullmatch(name) is None and not _WORD.fullmatch(name):
        return False
    if _WORD.fullmatch(name):
        from prunus.tasks.own import added_task

        return added_task(name) is not None and not Path(name).exists()
    return not Path(name).exists()


def npz_file(name: str, root: Path | None) -> Path | None:
    """The `.npz` file that a name stands for; the first place where it might be, if there is none."""
    from prunus.data import default_root
    from prunus.data.npz import is_npz

    if not is_npz(name):
        return None
    places = (Path(name).expanduser(), (root or default_root()) / name)
    return next((place for place in places if place.exists()), places[0])


def _pictures(wanted: Data, folder: Path) -> Pictures:
    found = read_pictures(
        folder, wanted.mean, wanted.std, wanted.share, wanted.seed, wanted.block, wanted.ignore
    )
    found = found if wanted.limit is None else found.limited(wanted.limit, wanted.seed)
    return replace(found, window=wanted.window)


def _npz(wanted: Data, place: Path) -> Source:
    from prunus.tasks import npz_task

    task = npz_task(place, validation=wanted.share, seed=wanted.seed, ignore=wanted.ignore)
    return _source(_normalised(task, wanted, f"The inputs in {wanted.name}"), wanted)


def _own(wanted: Data) -> Source:
    """The function gets what it asks for; what it does not ask for, and nobody else could
    heed, is refused.
    """
    from prunus.data import Split
    from prunus.tasks import Samples, named_task
    from prunus.tasks.own import parameters

    given = {
        "batch_size": wanted.batch_size,
        "workers": wanted.workers or None,
        "limit": wanted.limit,
        "data_dir": wanted.root,
    }
    typed = {key: value for key, value in given.items() if value is not None}
    takes = parameters(wanted.name, [*given, "seed"])
    task = named_task(wanted.name, typed | {"seed": wanted.seed})
    heeded = {"limit", "batch_size"} if isinstance(task.train, (Split, Samples)) else {"limit"}
    for key in typed:
        if key not in takes | heeded:
            flag = f"--{key.replace('_', '-')}"
            raise ConfigError(
                f"{wanted.name} makes batches of its own, and {flag} is nothing to it: give the function a"
                f" parameter {key}, or leave {flag} out."
            )
    return _source(_normalised(task, wanted, f"The inputs of {wanted.name}"), wanted)


def _source(task: Task, wanted: Data) -> Source:
    """What lies in memory as images with classes is as good as any set of them."""
    from prunus.data import ImageData, Split

    task = _limited(task, wanted)
    plain = (
        task.loss is None
        and task.metric is None
        and isinstance(task.train, Split)
        and isinstance(task.test, Split)
    )
    if not plain:
        return Source(wanted, own=task)
    assert isinstance(task.train, Split) and isinstance(task.test, Split)
    classes = task.classes or tuple(
        map(str, range(1 + int(max(task.train.labels.max(), task.test.labels.max()))))
    )
    mean, std = (tuple(values) for values in task.normalisation)
    return Source(
        wanted,
        ImageData(task.name, task.train, task.test, classes, mean, std),
        own=replace(task, classes=classes),
    )


def _limited(task: Task, wanted: Data) -> Task:
    from prunus.tasks import limited

    task = task if wanted.batch_size is None else replace(task, batch_size=wanted.batch_size)
    return task if wanted.limit is None else limited(task, wanted.limit, wanted.seed)


def _normalised(task: Task, wanted: Data, what: str) -> Task:
    """With the mean and the deviation that were typed. Raises ConfigError for inputs that are taken as they
    are.
    """
    if not (wanted.mean or wanted.std):
        return task
    if task.normalise is None:
        raise ConfigError(f"{what} are taken as they are: leave --mean and --std out.")
    mean, std = task.normalise
    return replace(
        task,
        normalise=(
            parse_planes(wanted.mean, len(mean), "mean") or mean,
            parse_planes(wanted.std, len(std), "std") or std,
        ),
    )


def example_of(task: Task) -> Any:
    """One input of what is traced."""
    from prunus.tasks.placed import one_of

    return one_of(some_inputs(task, 1))


def some_inputs(task: Task, count: int) -> Any:
    """Inputs of what is traced, training samples."""
    return next(iter(task.calibration(count)))


def traced(task: Task | None, model: nn.Module) -> nn.Module:
    """What is pruned of a network: of detectors their core."""
    return model if task is None else task.core(model)


def _shape(task: Task) -> tuple[int, ...]:
    """Of one input, the axis of the samples included."""
    from prunus.deploy.inputs import main_shape

    found = main_shape(example_of(task))
    if found is None:
        raise DataError(f"The inputs of {task.name} hold no tensor.")
    return found


def _options(task: Task, name: str, shape: tuple[int, ...] | None) -> dict[str, Any]:
    """How many numbers a network that is built by name gives, and what it takes."""
    from prunus.tasks import MeanIoU, Regression

    options: dict[str, Any] = {}
    if isinstance(task.metric, Regression):
        options["num_classes"] = task.metric.variance.numel()
    elif task.classes:
        binary = isinstance(task.metric, MeanIoU) and len(task.classes) == 2
        options["num_classes"] = 1 if binary else len(task.classes)
    if name in OURS and shape is not None:
        options["in_channels"] = shape[1]
    return options


def inputs_of(task: Task | None, random: Any, count: int) -> tuple[Any, Any]:
    """One example and a batch to verify on: real inputs, if any, and images of the type of random ones."""
    if task is None:
        return random, None
    if task.normalise is not None:
        images, _ = next(iter(task.batches("test" if task.test is not None else "train", count)))
        images = images.to(random.dtype)
        return images[:1], images
    reported = task if task.test is None else replace(task, train=task.test)
    return example_of(reported), some_inputs(reported, count)
