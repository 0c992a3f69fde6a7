"""Where files went that had other names before 0.2.0: an old name gives what it became, and says so.

This goes with 0.3.0.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from prunus._foundation.warned import warn

_MOVED = """
agreement=_foundation.agreement channels.attributes=surgery.sizes channels.blank=paint.meta_kernels
channels.blocks=surgery.blocks channels.by_name=paint.operator_names
channels.collector=_foundation.collector channels.compact=surgery.compact
channels.components=paint.components channels.compose=surgery.compose
channels.constants=paint.constants channels.cost=paint.cost channels.costing=paint.costing
channels.culprit=plans.culprit channels.dropout=paint.dropout channels.export=surgery.traced.export
channels.export_elsewhere=surgery.traced.elsewhere channels.export_example=surgery.traced.example
channels.export_setting=surgery.traced.setting channels.factors=surgery.channel_scaling
channels.fold=paint.folding channels.graph=paint.graph channels.holding=plans.pins
channels.indices=surgery.indices channels.layers=paint.records channels.lists=paint.lists
channels.mask=plans.mask channels.memory=paint.memory channels.modes=paint.modes
channels.neutral=paint.neutral channels.optimizer=surgery.optimizer channels.origin=surgery.origin
channels.paint=paint.painter channels.parts=surgery.parts channels.places=surgery.places
channels.plan=plans.plan channels.program=paint.program channels.readers=plans.consumers
channels.rehearse=surgery.rehearsal channels.rescale=surgery.rescaling
channels.resolve=plans.resolve channels.rewrite=surgery.traced.literals
channels.rules.centred=paint.rules.centred channels.rules.contraction=paint.rules.contraction
channels.rules.copies=paint.rules.copies channels.rules.fourier=paint.rules.fourier
channels.rules.indexing=paint.rules.indexing channels.rules.normalisation=paint.rules.normalisation
channels.rules.order=paint.rules.order channels.rules.pieces=paint.rules.pieces
channels.rules.planes=paint.rules.planes channels.rules.pointwise=paint.rules.pointwise
channels.rules.quantisation=paint.rules.quantisation channels.rules.reduction=paint.rules.reduction
channels.rules.register=paint.rules.register channels.rules.scatter=paint.rules.scatter
channels.rules.shape=paint.rules.shape channels.rules.spatial=paint.rules.spatial
channels.rules.weights=paint.rules.weights channels.rules.windows=paint.rules.windows
channels.seeds=_foundation.seeds channels.show=paint.tables channels.shrink=surgery.traced.convert
channels.source=paint.source channels.state=paint.state channels.statistics=paint.statistics
channels.surgery=surgery.slicing channels.trace=paint.trace channels.traced=surgery.traced.module
channels.traced_code=surgery.traced.code channels.traced_pickle=surgery.traced.pickled
channels.traced_widths=surgery.traced.widths channels.train_check=plans.train_check
channels.train_paint=paint.train_paint channels.twin=paint.model_copy
channels.untie=surgery.traced.untie channels.verify=plans.verify channels.widths=paint.widths
cli.choices=runs.names cli.data=runs.data cli.finish=cli.summary cli.history=runs.history_panel
cli.kept=runs.sample_gallery cli.kinds=runs.kinds cli.limits=runs.limits cli.loading=runs.loading
cli.names=runs.names cli.opening=runs.loading cli.pictures=runs.pictures cli.recipe=runs.recipe
cli.recipe_parts=runs.recipe_parts cli.records=runs.records cli.sample_gallery=runs.sample_gallery
cli.train_gated=runs.train_gated cli.train_methods=runs.by_method cli.train_own=runs.train_own
cli.train_pixels=runs.train_pixels cli.tuning=runs.tuning compensation.looking=observe.capture
compensation.resuming=compensation.prefix_cache compensation.rows=observe.matrices
deploy.comparison=measure.comparison deploy.environment=_foundation.environment
deploy.latency=measure.timing deploy.machine=measure.machine deploy.per_input=measure.per_input
deploy.probe=measure.probe deploy.probe_onnx=measure.probe_onnx
deploy.probe_torch=measure.probe_torch deploy.runtimes=measure.runtimes deploy.shapes=measure.shapes
json_files=_foundation.json_files latency=planning.latency_target
methods.fewer_blocks=methods.block_removal methods.gates=methods.trained_masks
methods.gating=methods.train_gated methods.searching=methods.tolerance_metric
placement=planning.width_search report.delivery=runs.delivery report.describe=runs.describe
report.gated=runs.gated report.quantisation=runs.quantisation sizes=_foundation.sizes
storage.atomic=_foundation.atomic storage.finite=_foundation.finite storage.oslock=_foundation.oslock
storage.shell=storage.traced_format surroundings=_foundation.surroundings targets=planning.targets
tolerance=planning.tolerance watching=_foundation.progress
"""
MOVED = {f"prunus.{old}": f"prunus.{new}" for old, new in (pair.split("=") for pair in _MOVED.split())}
# Rooms: one that became several, and one whose functions are called like its files.
SHARED_OUT = {
    "prunus.channels": ("prunus.paint", "prunus.plans", "prunus.surgery"),
    "prunus.channels.rules": ("prunus.paint.rules",),
}


class _OldNames(MetaPathFinder, Loader):
    """Finds files by the names that they had."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not is_old_name(fullname):
            return None
        return ModuleSpec(fullname, self, is_package=fullname in SHARED_OUT)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        rooms = SHARED_OUT.get(name)
        new = MOVED.get(name, "") if rooms is None else ", ".join(rooms)
        text = f"{name} is {new} since 0.2.0; the old name goes with 0.3.0."
        warn(text, DeprecationWarning)
        if rooms is None:
            sys.modules[name] = import_module(new)  # what the import statement looks up afterwards
        else:
            module.__dict__["__getattr__"] = _in_any(name, rooms)


def _in_any(name: str, rooms: Sequence[str]) -> Any:
    def lookup(attribute: str) -> Any:
        for room in map(import_module, rooms):
            if hasattr(room, attribute):
                return getattr(room, attribute)
        raise AttributeError(f"module {name!r} has no attribute {attribute!r}")

    return lookup


def is_old_name(name: str) -> bool:
    """Whether a file or a room had this name."""
    return name in MOVED or name in SHARED_OUT


def find_old_names() -> None:
    """Let import statements find files by the names that they had."""
    if not any(isinstance(finder, _OldNames) for finder in sys.meta_path):
        # Before the finder that looks into the folders of packages that moved:
        sys.meta_path.insert(0, _OldNames())
